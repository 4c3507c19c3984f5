"""The ways to a function, over real sockets and a real HTTP server; only the cluster's objects are made up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mlfn.errors import InvalidInput, NotAuthorised, TimedOut, Unreachable
from mlfn.platforms.knative.ways import ways as knative_ways
from mlfn.platforms.kube.connecting import first_connected
from mlfn.platforms.kube.ways_in import Request, Way, by_addresses_of, by_ingress, by_port_forward, by_url, send
from mlfn.platforms.kubernetes.ways import ways as kubernetes_ways

REQUEST = Request("v2/models/iris/infer", b'{"inputs": []}', {"Content-Type": "application/json"}, 10.0)
HOST = "iris.ns.example.com"


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        self.server.answers.wait(20)
        self.send_response(418, "Short and stout")
        self.send_header("Mlfn-Held-Seconds", "0.5")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"no")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Any]:
    """Give a server that remembers what it was asked."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.daemon_threads = True
    running.seen = []  # type: ignore[attr-defined]
    running.answers = threading.Event()  # type: ignore[attr-defined]
    running.answers.set()  # type: ignore[attr-defined]
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.answers.set()  # type: ignore[attr-defined]
    running.shutdown()
    thread.join()
    running.server_close()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Door:
    """The objects of a cluster, by kind and place; what is not there may not be seen, when ``shut``."""

    namespace = "ns"

    def __init__(self, *things: dict[str, Any], shut: tuple[str, ...] = (), pods_at: int = 0) -> None:
        self.things = things
        self.shut = shut
        self.pods_at = pods_at
        self.forwarded: list[tuple[str, str, int]] = []

    def get(self, kind: Any, name: str, *, namespace: str = "") -> dict[str, Any] | None:
        found = [each for each in self.list(kind, namespace=namespace) if each["metadata"]["name"] == name]
        return found[0] if found else None

    def list(self, kind: Any, labels: str = "", *, fields: str = "", namespace: str = "") -> tuple[dict[str, Any], ...]:
        if kind.kind in self.shut:
            raise NotAuthorised(f"{kind.plural} may not be seen")
        wanted = dict(part.split("=") for part in labels.split(",") if part)
        return tuple(
            each
            for each in self.things
            if each["kind"] == kind.kind
            and each.get("apiVersion", kind.api_version) == kind.api_version
            and each["metadata"].get("namespace", "ns") in (namespace or "ns", "")
            and wanted.items() <= each["metadata"].get("labels", {}).items()
        )

    def port_forward(self, pod: str, port: int, *, namespace: str = "") -> socket.socket:
        self.forwarded.append((namespace, pod, port))
        if not self.pods_at:
            raise NotAuthorised("pods/portforward may not be made")
        return socket.create_connection(("127.0.0.1", self.pods_at), 10)


def service(port: int, **spec: Any) -> dict[str, Any]:
    status = spec.pop("status", {})
    metadata = {"name": "gateway", "namespace": "ingress"}
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {"ports": [{"name": "https", "port": 443}, {"name": "http", "port": port}], **spec},
        "status": status,
    }


def endpoints(port: int, pod: str = "", name: str = "gateway", namespace: str = "ingress") -> dict[str, Any]:
    target = {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": "g1", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}, **target}],
        "ports": [{"name": "http", "port": port}],
    }


def test_status_headers_and_body_pass_unchanged_and_the_way_is_told(server: Any) -> None:
    answer = send([by_url(f"http://127.0.0.1:{server.server_port}")], REQUEST)
    assert (answer.status, answer.body, answer.headers["Mlfn-Held-Seconds"]) == (418, b"no", "0.5")
    assert answer.via == f"http://127.0.0.1:{server.server_port}"
    ((path, headers, body),) = server.seen
    assert (path, body) == ("/v2/models/iris/infer", REQUEST.body)
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == f"127.0.0.1:{server.server_port}"


def test_the_first_way_that_opens_is_taken_once(server: Any) -> None:
    ways = [
        by_url(f"http://127.0.0.1:{closed_port()}"),
        by_url("http://no-such-name.invalid"),
        by_ingress(f"127.0.0.1:{server.server_port}", HOST),
        Way("never", HOST, pytest.fail),
    ]
    answer = send(ways, REQUEST)
    assert answer.via == f"the ingress 127.0.0.1:{server.server_port} (Host: {HOST})"
    assert [headers["Host"] for _, headers, _ in server.seen] == [HOST]


def test_no_way_tells_all_that_was_tried() -> None:
    shut = closed_port()
    with pytest.raises(Unreachable) as failure:
        send([by_url(f"http://127.0.0.1:{shut}"), by_port_forward(Door(), "ns/pod", 80, HOST)], REQUEST)  # type: ignore[arg-type]
    assert f"http://127.0.0.1:{shut}: " in failure.value.details
    assert "a port-forward to ns/pod:80: pods/portforward may not be made" in failure.value.details
    assert "MLFN_INGRESS" in failure.value.hints[0]


def test_an_ingress_that_was_asked_for_is_not_gone_round() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        send([by_ingress(f"http://127.0.0.1:{closed_port()}", HOST), Way("round", HOST, pytest.fail)], REQUEST)
    with pytest.raises(InvalidInput):
        by_ingress("http://", HOST)


def test_an_answer_that_stays_away_is_a_timeout(server: Any) -> None:
    server.answers.clear()
    way = by_url(f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(TimedOut, match=r"within 0\.2 s"):
        send([way], Request("v2", b"", {}, 0.2))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}, "the load balancer"),
        ({"status": {"loadBalancer": {"ingress": [{"hostname": "localhost"}]}}}, "the load balancer"),
        ({"externalIPs": ["127.0.0.1"]}, "the external address"),
        ({"clusterIP": "127.0.0.1"}, "the cluster address"),
    ],
    ids=["address", "name", "external", "cluster"],
)
def test_a_services_addresses_lead_to_it(server: Any, spec: dict[str, Any], says: str) -> None:
    door: Any = Door(service(server.server_port, **spec))
    answer = send(by_addresses_of(door, "ingress", "gateway", HOST), REQUEST)
    assert answer.via.startswith(says)
    assert server.seen[0][1]["Host"] == HOST


def test_node_ports_and_endpoints_lead_to_it(server: Any) -> None:
    node = {
        "kind": "Node",
        "metadata": {"name": "n", "namespace": ""},
        "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]},
    }
    by_node = service(80)
    by_node["spec"]["ports"][1]["nodePort"] = server.server_port
    assert send(by_addresses_of(Door(by_node, node), "ingress", "gateway", HOST), REQUEST).via.startswith("the node")  # type: ignore[arg-type]
    inside: Any = Door(service(80, clusterIP="None"), endpoints(server.server_port))
    assert send(by_addresses_of(inside, "ingress", "gateway", HOST), REQUEST).via.startswith("the endpoint")


@pytest.mark.parametrize("shut", [("Service",), ("Node", "EndpointSlice"), ()], ids=["service", "inner", "absent"])
def test_what_may_not_be_looked_up_is_passed_over(shut: tuple[str, ...]) -> None:
    things = [service(80)] if shut else []
    door: Any = Door(*things, shut=shut)
    with pytest.raises(Unreachable):
        send(by_addresses_of(door, "ingress", "gateway", HOST), REQUEST)


def knative_service(url: str = f"http://{HOST}") -> dict[str, Any]:
    traffic = [{"revisionName": "iris-00002", "percent": 100}]
    metadata = {"name": "iris", "namespace": "ns"}
    return {"kind": "Service", "metadata": metadata, "status": {"url": url, "traffic": traffic}}


def knative_ingress(**sides: str) -> dict[str, Any]:
    status = {side: {"ingress": [{"domainInternal": name}]} for side, name in sides.items()}
    return {"kind": "Ingress", "metadata": {"name": "iris"}, "status": status}


def ready_pod(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels}, "status": status}


def test_knatives_own_ingress_is_found(server: Any) -> None:
    gateway = service(80, clusterIP="None")
    door: Any = Door(
        knative_ingress(
            publicLoadBalancer="gateway.ingress.svc.cluster.local",
            privateLoadBalancer="inner.ingress.svc.cluster.local",
        ),
        gateway,
        endpoints(server.server_port),
    )
    answer = send(knative_ways(door, knative_service(url="http://iris.ns.invalid"), ""), REQUEST)
    assert answer.via.startswith(f"the endpoint 127.0.0.1:{server.server_port} of the service ingress/gateway")
    assert server.seen[0][1]["Host"] == "iris.ns.invalid"


def test_the_users_ingress_comes_before_what_is_looked_up(server: Any) -> None:
    door: Any = Door(shut=("Ingress",))
    found = knative_ways(door, knative_service(url="http://iris.ns.invalid"), f"http://127.0.0.1:{server.server_port}")
    assert send(found, REQUEST).via.startswith("the ingress http://127.0.0.1")


def test_the_activator_is_told_which_revision_is_meant(server: Any) -> None:
    activator = ready_pod("activator-1", "knative-serving", app="activator")
    door: Any = Door(activator, shut=("Ingress",), pods_at=server.server_port)
    answer = send(knative_ways(door, knative_service(url="http://iris.ns.invalid"), ""), REQUEST)
    assert answer.via == "a port-forward to knative-serving/activator-1:8012"
    headers = server.seen[0][1]
    assert (headers["Knative-Serving-Namespace"], headers["Knative-Serving-Revision"]) == ("ns", "iris-00002")


def test_an_instance_is_the_last_resort(server: Any) -> None:
    labels = {"serving.knative.dev/revision": "iris-00002"}
    things = (ready_pod("iris-pod", "ns", **labels), ready_pod("other", "ns", **{"serving.knative.dev/revision": "x"}))
    door: Any = Door(*things, pods_at=server.server_port)
    answer = send(knative_ways(door, knative_service(url="http://iris.ns.invalid"), ""), REQUEST)
    assert answer.via == "a port-forward to ns/iris-pod:8012"
    assert door.forwarded == [("ns", "iris-pod", 8012)]


def test_a_function_behind_a_plain_service_is_reached_by_its_pod(server: Any) -> None:
    own = service(80, clusterIP="None")
    own["metadata"] = {"name": "iris", "namespace": "ns"}
    slices = endpoints(8080, pod="iris-1", name="iris", namespace="ns")
    slices["endpoints"][0]["addresses"] = ["192.0.2.1"]  # leads nowhere (RFC 5737)
    door: Any = Door(own, slices, pods_at=server.server_port)
    answer = send(kubernetes_ways(door, "iris"), REQUEST)
    assert answer.via == "a port-forward to ns/iris-1:8080"
    assert server.seen[0][1]["Host"] == "iris.ns.svc.cluster.local"


def test_the_place_that_answers_is_taken_and_a_dead_one_costs_no_more_than_its_time(server: Any) -> None:
    places = [("192.0.2.1", 80), ("127.0.0.1", closed_port()), ("127.0.0.1", server.server_port)]
    with first_connected(places, 20.0) as opened:
        assert opened.getpeername()[1] == server.server_port
    with pytest.raises(OSError, match=r"refused|no answer"):
        first_connected([("127.0.0.1", closed_port())], 20.0)
    with pytest.raises(OSError, match=r"no answer within|unreachable|refused"):
        first_connected([("192.0.2.1", 80)], 0.2)
