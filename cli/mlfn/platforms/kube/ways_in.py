"""Find a way to a function of a cluster from wherever one sits, send one request along it, and say which way it was.

A :class:`Way` opens a connection or says why it does not lead there. :func:`send` takes the first that opens: ways are
tried in order and made lazily, each within seconds, and the request is sent once. Nothing is remembered. Which ways
there are, the platform says; what is sent and answered passes unchanged.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlfn import errors
from mlfn.function import Answer
from mlfn.platforms.kube.connecting import connected, first_connected
from mlfn.platforms.kube.kinds import ENDPOINT_SLICE, NODE, SERVICE, Object

if TYPE_CHECKING:
    from mlfn.platforms.kube.door import ClusterDoor

__all__ = ["Request", "Way", "by_addresses_of", "by_ingress", "by_pods_of", "by_port_forward", "by_url", "send"]

_ADDRESS_S = 1.5
_NEAR_ENOUGH = 8
"""Addresses of one kind that are tried: a hundred nodes lead to the same place."""


@dataclass(frozen=True, slots=True)
class Request:
    """Hold what is to be posted."""

    path: str
    body: bytes
    headers: Mapping[str, str]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Way:
    """Say how a function may be reached."""

    says: str
    """For people: ``http://iris.default.example.com``, ``the ingress at 10.0.0.1:80``."""
    host: str
    """The ``Host`` header."""
    open: Callable[[], socket.socket]
    """Connect, or raise OSError or MlfnError."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the way itself needs besides."""


def send(ways: Iterable[Way], request: Request) -> Answer:
    """Post the request along the first way that opens. Raises TimedOut, and Unreachable when none does."""
    tried = []
    started = time.perf_counter()
    for way in ways:
        try:
            opened = way.open()
        except _AsAsked:
            raise
        except (OSError, errors.MlfnError) as error:
            tried.append(f"{way.says}: {error}")
            continue
        return _post(opened, way, request, started)
    raise errors.Unreachable(
        "no way leads to the function from here",
        details="\n".join(tried),
        hints=("name the address of the cluster's ingress: --ingress or MLFN_INGRESS",),
    )


def by_url(url: str) -> Way:
    """Reach a function at its own address, where the name resolves."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    place = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    return Way(url, parts.netloc, partial(_connect, place, parts.hostname if parts.scheme == "https" else ""))


def by_ingress(address: str, host: str) -> Way:
    """Reach it through the ingress that the user names: a URL, or a host with or without a port.

    Raises Unreachable when it does not open, rather than to go round what was asked for.
    """
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if not parts.hostname:
        raise errors.InvalidInput(f"the ingress {address!r} is no address: expected one such as http://10.0.0.1")
    place = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    return Way(
        f"the ingress {address} (Host: {host})", host, partial(_named, address, place, _name(parts.scheme, host))
    )


def by_addresses_of(door: ClusterDoor, namespace: str, service: str, host: str) -> Iterator[Way]:
    """Reach it through a Service: load balancer, external addresses, node ports, its own address, its endpoints'.

    One way for each kind of address that it has; one that may not be looked up is passed over.
    """
    try:
        found = door.get(SERVICE, service, namespace=namespace)
    except errors.NotAuthorised:
        return
    if found is None:
        return
    for says, places in _places(door, found):
        if places:
            shown = ", ".join(f"{name}:{port}" for name, port in places[:3]) + (" …" if len(places) > 3 else "")
            yield Way(
                f"{says} {shown} of the service {namespace}/{service} (Host: {host})",
                host,
                partial(first_connected, tuple(places[:_NEAR_ENOUGH]), _ADDRESS_S),
            )


def by_pods_of(door: ClusterDoor, namespace: str, service: str, host: str) -> Iterator[Way]:
    """Reach it by a port-forward to a ready pod behind a Service."""
    for each in _endpoints(door, namespace, service):
        if each.pod:
            yield by_port_forward(door, f"{namespace}/{each.pod}", each.port, host)
            return


def by_port_forward(door: ClusterDoor, pod: str, port: int, host: str, headers: Mapping[str, str] | None = None) -> Way:
    """Reach it by a port-forward to ``pod``, ``NAMESPACE/NAME``."""
    namespace, _, name = pod.partition("/")
    opened = partial(door.port_forward, name, port, namespace=namespace)
    return Way(f"a port-forward to {pod}:{port}", host, opened, headers or {})


def _connect(place: tuple[str, int], server_name: str) -> socket.socket:
    opened = connected(place, _ADDRESS_S * 2)
    return ssl.create_default_context().wrap_socket(opened, server_hostname=server_name) if server_name else opened


def _named(address: str, place: tuple[str, int], server_name: str) -> socket.socket:
    try:
        return _connect(place, server_name)
    except OSError as error:
        raise _AsAsked(
            f"the ingress {address} cannot be reached: {error}",
            hints=("leave --ingress and MLFN_INGRESS out, and a way is looked for",),
        ) from error


class _AsAsked(errors.Unreachable):
    """The way that the user asked for does not open: the only one that ends the search."""


def _name(scheme: str, host: str) -> str:
    return host.partition(":")[0] if scheme == "https" else ""


def _places(door: ClusterDoor, service: Object) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Yield the addresses of a Service by kind, those meant for the outside first."""
    spec, metadata = service["spec"], service["metadata"]
    port = _http_port(spec)
    if port is None:
        return
    balancers = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    yield "the load balancer", [(each.get("ip") or each["hostname"], port["port"]) for each in balancers]
    yield "the external address", [(address, port["port"]) for address in spec.get("externalIPs") or ()]
    if port.get("nodePort"):
        yield "the node port", [(address, port["nodePort"]) for address in _nodes(door)]
    if spec.get("clusterIP", "None") not in ("None", ""):
        yield "the cluster address", [(spec["clusterIP"], port["port"])]
    endpoints = _endpoints(door, metadata["namespace"], metadata["name"])
    yield "the endpoint", [(each.address, each.port) for each in endpoints]


def _http_port(spec: Object) -> Object | None:
    """Return the port for plain HTTP."""
    ports: Sequence[Object] = spec.get("ports") or ()
    named = [port for port in ports if port["port"] == 80 or str(port.get("name", "")).startswith("http")]
    plain = [port for port in named if "https" not in str(port.get("name", ""))]
    return next(iter(plain or ports), None)


def _nodes(door: ClusterDoor) -> list[str]:
    try:
        nodes = door.list(NODE)
    except errors.NotAuthorised:
        return []
    addresses = [each for node in nodes for each in node.get("status", {}).get("addresses") or ()]
    wanted = ("ExternalIP", "InternalIP")
    return [each["address"] for kind in wanted for each in addresses if each["type"] == kind]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    address: str
    port: int
    pod: str


def _endpoints(door: ClusterDoor, namespace: str, service: str) -> list[_Endpoint]:
    """Return the ready endpoints of a Service; none where they may not be looked up."""
    try:
        slices = door.list(ENDPOINT_SLICE, f"kubernetes.io/service-name={service}", namespace=namespace)
    except errors.NotAuthorised:
        return []
    found = []
    for each in slices:
        port = _http_port({"ports": [port for port in each.get("ports") or () if port.get("port")]})
        for endpoint in each.get("endpoints") or ():
            if port and (endpoint.get("conditions") or {}).get("ready") is not False:
                target = endpoint.get("targetRef") or {}
                pod = target.get("name", "") if target.get("kind") == "Pod" else ""
                found += [_Endpoint(address, port["port"], pod) for address in endpoint["addresses"]]
    return found


def _post(opened: socket.socket, way: Way, request: Request, started: float) -> Answer:
    link = http.client.HTTPConnection(way.host, timeout=request.timeout_s)
    opened.settimeout(request.timeout_s)
    link.sock = opened
    headers = {"Host": way.host, **request.headers, **way.headers}
    path = "/" + request.path.lstrip("/")
    try:
        link.request("POST", path, request.body, headers)
        response = link.getresponse()
        content = response.read()
    except TimeoutError as error:
        raise errors.TimedOut(f"no answer from {path} by {way.says} within {request.timeout_s:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(opened, "failure", "") or error
        raise errors.Unreachable(f"{path} cannot be reached by {way.says}: {reason}") from error
    finally:
        link.close()
    return Answer(response.status, dict(response.getheaders()), content, time.perf_counter() - started, via=way.says)
