"""The ASGI adapter keeps ASGI's own rules; that it answers as the server does is the differential fuzz's matter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn_runtime.asgi import AsgiApplication
from mlfn_runtime.settings import ServerSettings

Message = dict[str, Any]


class Life:
    """Play the server's part of the lifespan protocol."""

    def __init__(self, application: AsgiApplication) -> None:
        self._application = application
        self._to: asyncio.Queue[Message] = asyncio.Queue()
        self._from: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> Life:
        self._task = asyncio.ensure_future(self._application({"type": "lifespan"}, self._to.get, self._from.put))
        self.started = await self._next("startup")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.started["type"] == "lifespan.startup.complete":
            assert (await self._next("shutdown"))["type"] == "lifespan.shutdown.complete"
        await self._task

    async def _next(self, event: str) -> Message:
        await self._to.put({"type": f"lifespan.{event}"})
        return await asyncio.wait_for(self._from.get(), 60)


async def request(application: AsgiApplication, method: str, path: str, *parts: bytes) -> tuple[int, bytes]:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": None, "query_string": b"", "headers": []}
    await application(scope, receive, send)
    start, body = sent
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    return start["status"], body["body"]


def in_life(settings: ServerSettings, scenario: Callable[[AsgiApplication, Life], Awaitable[None]]) -> None:
    async def run() -> None:
        application = AsgiApplication(settings)
        async with Life(application) as life:
            await scenario(application, life)

    asyncio.run(run())


def test_a_request_in_pieces(iris_model: Path, tmp_path: Path) -> None:
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}
    body = json.dumps({"inputs": [tensor]}).encode()

    async def scenario(application: AsgiApplication, life: Life) -> None:
        assert life.started == {"type": "lifespan.startup.complete"}
        assert (await request(application, "GET", "/v2/health/ready"))[0] == 200
        status, answer = await request(application, "POST", "/v2/models/iris/infer", body[:20], body[20:])
        assert (status, json.loads(answer)["model_name"]) == (200, "iris")

    in_life(ServerSettings(str(iris_model), name="iris", log_path=str(tmp_path / "log")), scenario)


def test_a_body_too_large_is_refused(iris_model: Path, tmp_path: Path) -> None:
    async def scenario(application: AsgiApplication, life: Life) -> None:
        status, answer = await request(application, "POST", "/v2/models/iris/infer", b"x" * 60, b"x" * 60)
        assert status == 413
        assert json.loads(answer) == {"error": "expected a body of 100 bytes at most, got more"}

    in_life(ServerSettings(str(iris_model), max_body_bytes=100, log_path=str(tmp_path / "log")), scenario)


def test_a_model_that_cannot_be_loaded_fails_the_start(tmp_path: Path) -> None:
    model = tmp_path / "no.onnx"
    model.write_text("no model")

    async def scenario(application: AsgiApplication, life: Life) -> None:
        assert life.started["type"] == "lifespan.startup.failed"
        assert "no.onnx" in life.started["message"]

    in_life(ServerSettings(str(model), log_path=str(tmp_path / "log")), scenario)


def test_other_scopes_and_a_missing_start_are_told(iris_model: Path) -> None:
    application = AsgiApplication(ServerSettings(str(iris_model)))
    with pytest.raises(ValueError, match="got websocket"):
        asyncio.run(application({"type": "websocket"}, None, None))  # type: ignore[arg-type]  # never called
    with pytest.raises(RuntimeError, match="--lifespan on"):
        asyncio.run(request(application, "GET", "/v2"))
