"""The function server as an ASGI 3 application: the same routes and service behind another server's HTTP.

``uvicorn --factory mlfn_runtime.asgi:app`` with the settings in the environment (``MLFN_MODEL_PATH``…). It is for those
who must run under a given server, and the reference that the own HTTP door is compared with.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from mlfn_runtime.application import Application
from mlfn_runtime.errors import RequestError, StartError
from mlfn_runtime.routes import Exchange
from mlfn_runtime.settings import ServerSettings

if TYPE_CHECKING:
    from mlfn_runtime.routes import Headers

__all__ = ["AsgiApplication", "app"]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _AsgiExchange(Exchange):
    """One exchange whose answer is awaited."""

    __slots__ = ("answer", "application")

    def __init__(self, application: Application, scope: Message, body: bytes) -> None:
        path = scope.get("raw_path") or scope["path"].encode()
        headers = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
        super().__init__(scope["method"].encode(), unquote_to_bytes(path), scope["query_string"], headers, body)
        self.application = application
        self.answer: asyncio.Future[tuple[int, Headers, bytes]] = asyncio.get_running_loop().create_future()
        self.started = time.perf_counter()
        application.access.begin(self)

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Give the answer to whoever awaits it."""
        self.application.access.record(self, status, len(body))
        if not self.answer.done():
            self.answer.set_result((status, headers, body))


class AsgiApplication:
    """Serve one model to an ASGI server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._application: Application | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection scope: the server's life, or one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            raise ValueError(f"expected an http or lifespan scope, got {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        loop = asyncio.get_running_loop()
        application = Application(self._settings, loop)
        try:
            await application.start(await loop.run_in_executor(None, application.load))
        except StartError as error:
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return
        self._application = application
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        application.service.mark("draining")
        application.service.close()
        application.log.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        application = self._application
        if application is None:
            raise RuntimeError("expected the lifespan protocol before requests (uvicorn: --lifespan on)")
        most = self._settings.max_body_bytes
        body = await _body(receive, most)
        exchange = _AsgiExchange(application, scope, body or b"")
        if body is None:
            exchange.fail(RequestError(413, f"expected a body of {most} bytes at most, got more"))
        else:
            application.routes.dispatch(exchange)
        status, headers, answer = await exchange.answer
        sent = [*headers, (b"content-length", b"%d" % len(answer)), (b"x-request-id", exchange.request_id.encode())]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": answer})


async def _body(receive: Receive, most: int) -> bytes | None:
    """Return the whole body, or None where it is longer than ``most`` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def app() -> AsgiApplication:
    """Make the application from the environment."""
    return AsgiApplication(ServerSettings.from_environment(os.environ))
