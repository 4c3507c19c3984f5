"""The life of a function on real Knative Serving, as its user lives it: the real `mlfn`, the real cluster."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import onnx
import pytest
from tritonclient import http as triton

REPOSITORY = Path(__file__).resolve().parents[3]
IRIS = REPOSITORY / "examples" / "iris"
BODY = (IRIS / "request.json").read_bytes()


@pytest.fixture(scope="module")
def changed_iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give iris with one more output, so that its answers can be told apart."""
    model = onnx.load(IRIS / "model.onnx")
    given = model.graph.input[0]
    model.graph.node.append(onnx.helper.make_node("Identity", [given.name], ["given"]))
    model.graph.output.append(onnx.ValueInfoProto(name="given", type=given.type))
    path = tmp_path_factory.mktemp("changed") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def iris(cli: Any) -> Iterator[Any]:
    """Give iris, deployed with a window short enough to see it go."""
    yield cli.json("deploy", IRIS / "model.onnx", "--name", "iris", "--window", "6s")
    cli.ok("delete", "iris", "--yes")


def door(cli: Any, url: str) -> httpx.Client:
    """Return a client that reaches a function's URL through the ingress."""
    return httpx.Client(base_url=cli.cluster.ingress, headers={"host": urlsplit(url).netloc}, timeout=60)


def ready_pods(cli: Any, revision: str) -> list[dict[str, Any]]:
    """Return the pods of a revision that serve."""
    pods = cli.cluster.objects("pods", "-n", cli.namespace, "-l", f"serving.knative.dev/revision={revision}")
    return [
        pod
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))
    ]


def test_a_model_answers_and_a_triton_client_agrees(cli: Any, iris: Any) -> None:
    assert iris["ready"]
    assert iris["platform"] == "knative"
    assert iris["image"]["digest"].startswith("sha256:")
    expected = json.loads((IRIS / "expected.json").read_text())
    answer = cli.json("invoke", "iris", "--data", f"@{IRIS}/request.json")
    for given, wanted in zip(answer["outputs"], expected["outputs"], strict=True):
        assert given["data"] == pytest.approx(wanted["data"], rel=1e-6)

    asked = json.loads(BODY)["inputs"][0]
    client = triton.InferenceServerClient(urlsplit(cli.cluster.ingress).netloc)
    headers = {"Host": urlsplit(iris["url"]).netloc}
    tensor = triton.InferInput(asked["name"], asked["shape"], asked["datatype"])
    tensor.set_data_from_numpy(np.array(asked["data"], np.float32).reshape(asked["shape"]))
    result = client.infer("iris", [tensor], headers=headers)
    for output in expected["outputs"]:
        assert result.as_numpy(output["name"]).ravel().tolist() == pytest.approx(output["data"], rel=1e-6)
    client.close()


def test_it_runs_the_digest_that_was_pushed(cli: Any, iris: Any) -> None:
    (pod,) = ready_pods(cli, iris["revision"])
    container = next(each for each in pod["spec"]["containers"] if each["name"] != "queue-proxy")
    assert container["image"].endswith("@" + iris["image"]["digest"])


def test_it_goes_to_zero_and_comes_back(cli: Any, iris: Any, eventually: Callable[..., Any]) -> None:
    eventually(lambda: not ready_pods(cli, iris["revision"]), within_s=120)
    assert cli.json("describe", "iris")["ready"]
    with door(cli, iris["url"]) as client:
        answer = client.post("/v2/models/iris/infer", content=BODY)
    assert answer.status_code == 200
    assert ready_pods(cli, iris["revision"])


def test_deploying_the_same_again_changes_nothing(cli: Any, iris: Any) -> None:
    again = cli.json("deploy", IRIS / "model.onnx", "--name", "iris", "--window", "6s")
    assert (again["changed"], again["revision"]) == (False, iris["revision"])


def test_traffic_splits_and_rolls_back(cli: Any, iris: Any, changed_iris: Path) -> None:
    first = iris["revision"]
    second = cli.json("deploy", changed_iris, "--name", "iris", "--window", "6s")["revision"]
    assert first != second
    cli.ok("traffic", "iris", f"{first}=90", f"{second}=10")
    counted = Counter(outputs(cli, iris["url"]) for _ in range(200))
    # 20 expected of 200, with a standard deviation of 4.2: six of them to either side.
    assert counted.keys() == {2, 3}, counted
    assert counted[3] < 46, counted
    cli.ok("rollback", "iris", "--to", first)
    assert {outputs(cli, iris["url"]) for _ in range(20)} == {2}


def outputs(cli: Any, url: str) -> int:
    """Return how many outputs an answer has: it tells which model gave it."""
    with door(cli, url) as client:
        answer = client.post("/v2/models/iris/infer", content=BODY)
    assert answer.status_code == 200, answer.text
    return len(answer.json()["outputs"])


def test_redeploys_under_load_lose_no_request(
    cli: Any, iris: Any, changed_iris: Path, eventually: Callable[..., Any]
) -> None:
    stop, outcomes = threading.Event(), Counter[Any]()

    def load() -> None:
        with door(cli, iris["url"]) as client:
            while not stop.is_set():
                try:
                    outcomes[client.post("/v2/models/iris/infer", content=BODY).status_code] += 1
                except httpx.HTTPError as error:
                    outcomes[repr(error)] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for model in (changed_iris, IRIS / "model.onnx", changed_iris):
            cli.ok("deploy", model, "--name", "iris", "--window", "6s")
        cli.ok("rollback", "iris")
        before = sum(list(outcomes.values()))
        eventually(lambda: sum(list(outcomes.values())) > before + 100)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert set(outcomes) == {200}, outcomes
    assert outcomes[200] > 100


def test_a_larger_model_with_several_inputs(cli: Any, fetched_model: Callable[[str], Path]) -> None:
    deployed = cli.json("deploy", fetched_model("minilm"), "--name", "minilm", "--memory", "1Gi", "--cpu", "200m")
    assert deployed["ready"]
    answer = cli.json("invoke", "minilm", "--data", f"@{REPOSITORY}/examples/minilm/request.json")
    expected = json.loads((REPOSITORY / "examples" / "minilm" / "expected.json").read_text())
    assert [each["shape"] for each in answer["outputs"]] == [each["shape"] for each in expected["outputs"]]
    cli.ok("delete", "minilm", "--yes")


def test_a_deleted_function_leaves_nothing(cli: Any, eventually: Callable[..., Any]) -> None:
    cli.ok("deploy", IRIS / "model.onnx", "--name", "gone")
    cli.ok("delete", "gone", "--yes")
    kinds = (
        "ksvc,configurations.serving.knative.dev,revisions.serving.knative.dev,routes.serving.knative.dev,deployments"
    )
    eventually(lambda: not cli.cluster.objects(kinds, "-n", cli.namespace), within_s=60)
    assert cli.run("describe", "gone").returncode == 4
