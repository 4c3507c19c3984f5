"""The router: one address on 127.0.0.1 for all functions.

``http://127.0.0.1:PORT/NAME/…`` (the prefix is cut off) or ``http://NAME.localhost:PORT/…``. ``GET /`` lists the
functions. It knows functions as names with gates and shares; what is behind a gate is not its business.
"""

from __future__ import annotations

import asyncio
import errno
import random
import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlfn_local.errors import Kind, LocalError
from mlfn_local.front import FrontConnection
from mlfn_local.heads import BadHead, find_function
from mlfn_local.upstream import InstanceLink

if TYPE_CHECKING:
    from mlfn_local.exchange import Exchange
    from mlfn_local.gate import Gate
    from mlfn_local.upstream import Target

__all__ = ["DEFAULT_PORT", "Route", "Router"]

DEFAULT_PORT = 8787
"""The router's port where nothing else was asked for and nobody has it."""
IDLE_CLIENT_S = 75.0
"""A client's connection that is silent for so long, with nothing under way, is closed."""
HEAD_S = 30.0
"""Time for a client to finish sending the head of a request."""
RESERVED_FILES = 256
"""Open files that connections to instances leave to all else: state, logs, starting instances, new clients."""
MAX_CONNECTING = 128
"""Connections to instances made at the same time: fewer than the reserve."""
NO_ROOM_PAUSE_S = 0.005
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class Route:
    """One function: its gates, each with its share of the requests."""

    def __init__(self, shares: list[tuple[int, Gate]], missing: str = "") -> None:
        self._shares = [(percent, gate) for percent, gate in shares if percent > 0]
        self.missing = missing
        """Why no gate is there, for a function without a ready revision."""

    def choose(self) -> Gate | None:
        """Return the gate for the next request."""
        shares = self._shares
        if len(shares) == 1:
            return shares[0][1]
        draw = random.random() * 100  # noqa: S311  spreading load needs no secret
        for percent, gate in shares:
            draw -= percent
            if draw < 0:
                return gate
        return shares[-1][1] if shares else None


class Router:
    """Listen, and send each request to the gate of its function."""

    def __init__(self, page: Callable[[], object]) -> None:
        self.routes: dict[str, Route] = {}
        self.connections: set[FrontConnection] = set()
        self.port = 0
        self._page = page
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._no_room = asyncio.Lock()
        self._connecting = asyncio.Semaphore(MAX_CONNECTING)

    async def listen(self, port: int) -> None:
        """Listen on ``port`` (0 = any free one) instead of wherever it listened before. Raises LocalError."""
        try:
            server = await self._loop.create_server(
                lambda: FrontConnection(self), "127.0.0.1", port, backlog=4096, reuse_address=True
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LocalError(
                    Kind.CONFLICT,
                    f"port {port} on 127.0.0.1 is taken by another program",
                    hints=("mlfn local up --port PORT  # another port, kept from then on",),
                ) from error
            message = f"cannot listen on 127.0.0.1:{port}: {error.strerror or error}"
            raise LocalError(Kind.INVALID_INPUT, message) from error
        before, self._server = self._server, server
        self.port = server.sockets[0].getsockname()[1]
        if before is not None:
            before.close()

    def sweep(self) -> None:
        """Close the connections of clients that went silent; called every few seconds."""
        now = time.monotonic()
        for connection in list(self.connections):
            if connection.quiet:
                limit_s = HEAD_S if connection.in_head else IDLE_CLIENT_S
                if now - connection.seen_s > limit_s:
                    connection.close()

    async def stop_listening(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Stop listening and end what is left."""
        await self.stop_listening()
        for connection in list(self.connections):
            connection.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- for the connections ------------------------------------------------------------------------------------------

    def dispatch(self, exchange: Exchange) -> None:
        """Answer an exchange, or let it enter a gate."""
        try:
            name, path, prefix = find_function(exchange.head)
        except BadHead as error:
            exchange.reply(400, {"error": str(error)})
            return
        route = self.routes.get(name)
        if route is None:
            self._answer_self(exchange, name)
            return
        gate = route.choose()
        if gate is None:
            exchange.reply(503, {"error": route.missing or f"function {name} has no ready revision"}, retry_after_s=1)
        else:
            exchange.enter(gate, path, prefix)

    def _answer_self(self, exchange: Exchange, name: str) -> None:
        if name:
            known = ", ".join(sorted(self.routes)) or "none"
            exchange.reply(404, {"error": f"there is no function {name!r} here; deployed functions: {known}"})
        elif exchange.head.method in (b"GET", b"HEAD"):
            exchange.reply(200, self._page())
        else:
            exchange.reply(404, {"error": "name a function: POST /NAME/v2/models/NAME/infer"})

    def connect(self, target: Target, exchange: Exchange) -> None:
        """Open a connection to an instance for an exchange."""
        task = self._loop.create_task(self._connect(target, exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, target: Target, exchange: Exchange) -> None:
        link = None
        try:
            if not self._no_room.locked():
                link = await self._open(target)
            if link is None:
                # One at a time looks for room: others would only find it taken.
                async with self._no_room:
                    while link is None and not exchange.over:
                        link = await self._open(target)
                        if link is None:
                            await asyncio.sleep(NO_ROOM_PAUSE_S)
        except OSError as error:
            exchange.not_connected(error)
            return
        if link is None:
            return  # given up meanwhile
        if link.transport is None:
            exchange.not_connected(ConnectionResetError("closed at once"))
        else:
            exchange.send(link)

    async def _open(self, target: Target) -> InstanceLink | None:
        """Open a connection, None when there are no open files left for one: which is no fault of the instance."""
        try:
            async with self._connecting:
                transport, link = await self._loop.create_connection(
                    lambda: InstanceLink(target), "127.0.0.1", target.port
                )
        except OSError as error:
            if error.errno in _EXHAUSTED:
                return None
            raise
        # The kernel gives the lowest free number, so that a high one tells that few are left.
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        number = transport.get_extra_info("socket").fileno()
        if most != resource.RLIM_INFINITY and number >= most - min(RESERVED_FILES, most // 4):
            link.close()
            return None
        return link
