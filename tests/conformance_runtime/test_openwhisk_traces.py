"""Every container trace recorded from a real OpenWhisk invoker, sent to the function server as it was sent then.

The default client opens a connection for each call and sends ``Accept-Encoding: gzip,deflate``; the pooled one keeps
its connections and sends neither. Whatever comes, the answer has a length, is not compressed, is a JSON object, and has
status 200 (403 for a second ``/init``): anything else would cost the container.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1] / "data" / "openwhisk"
FILES = ("container", "concurrency", "pool")
RECORDS = [record for name in FILES for record in json.loads((DATA / f"{name}.json").read_text())]
END = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"


def requests_of(record: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the recorded requests of each container, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in record["trace"]:
        if event["event"] == "request" and event.get("path") in ("/init", "/run"):
            found.setdefault(event["container"], []).append(event)
    yield from found.items()


TRACES = [
    pytest.param(requests, id=f"{record['server']}-{record['name']}-{container}")
    for record in RECORDS
    for container, requests in requests_of(record)
]


def body_of(event: dict[str, Any]) -> bytes:
    """Return a recorded body; where only its ends were kept, another one of its length."""
    body = event["body"]
    if isinstance(body, dict) and set(body) == {"bytes", "first", "last"}:
        return json.dumps({"value": {"filler": "x" * (body["bytes"] - 25)}}).encode()
    return json.dumps(body).encode()


def ask(connection: HTTPConnection, event: dict[str, Any]) -> None:
    """Send one recorded request with its own headers and hold the answer to what an invoker needs."""
    body = body_of(event)
    connection.putrequest(event["method"], event["path"], skip_host=True, skip_accept_encoding=True)
    for name, value in event["headers"]:
        connection.putheader(name, str(len(body)) if name.lower() == "content-length" else value)
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200 or (event["path"], answer.status) == ("/init", 403), content
    assert answer.getheader("content-length") == str(len(content))
    assert answer.getheader("transfer-encoding") is None
    assert answer.getheader("content-encoding") is None
    assert isinstance(json.loads(content), dict)


def keeps_connections(events: list[dict[str, Any]]) -> bool:
    """Tell the pooled client by what it does not send."""
    return not any(name.lower() == "accept-encoding" for name, _ in events[0]["headers"])


@pytest.mark.parametrize("events", TRACES)
def test_a_recorded_trace(events: list[dict[str, Any]], whisk: Any) -> None:
    marks, error_marks = whisk.output.count(END), whisk.errors.count(END)
    kept = HTTPConnection("127.0.0.1", whisk.port, timeout=60) if keeps_connections(events) else None
    for event in events:
        connection = kept or HTTPConnection("127.0.0.1", whisk.port, timeout=60)
        ask(connection, event)
        if kept is None:
            connection.close()
    if kept is not None:
        kept.close()
    runs = sum(event["path"] == "/run" for event in events)
    assert whisk.output.count(END) - marks >= runs
    assert whisk.errors.count(END) - error_marks >= runs


def test_runs_that_came_together_are_answered_together(whisk: Any) -> None:
    together = max((requests for record in RECORDS for _, requests in requests_of(record)), key=_most_active)
    runs = [event for event in together if event["path"] == "/run"]
    assert len(runs) >= 12
    failures: list[str] = []

    def one(event: dict[str, Any]) -> None:
        try:
            connection = HTTPConnection("127.0.0.1", whisk.port, timeout=60)
            ask(connection, event)
            connection.close()
        except (AssertionError, OSError) as error:
            failures.append(str(error))

    callers = [threading.Thread(target=one, args=(event,)) for event in runs]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures


def _most_active(events: list[dict[str, Any]]) -> float:
    return max((event.get("active", 0) for event in events), default=-math.inf)
