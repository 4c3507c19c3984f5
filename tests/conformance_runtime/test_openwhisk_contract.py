"""What an OpenWhisk invoker sends, in its own words and order, against the function server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

END = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
INIT = {
    "value": {
        "name": "tokens",
        "binary": False,
        "main": "main",
        "env": {
            "__OW_DEADLINE": "1795424001371",
            "__OW_ACTION_NAME": "/guest/tokens",
            "__OW_ACTION_VERSION": "0.0.1",
            "__OW_ACTIVATION_ID": "97c5ee977b9241f685ee977b9261f675",
            "__OW_NAMESPACE": "guest",
            "__OW_TRANSACTION_ID": "Gi1jNUKsZhoUjA68OKMunIKBTaUT5cS9",
        },
    }
}
INVOKER = {
    "Accept": "application/json",
    "Connection": "Keep-Alive",
    "User-Agent": "Apache-HttpClient/4.5.5 (Java/17.0.15)",
    "Accept-Encoding": "gzip,deflate",
}
"""The headers of the default invoker's client; it takes a compressed answer, or one without a length, for none."""


def activation(value: Any, **more: Any) -> dict[str, Any]:
    return {
        "action_name": "/guest/tokens",
        "action_version": "0.0.1",
        "activation_id": "97c5ee977b9241f685ee977b9261f675",
        "deadline": "1795424001382",
        "namespace": "guest",
        "transaction_id": "Gi1jNUKsZhoUjA68OKMunIKBTaUT5cS9",
        "value": value,
        **more,
    }


def tokens(*values: int) -> dict[str, Any]:
    return {"inputs": [{"name": "token", "datatype": "INT64", "shape": [len(values)], "data": list(values)}]}


@pytest.fixture(scope="module")
def initialised(whisk: Any) -> Iterator[httpx.Client]:
    """Return a client of a container that has had its one ``/init``."""
    with whisk.client() as client:
        client.headers = httpx.Headers(INVOKER)
        response = client.post("/init", json=INIT)
        assert (response.status_code, response.json()) == (200, {"ok": True})
        yield client


def run(client: httpx.Client, value: Any, **more: Any) -> Any:
    response = client.post("/run", json=activation(value, **more))
    assert response.status_code == 200, response.text
    assert "content-encoding" not in response.headers
    assert int(response.headers["content-length"]) == len(response.content)
    return response.json()


def test_a_second_init_is_refused(initialised: httpx.Client) -> None:
    response = initialised.post("/init", json=INIT)
    assert response.status_code == 403
    assert response.json() == {"error": "cannot initialize the action more than once"}


@pytest.mark.parametrize(
    "value",
    [tokens(3, 5), {"inputs": {"token": [3, 5]}}, {"token": [3, 5]}, {"token": [3, 5], "bound": {"parameter": 1}}],
    ids=["open-inference", "inputs-by-name", "by-name", "with-another-parameter"],
)
def test_run_answers_an_object(initialised: httpx.Client, value: Any) -> None:
    answer = run(initialised, value)
    assert answer["model_name"] == "tokens"
    assert answer["outputs"] == [{"name": "value", "datatype": "FP32", "shape": [2], "data": [3.0, 5.0]}]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, '"inputs": expected a list of tensors'),
        ({"inputs": {"word": [1]}}, 'input "word"'),
        ({"inputs": [{"name": "token", "datatype": "FP32", "shape": [1], "data": [1]}]}, "expected datatype INT64"),
        (tokens(16), "indices element out of data bounds"),
        (None, 'an object "value"'),
        ([1, 2], 'an object "value"'),
    ],
    ids=["nothing", "wrong-name", "wrong-datatype", "refused-by-the-model", "null", "list"],
)
def test_the_callers_fault_is_an_application_error(initialised: httpx.Client, value: Any, words: str) -> None:
    answer = run(initialised, value)
    assert list(answer) == ["error"]
    assert words in answer["error"]


def test_broken_json_does_not_cost_the_container(initialised: httpx.Client) -> None:
    response = initialised.post("/run", content=b'{"value": ')
    assert response.status_code == 200
    assert "expected a JSON body" in response.json()["error"]


def test_a_warm_ping_runs_nothing(initialised: httpx.Client) -> None:
    before = initialised.get("/v2/models/tokens/stats").json()
    assert run(initialised, {"mlfn_ping": True}) == {"mlfn_ping": True}
    after = initialised.get("/v2/models/tokens/stats").json()
    assert after["warm_pings"] == before["warm_pings"] + 1
    assert after["inferences"] == before["inferences"]


def test_binary_outputs_are_given_as_json(initialised: httpx.Client) -> None:
    assert run(initialised, tokens(1) | {"parameters": {"binary_data_output": True}})["outputs"][0]["data"] == [1.0]


def test_logs_of_an_activation_end_before_its_answer(initialised: httpx.Client, whisk: Any) -> None:
    markers = whisk.output.count(END), whisk.errors.count(END)
    run(initialised, tokens(2), activation_id="a" * 32, api_key="secret:key")
    # Both streams are files, and the answer is here: nothing may be missing any more.
    assert (whisk.output.count(END), whisk.errors.count(END)) == (markers[0] + 1, markers[1] + 1)
    lines = whisk.output.splitlines()
    assert lines[-1] == END
    line = json.loads(lines[-2])
    assert line["activation_id"] == "a" * 32
    assert line["transaction_id"] == "Gi1jNUKsZhoUjA68OKMunIKBTaUT5cS9"
    assert line["path"] == "/run"
    assert "secret" not in whisk.output


def test_an_error_is_logged_with_its_activation(initialised: httpx.Client, whisk: Any) -> None:
    run(initialised, {}, activation_id="b" * 32)
    line = json.loads(whisk.output.splitlines()[-2])
    assert line["activation_id"] == "b" * 32
    assert '"inputs"' in line["error"]


def test_run_without_init_and_bad_init(tokens_model: Any, serve_model: Any) -> None:
    with serve_model(tokens_model, "tokens", MLFN_OPENWHISK="1") as served, served.client() as client:
        assert run(client, tokens(4))["outputs"][0]["data"] == [4.0]
        response = client.post("/init", content=b"{")
        assert response.status_code == 400
        assert served.errors.count(END) == 2
        response = client.post("/init", json={"value": {"code": "UEsDBA==", "binary": True}})
        assert response.json() == {"ok": True}
        assert run(client, tokens(4))["model_name"] == "tokens"
        assert "code_ignored" in served.output


@pytest.mark.parametrize("path", ["/init", "/run"])
def test_nobody_reaches_it_elsewhere(iris: Any, path: str) -> None:
    with iris.client() as client:
        assert client.post(path, json=INIT).status_code == 404


def test_a_deadline_that_is_far_or_no_time_changes_nothing(initialised: httpx.Client) -> None:
    in_a_minute = str(int(time.time() * 1000) + 60_000)
    assert run(initialised, tokens(1), deadline=in_a_minute)["outputs"][0]["data"] == [1.0]
    assert run(initialised, tokens(1), deadline="soon")["outputs"][0]["data"] == [1.0]


def test_the_answer_comes_before_the_deadline(slow_model: Any, serve_model: Any) -> None:
    with serve_model(slow_model, "slow", __OW_API_HOST="http://127.0.0.1:3233") as served, served.client() as client:
        assert run(client, {"steps": 0})["outputs"][0]["data"] == [2000.0]
        begun = time.monotonic()
        answer = run(client, {"steps": 2_000_000}, deadline=str(int(time.time() * 1000) + 500))
        assert answer == {"error": "the deadline of the activation came before the model had answered"}
        assert time.monotonic() - begun < 2  # the model itself takes longer
        assert run(client, {"steps": 0})["outputs"][0]["data"] == [2000.0]
