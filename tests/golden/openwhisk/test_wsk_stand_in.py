"""The stand-in for the `wsk` binary against every recording of the commands that it knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STAND_IN = Path(__file__).parents[2] / "e2e" / "openwhisk" / "wsk_stand_in.py"
UNKNOWN = 99
VERBS = ("create", "update", "delete", "invoke")


@contextmanager
def recorded_api(exchanges: list[dict[str, Any]]) -> Iterator[tuple[str, list[tuple[str, str, str, Any]]]]:
    """Answer with the recorded responses in their order; yield the address and what was asked."""
    left, asked = list(exchanges), list[tuple[str, str, str, Any]]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, path, query, json.loads(body) if body else ""))
            response = left.pop(0)["response"]
            answer = json.dumps(response["body"]).encode() if response["body"] != "" else b""
            self.send_response(response["status"])
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def replayed(record: dict[str, Any]) -> str | None:
    """Return what differs, "" for nothing, None where the stand-in has no such command."""
    with recorded_api(record["exchanges"]) as (address, asked):
        done = subprocess.run(
            [sys.executable, "-S", str(STAND_IN), *record["argv"][1:]],
            env={"PATH": os.environ["PATH"], "WHISK_APIHOST": address, "WHISK_AUTH": "user:key"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    if done.returncode == UNKNOWN:
        return None
    ours = (done.returncode, done.stdout, done.stderr, [_plain(each) for each in asked])
    requests = (each["request"] for each in record["exchanges"])
    wanted = [_plain((each["method"], each["path"], each["query"], each["body"])) for each in requests]
    real = (record["exit_code"], record["stdout"], record["stderr"], wanted)
    return "" if ours == real else f"\n   ours {ours}\n   real {real}"


def _plain(asked: tuple[str, str, str, Any]) -> Any:
    """Set the order of annotations apart, which follows no rule."""
    method, path, query, body = asked
    if isinstance(body, dict) and "annotations" in body:
        body = {**body, "annotations": sorted(body["annotations"], key=lambda item: str(item["key"]))}
    return method, path, query, body


def test_it_does_what_was_recorded(recording: Callable[[str], Any]) -> None:
    found = {
        f"{number} {record['name']}": replayed(record)
        for number, record in enumerate(recording("wsk"))
        if record["argv"][1:2] == ["action"] and record["argv"][2] in VERBS and record["exchanges"]
    }
    known = {name: why for name, why in found.items() if why is not None}
    wrong = {name: why for name, why in known.items() if why}
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())
    assert len(known) >= 60, sorted(set(found) - set(known))
