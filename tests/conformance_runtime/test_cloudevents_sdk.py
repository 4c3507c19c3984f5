"""Events written and read by the CloudEvents SDK, against the function server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from mlfn_runtime.ping import ping_headers

REQUEST = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}
WRITERS = pytest.mark.parametrize("write", [to_binary_event, to_structured_event], ids=["binary", "structured"])
JSON_EVENT = {"content-type": "application/cloudevents+json"}


def event(data: Any = None, **attributes: str) -> CloudEvent:
    given = {"type": "flower.seen", "source": "/garden", "id": "e-1", "datacontenttype": "application/json"}
    return CloudEvent(attributes=given | attributes, data=REQUEST if data is None else data)


@pytest.fixture
def client(iris: Any) -> Iterator[httpx.Client]:
    with iris.client() as client:
        yield client


def send(client: httpx.Client, message: HTTPMessage) -> httpx.Response:
    return client.post("/", headers=message.headers, content=message.body)


def metric(client: httpx.Client, name: str) -> float:
    line = next(line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


@WRITERS
def test_an_event_is_answered_by_an_event_in_the_same_mode(client: httpx.Client, write: Any) -> None:
    response = send(client, write(event(subject="naïve ☃ 100%")))
    assert response.status_code == 200, response.text
    structured = response.headers["content-type"] == "application/cloudevents+json"
    assert structured == (write is to_structured_event)
    answer = from_http_event(HTTPMessage(headers=dict(response.headers), body=response.content))
    assert answer.get_type() == "dev.mlfn.inference.response"
    assert answer.get_source() == "/v2/models/iris"
    assert answer.get_subject() == "naïve ☃ 100%"
    assert answer.get_extension("causationid") == "e-1"
    data = answer.get_data()
    assert data["model_name"] == "iris"
    assert [output["name"] for output in data["outputs"]] == ["label", "probabilities"]


@WRITERS
def test_an_event_delivered_twice_is_answered_under_one_id(client: httpx.Client, write: Any) -> None:
    def answered(**attributes: str) -> str:
        response = send(client, write(event(**attributes)))
        identity = from_http_event(HTTPMessage(headers=dict(response.headers), body=response.content)).get_id()
        assert isinstance(identity, str)
        return identity

    assert answered() == answered()
    assert answered() != answered(source="/other-garden")


@pytest.mark.parametrize(
    ("headers", "data"),
    [
        ({}, {"data_base64": "eyJpbnB1dHMiOnsiWCI6WzUuMSwzLjUsMS40LDAuMl19fQ=="}),
        ({}, {"data": json.dumps(REQUEST)}),
        ({}, {"data": {"inputs": {"X": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}}}),
        ({"content-type": "application/cloudevents+json; charset=utf-8"}, {"data": REQUEST}),
    ],
    ids=["base64", "text", "by-name", "charset"],
)
def test_forms_of_data(client: httpx.Client, headers: dict[str, str], data: dict[str, Any]) -> None:
    document = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **data}
    response = client.post("/", headers=JSON_EVENT | headers, content=json.dumps(document))
    assert response.status_code == 200, response.text
    assert response.json()["data"]["outputs"][0]["name"] == "label"


@WRITERS
def test_a_ping_keeps_warm_and_runs_nothing(client: httpx.Client, write: Any) -> None:
    pings, inferences = metric(client, "mlfn_warm_pings_total"), metric(client, "mlfn_inferences_total")
    response = send(client, write(event({"any": "thing"}, type="dev.knative.sources.ping")))
    assert (response.status_code, response.content) == (200, b"")
    assert metric(client, "mlfn_warm_pings_total") == pings + 1
    assert metric(client, "mlfn_inferences_total") == inferences


def test_a_ping_is_no_request_of_anybody(client: httpx.Client) -> None:
    requests = metric(client, "mlfn_request_seconds_count")
    answer = client.post("/", headers=ping_headers("/test", "1"))
    assert (answer.status_code, answer.content) == (200, b"")
    assert metric(client, "mlfn_request_seconds_count") == requests + 1  # the look at the metrics before


@WRITERS
def test_a_wrong_request_is_400_and_names_the_input(client: httpx.Client, write: Any) -> None:
    response = send(client, write(event({"inputs": [{**REQUEST["inputs"][0], "datatype": "INT64"}]})))
    assert response.status_code == 400
    assert response.json() == {"error": 'input "X": expected datatype FP32, got "INT64"'}


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        ({"content-type": "application/cloudevents-batch+json"}, "[]", 415, "expected one event"),
        ({"content-type": "application/cloudevents+avro"}, "x", 415, "application/cloudevents+avro"),
        ({"content-type": "application/json"}, json.dumps(REQUEST), 415, "expected a CloudEvent"),
        (JSON_EVENT, "[]", 400, "another JSON value"),
        (JSON_EVENT, "{", 400, "expected a CloudEvent as JSON"),
        (JSON_EVENT, '{"specversion":"1.0","id":"1"}', 400, "source, event attribute type: expected a value"),
        (JSON_EVENT, '{"specversion":"2.0","id":"1","source":"s","type":"t"}', 400, "expected 1.0 or 0.3, got 2.0"),
        (JSON_EVENT, '{"specversion":"1.0","id":"1","source":"s","type":"t"}', 400, 'expected "data"'),
        (JSON_EVENT, '{"specversion":"1.0","id":7,"source":"s","type":"t"}', 400, '"id": expected a string, got 7'),
        ({"ce-id": "1", "ce-source": "s", "ce-specversion": "1.0"}, "{}", 400, "ce-type"),
        (
            {"ce-id": "1", "ce-source": "s", "ce-specversion": "1.0", "ce-type": "t", "content-type": "text/plain"},
            "{}",
            415,
            "got text/plain",
        ),
    ],
    ids=["batch", "avro", "no-event", "list", "broken", "missing", "version", "no-data", "id", "no-type", "text"],
)
def test_what_is_no_event_is_refused(
    client: httpx.Client, headers: dict[str, str], body: str, status: int, words: str
) -> None:
    response = client.post("/", headers=headers, content=body)
    assert response.status_code == status
    assert words in response.json()["error"]
