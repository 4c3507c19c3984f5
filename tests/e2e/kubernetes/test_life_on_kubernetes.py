"""The life of a function on a cluster without Knative, as its user lives it: the real `mlfn`, the real cluster."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest

from mlfn.platforms.kube.door import connect
from mlfn.platforms.kube.ways_in import Request, by_pods_of, by_port_forward, send

REPOSITORY = Path(__file__).resolve().parents[3]
IRIS = REPOSITORY / "examples" / "iris"
MODEL = IRIS / "model.onnx"
BODY = (IRIS / "request.json").read_bytes()
OURS = "deployments,services,horizontalpodautoscalers,poddisruptionbudgets,replicasets"


@pytest.fixture
def kubernetes(cli: Any) -> Any:
    """Give the real `mlfn`, set to deploy without Knative."""
    return cli.on("kubernetes")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give iris with one more output, and iris that fails in every run."""
    folder = tmp_path_factory.mktemp("models")
    changed, failing = folder / "changed.onnx", folder / "failing.onnx"
    model = onnx.load(MODEL)
    given = model.graph.input[0]
    model.graph.node.append(onnx.helper.make_node("Identity", [given.name], ["given"]))
    model.graph.output.append(onnx.ValueInfoProto(name="given", type=given.type))
    onnx.save(model, changed)
    model.graph.node.append(onnx.helper.make_node("Reshape", [given.name, "misfit"], ["failing"]))
    model.graph.initializer.append(onnx.helper.make_tensor("misfit", onnx.TensorProto.INT64, [2], [3, 7]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("failing", onnx.TensorProto.FLOAT, None))
    onnx.save(model, failing)
    return {"changed": changed, "failing": failing}


@pytest.fixture
def iris(kubernetes: Any) -> Iterator[Any]:
    """Give iris, deployed with one instance."""
    yield deploy(kubernetes, MODEL)
    kubernetes.run("delete", "iris", "--yes")


def deploy(kubernetes: Any, model: Path, *more: object) -> Any:
    return kubernetes.json("deploy", model, "--name", "iris", "--min-scale", 1, *more)


def objects(kubernetes: Any, kinds: str = OURS) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kubernetes.cluster.objects(kinds, "-n", kubernetes.namespace)
    return found


def cluster_address(kubernetes: Any) -> str:
    """Return the Service's own address, which this machine, being the node, reaches."""
    (service,) = objects(kubernetes, "services")
    return f"http://{service['spec']['clusterIP']}"


def outputs(kubernetes: Any) -> int:
    """Return how many outputs an answer has: it tells which model gave it."""
    answer = kubernetes.json("invoke", "iris", "--data", f"@{IRIS}/request.json")
    return len(answer["outputs"])


def test_a_model_answers_and_the_way_to_it_is_told(kubernetes: Any, iris: Any) -> None:
    assert (iris["ready"], iris["changed"], iris["previous"], iris["platform"]) == (True, True, None, "kubernetes")
    assert iris["url"] == f"http://iris.{kubernetes.namespace}.svc.cluster.local"
    done = kubernetes.run("invoke", "iris", "--data", f"@{IRIS}/request.json", "-o", "json")
    expected = json.loads((IRIS / "expected.json").read_text())
    for given, wanted in zip(json.loads(done.stdout)["outputs"], expected["outputs"], strict=True):
        assert given["data"] == pytest.approx(wanted["data"], rel=1e-6)
    assert f"of the service {kubernetes.namespace}/iris" in done.stderr
    again = deploy(kubernetes, MODEL)
    assert (again["changed"], again["revision"]) == (False, iris["revision"])
    (listed,) = kubernetes.json("list")["functions"]
    assert (listed["name"], listed["ready"]) == ("iris", True)


def test_an_update_that_fails_leaves_the_one_before_and_no_trace(
    kubernetes: Any, iris: Any, models: dict[str, Path]
) -> None:
    done = kubernetes.run("deploy", models["failing"], "--name", "iris", "--min-scale", 1)
    assert done.returncode == 7, done.stderr
    assert "Reshape" in done.stderr or "reshape" in done.stderr
    assert f"{iris['revision']} serves on" in done.stderr
    assert outputs(kubernetes) == 2
    assert [each["metadata"]["name"] for each in objects(kubernetes, "replicasets")] == [iris["revision"]]
    assert kubernetes.json("describe", "iris")["traffic"][0]["revision"] == iris["revision"]


def test_a_first_deploy_that_fails_leaves_nothing(
    kubernetes: Any, models: dict[str, Path], eventually: Callable[..., Any]
) -> None:
    done = kubernetes.run("deploy", models["failing"], "--name", "iris")
    assert done.returncode == 7, done.stderr
    assert "nothing of iris stays" in done.stderr
    eventually(lambda: not objects(kubernetes))


def test_rollback_brings_the_very_revision_back(
    kubernetes: Any, iris: Any, models: dict[str, Path], eventually: Callable[..., Any]
) -> None:
    second = deploy(kubernetes, models["changed"], "--max-scale", 3)
    assert second["previous"] == iris["revision"]
    # A node's proxy follows the Service's endpoints at most once a second, and what goes still answers.
    eventually(lambda: outputs(kubernetes) == 3)
    assert objects(kubernetes, "horizontalpodautoscalers")
    kubernetes.ok("rollback", "iris")
    status = kubernetes.json("describe", "iris")
    assert [(each["revision"], each["percent"]) for each in status["traffic"] if each["percent"]] == [
        (iris["revision"], 100)
    ]
    eventually(lambda: outputs(kubernetes) == 2)
    # The settings of that revision are back as well: a fixed number of instances.
    assert not objects(kubernetes, "horizontalpodautoscalers")
    assert status["settings"]["max_scale"] == 0
    refused = kubernetes.run("traffic", "iris", f"{iris['revision']}=90", f"{second['revision']}=10")
    assert (refused.returncode, "--platform knative" in refused.stderr) == (2, True)


def test_the_number_of_instances_never_falls_while_it_changes_hands(kubernetes: Any, iris: Any) -> None:
    """From fixed to the autoscaler's and back, with the settings' bounds."""
    deploy(kubernetes, MODEL, "--min-scale", 2)
    assert counted(kubernetes) == 2
    assert objects(kubernetes, "poddisruptionbudgets")
    deploy(kubernetes, MODEL, "--min-scale", 1, "--max-scale", 3)
    assert counted(kubernetes) == 2
    (autoscaler,) = objects(kubernetes, "horizontalpodautoscalers")
    assert (autoscaler["spec"]["minReplicas"], autoscaler["spec"]["maxReplicas"]) == (1, 3)
    # Somebody else sets the number, as the autoscaler does.
    kubernetes.cluster.kubectl("scale", "deployment/iris", "--replicas=3", "-n", kubernetes.namespace)
    deploy(kubernetes, MODEL, "--min-scale", 1, "--max-scale", 4)
    assert counted(kubernetes) == 3
    deploy(kubernetes, MODEL, "--min-scale", 1)
    assert counted(kubernetes) == 1
    assert not objects(kubernetes, "horizontalpodautoscalers,poddisruptionbudgets")


def counted(kubernetes: Any) -> int:
    """Return how many instances the cluster is told to keep."""
    (deployment,) = objects(kubernetes, "deployments")
    return int(deployment["spec"]["replicas"])


def test_redeploys_under_load_lose_no_request(
    kubernetes: Any, iris: Any, models: dict[str, Path], eventually: Callable[..., Any]
) -> None:
    address = cluster_address(kubernetes)
    stop, outcomes = threading.Event(), Counter[Any]()

    def load(clients: Callable[[], httpx.Client]) -> None:
        with clients() as client:
            while not stop.wait(0.01):
                try:
                    outcomes[client.post("/v2/models/iris/infer", content=BODY).status_code] += 1
                except httpx.HTTPError as error:
                    outcomes[repr(error)] += 1

    def keeping() -> httpx.Client:
        return httpx.Client(base_url=address, timeout=30)

    def connecting_anew() -> httpx.Client:
        return httpx.Client(base_url=address, timeout=30, headers={"connection": "close"})

    threads = [threading.Thread(target=load, args=(each,)) for each in (connecting_anew, connecting_anew, keeping)]
    for thread in threads:
        thread.start()
    try:
        for model in (models["changed"], MODEL):
            deploy(kubernetes, model)
        kubernetes.ok("rollback", "iris")
        # The instances that go take requests for ten more seconds and end each connection, then end themselves.
        eventually(lambda: len(objects(kubernetes, "pods")) == 1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) == {200}, outcomes
    assert outcomes[200] > 100


def test_of_two_deploys_at_once_one_wins_and_the_other_is_told(
    kubernetes: Any, iris: Any, models: dict[str, Path]
) -> None:
    # Images first, so that both meet at the cluster.
    for model in (models["changed"], MODEL):
        kubernetes.ok("build", model, "--name", "iris")
    command = [kubernetes.run, "deploy"]
    outcomes: list[Any] = []

    def one(model: Path, *more: object) -> None:
        outcomes.append(command[0](command[1], model, "--name", "iris", *more))

    first = threading.Thread(target=one, args=(models["changed"], "--min-scale", 3))
    second = threading.Thread(target=one, args=(MODEL, "--min-scale", 2, "--env", "A=b"))
    first.start()
    second.start()
    first.join()
    second.join()
    told = sorted((done.returncode, done.stderr) for done in outcomes)
    assert [code for code, _ in told] == [0, 11], told
    assert "somebody else changed iris" in told[1][1]
    assert kubernetes.json("describe", "iris")["ready"]


def test_what_mlfn_does_not_manage_is_left_alone_until_it_is_adopted(kubernetes: Any) -> None:
    kubectl, namespace = kubernetes.cluster.kubectl, kubernetes.namespace
    text = kubernetes.ok("manifest", MODEL, "--name", "iris", "--min-scale", 1)
    kubectl("apply", "-f", "-", stdin=text)
    kubectl("label", "deployment/iris", "app.kubernetes.io/managed-by=Helm", "--overwrite", "-n", namespace)
    for refused in (("deploy", MODEL, "--name", "iris"), ("deploy", MODEL, "--name", "iris", "--dry-run", "server")):
        done = kubernetes.run(*refused)
        assert done.returncode == 11, done.stderr
        assert "--force" in done.stderr
    assert kubernetes.run("delete", "iris", "--yes").returncode == 4
    assert kubernetes.json("list")["functions"] == []
    assert deploy(kubernetes, MODEL, "--force")["ready"]
    kubernetes.ok("delete", "iris", "--yes")


def test_a_dry_run_tells_and_changes_nothing(kubernetes: Any, iris: Any, models: dict[str, Path]) -> None:
    before = objects(kubernetes)
    plan = kubernetes.json(
        "deploy", models["changed"], "--name", "iris", "--min-scale", 2, "--max-scale", 3, "--dry-run", "server"
    )
    actions = {each["kind"]: each["action"] for each in plan["changes"]}
    assert actions == {
        "Deployment": "changed",
        "Service": "left",
        "HorizontalPodAutoscaler": "made",
        "PodDisruptionBudget": "made",
    }
    same = kubernetes.ok("deploy", MODEL, "--name", "iris", "--min-scale", 1, "--dry-run", "server")
    assert "changed" not in same
    written = kubernetes.ok("deploy", models["changed"], "--name", "iris", "--dry-run", "client")
    kubernetes.cluster.kubectl("apply", "--dry-run=server", "-n", kubernetes.namespace, "-f", "-", stdin=written)
    assert [each["metadata"]["uid"] for each in objects(kubernetes)] == [each["metadata"]["uid"] for each in before]
    assert [each.get("spec") for each in objects(kubernetes)] == [each.get("spec") for each in before]


def test_a_port_forward_carries_five_megabytes_both_ways(kubernetes: Any, iris: Any) -> None:
    door = connect({"cluster.kubeconfig": kubernetes.cluster.kubeconfig, "cluster.namespace": kubernetes.namespace})
    rows = 250_000
    value = {"name": "X", "datatype": "FP32", "shape": [rows, 4], "data": [5.125] * (rows * 4)}
    body = json.dumps({"inputs": [value]}).encode()
    assert len(body) > 5_000_000
    (way,) = by_pods_of(door, kubernetes.namespace, "iris", "iris")
    headers = {"Content-Type": "application/json"}
    answer = send([way], Request("v2/models/iris/infer", body, headers, 60.0))
    assert answer.status == 200, answer.body[:200]
    assert len(json.loads(answer.body)["outputs"][0]["data"]) == rows
    assert len(answer.body) > 5_000_000
    assert answer.via.startswith(f"a port-forward to {kubernetes.namespace}/iris-")
    refused = send([way], Request("v2/models/iris/infer", bytes(80_000_000), headers, 60.0))
    assert refused.status == 413
    pod = answer.via.split()[-1].partition(":")[0]
    with pytest.raises(Exception, match="connection refused"):
        send([by_port_forward(door, pod, 9, "iris")], Request("v2", b"", {}, 10.0))


def test_a_deploy_without_waiting_is_followed_by_describe(
    kubernetes: Any, iris: Any, models: dict[str, Path], eventually: Callable[..., Any]
) -> None:
    done = deploy(kubernetes, models["changed"], "--no-wait")
    assert (done["ready"], done["previous"]) == (False, iris["revision"])

    def serves() -> bool:
        shares = kubernetes.json("describe", "iris")["traffic"]
        return [each["revision"] for each in shares if each["percent"] == 100] == [done["revision"]]

    eventually(serves)


def test_deleting_leaves_nothing(kubernetes: Any, eventually: Callable[..., Any]) -> None:
    deploy(kubernetes, MODEL, "--min-scale", 2, "--max-scale", 3)
    kubernetes.ok("delete", "iris", "--yes")
    eventually(lambda: not objects(kubernetes, f"{OURS},pods,endpointslices"))
    assert kubernetes.run("describe", "iris").returncode == 4


def test_a_guest_is_told_what_is_missing(kubernetes: Any) -> None:
    guest = os.environ["MLFN_GUEST_KUBECONFIG"]
    done = kubernetes.run("deploy", MODEL, "--name", "iris", MLFN_CLUSTER_KUBECONFIG=guest)
    assert done.returncode == 3, done.stderr
    assert "deployments" in done.stderr
