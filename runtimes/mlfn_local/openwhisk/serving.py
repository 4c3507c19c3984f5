"""Put a small OpenWhisk together and serve it over HTTP."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlfn_local.openwhisk.activating import Activator
from mlfn_local.openwhisk.containers import Containers
from mlfn_local.openwhisk.entity_calls import EntityCalls
from mlfn_local.openwhisk.http_values import Request, text_response
from mlfn_local.openwhisk.invoker import Invoker
from mlfn_local.openwhisk.rest import Api
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_local.openwhisk.store import Store
from mlfn_runtime.access import Access
from mlfn_runtime.counters import Counters
from mlfn_runtime.http_door import HttpDoor
from mlfn_runtime.logs import JsonLog
from mlfn_runtime.settings import DoorSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlfn_runtime.routes import Exchange

__all__ = ["Server", "Transport", "assemble", "serve"]

_SLACK_BYTES = 16 * 1024 * 1024
"""Bodies a little above the API's limit are read, so that the API can say so in its own words."""
_LONGEST_S = 700.0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenWhisk without its transport: what answers, and what has to be closed."""

    api: Api
    activator: Activator
    store: Store

    async def close(self) -> None:
        """End every container."""
        await self.activator.close()


def assemble(
    containers: Containers,
    settings: ServerSettings,
    keys: dict[str, str],
    *,
    now_ms: Callable[[], int] = _now_ms,
    new_id: Callable[[], str] = _new_id,
) -> Server:
    """Return a server that runs its actions in ``containers``; clock and ids are injected by tests."""
    store = Store()
    activator = Activator(store, Invoker(containers, settings, now_ms), settings, now_ms=now_ms, new_id=new_id)
    entities = EntityCalls(store, settings, now_ms)
    return Server(Api(store, activator, entities, keys), activator, store)


class Transport:
    """Serve a server's API over HTTP."""

    def __init__(self, server: Server, most_body_bytes: int) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        counters = Counters()
        log = JsonLog(None, counters, schedule=lambda flush: None)
        bounds = DoorSettings(max_body_bytes=most_body_bytes + _SLACK_BYTES, request_timeout_s=_LONGEST_S)
        self._door = HttpDoor(self._dispatch, Access(counters, log), counters, bounds)

    async def open(self, listener: socket.socket) -> None:
        """Listen; ``listener`` is bound already."""
        await self._door.open(listener)

    def _dispatch(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, exchange: Exchange) -> None:
        request = Request(
            exchange.method.decode("latin-1"),
            exchange.path.decode(errors="replace"),
            exchange.query.decode("latin-1"),
            tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in exchange.headers),
            exchange.body,
        )
        try:
            response = await self._server.api.answer(request)
        except Exception:  # noqa: BLE001 - one request's defect must not leave its caller without an answer
            traceback.print_exc()
            response = text_response(500, "There was an internal server error.")
        named = dict(response.headers)
        exchange.request_id = named.get("X-Request-ID", exchange.request_id)
        headers = [(name.encode(), value.encode()) for name, value in response.headers if name != "X-Request-ID"]
        if response.content_type:
            headers.append((b"content-type", response.content_type.encode()))
        exchange.reply(response.status, tuple(headers), response.body)


async def serve(server: Server, settings: ServerSettings, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until ``stop``, then end every container."""
    transport = Transport(server, settings.most_body_bytes)
    await transport.open(listener)
    try:
        await stop.wait()
    finally:
        await server.close()
