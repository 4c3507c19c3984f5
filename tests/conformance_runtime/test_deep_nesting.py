"""Nesting that a JSON parser takes and a JSON writer, numpy or recursion doesn't is refused, whatever its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

TENSOR = '{"name": "token", "datatype": "INT64", "shape": [1], "data": [1]}'
PLACES = {
    "id": f'{{"inputs": [{TENSOR}], "id": DEEP}}',
    "parameters": f'{{"inputs": [{TENSOR}], "parameters": {{"a": DEEP}}}}',
    "outputs": f'{{"inputs": [{TENSOR}], "outputs": DEEP}}',
    "output-name": f'{{"inputs": [{TENSOR}], "outputs": [{{"name": DEEP}}]}}',
    "name": '{"inputs": [{"name": DEEP}]}',
    "datatype": '{"inputs": [{"name": "token", "datatype": DEEP}]}',
    "shape": '{"inputs": [{"name": "token", "datatype": "INT64", "shape": DEEP}]}',
    "shape-object": '{"inputs": [{"name": "token", "datatype": "INT64", "shape": {"a": DEEP}}]}',
    "data": '{"inputs": [{"name": "token", "datatype": "INT64", "shape": [1], "data": DEEP}]}',
    "data-object": '{"inputs": [{"name": "token", "datatype": "INT64", "shape": [1], "data": [{"a": DEEP}]}]}',
    "by-name": '{"inputs": {"token": DEEP}}',
}


@pytest.fixture
def client(whisk: Any) -> Iterator[httpx.Client]:
    with whisk.client() as client:
        yield client


@pytest.mark.parametrize("depth", [70, 260, 1005])
@pytest.mark.parametrize("document", PLACES.values(), ids=PLACES)
def test_no_place_is_too_deep_to_be_refused(client: httpx.Client, document: str, depth: int) -> None:
    body = document.replace("DEEP", "[" * depth + "]" * depth)
    event = f'{{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {body}}}'
    asked = [
        client.post("/v2/models/tokens/infer", content=body),
        client.post("/invocations", content=body),
        client.post("/", content=event, headers={"content-type": "application/cloudevents+json"}),
    ]
    # 70 levels of parameters can be given back; nothing else here is a request.
    expected = 200 if "parameters" in document and depth == 70 else 400
    assert [response.status_code for response in asked] == [expected] * 3
    answered = client.post("/run", content=f'{{"value": {body}, "activation_id": {"[" * depth}{"]" * depth}}}')
    assert answered.status_code == 200
    assert ("error" in answered.json()) == (expected == 400)


@pytest.mark.parametrize("depth", [70, 1005])
def test_strings_nested_too_deep(datatypes: Any, depth: int) -> None:
    tensor = f'{{"name": "in_BYTES", "datatype": "BYTES", "shape": [1, 2], "data": {"[" * depth}"a"{"]" * depth}}}'
    with datatypes.client() as client:
        response = client.post("/v2/models/datatypes/infer", content=f'{{"inputs": [{tensor}]}}')
    assert response.status_code == 400
    assert "nested 64 deep at most" in response.json()["error"]
