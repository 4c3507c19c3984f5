"""``GET /ping`` and ``POST /invocations`` in every form that hosted containers are asked in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
OPEN_INFERENCE = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 4], "data": ROWS}]}


@pytest.fixture
def client(iris: Any) -> Iterator[httpx.Client]:
    with iris.client() as client:
        yield client


def ask(client: httpx.Client, document: Any) -> Any:
    response = client.post("/invocations", json=document)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


@pytest.fixture
def labels(client: httpx.Client) -> list[int]:
    answer = client.post("/v2/models/iris/infer", json=OPEN_INFERENCE).json()
    found = answer["outputs"][0]["data"]
    assert isinstance(found, list)
    return found


def test_ping(client: httpx.Client) -> None:
    assert client.get("/ping").status_code == 200


def test_an_open_inference_document(client: httpx.Client, labels: list[int]) -> None:
    assert ask(client, OPEN_INFERENCE)["outputs"][0]["data"] == labels


def test_its_answer_is_json_even_when_binary_is_asked(client: httpx.Client, labels: list[int]) -> None:
    answer = ask(client, OPEN_INFERENCE | {"parameters": {"binary_data_output": True}})
    assert answer["outputs"][0]["data"] == labels


@pytest.mark.parametrize("inputs", [{"X": ROWS}, ROWS], ids=["by-name", "the-only-input"])
def test_nested_lists_are_answered_by_name(client: httpx.Client, labels: list[int], inputs: Any) -> None:
    answer = ask(client, {"inputs": inputs})
    assert answer["outputs"]["label"] == labels
    assert [len(row) for row in answer["outputs"]["probabilities"]] == [3, 3]


@pytest.mark.parametrize("instances", [ROWS, [{"X": row} for row in ROWS]], ids=["rows", "objects"])
def test_instances_are_answered_row_by_row(client: httpx.Client, labels: list[int], instances: Any) -> None:
    predictions = ask(client, {"instances": instances})["predictions"]
    assert [row["label"] for row in predictions] == labels


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "expected a JSON object"),
        ({}, '"inputs"'),
        ({"inputs": {"Y": ROWS}}, 'input "Y"'),
        ({"inputs": {}}, 'input "X"'),
        ({"inputs": {"X": [[1, 2, 3]]}}, "[-1, 4]"),
        ({"inputs": {"X": [[1, 2], [3]]}}, 'input "X"'),
        ({"instances": []}, "at least one row"),
        ({"instances": [{"Y": 1}]}, "exactly X"),
    ],
    ids=["list", "empty", "name", "none", "shape", "ragged", "no-rows", "row-names"],
)
def test_refusals_name_what_was_expected(client: httpx.Client, document: Any, words: str) -> None:
    response = client.post("/invocations", json=document)
    assert response.status_code == 400
    assert words in response.json()["error"]
