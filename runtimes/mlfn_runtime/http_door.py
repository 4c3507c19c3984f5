"""The HTTP door: listens, admits connections, bounds their time, and closes without dropping an answer.

Knows connections and where to send exchanges; knows no route and no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import time
from typing import TYPE_CHECKING

from mlfn_runtime.errors import RequestError
from mlfn_runtime.http_connection import BODY, CLOSING, HEAD, IDLE, WAITING, HttpConnection
from mlfn_runtime.http_head import KnownHeads

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from mlfn_runtime.access import Access
    from mlfn_runtime.counters import Counters
    from mlfn_runtime.routes import Exchange
    from mlfn_runtime.settings import DoorSettings

__all__ = ["HttpDoor"]

_SWEEP_S = 0.25
"""How often connections are looked through for those whose time is over."""

_LINGER_S = 2.0
"""How long a client may take to read a refusal and close."""

_FAREWELL_S = 0.1
"""How long open connections are still read when the server stops: a client that has just got an answer without
"close" sends its next request within this, unless it is idle."""

_BACKLOG = 2048


class HttpDoor:
    """Accept HTTP connections and send their exchanges to ``dispatch``."""

    def __init__(
        self,
        dispatch: Callable[[Exchange], None],
        access: Access,
        counters: Counters,
        settings: DoorSettings,
    ) -> None:
        self.dispatch = dispatch
        self.access = access
        self.settings = settings
        self.draining = False
        self.heads = KnownHeads()
        self._counters = counters
        self._connections: set[HttpConnection] = set()
        self._listener: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None

    async def open(self, listener: socket.socket) -> None:
        """Listen; ``listener`` is bound already."""
        loop = asyncio.get_running_loop()
        self._listener = listener
        self._server = await loop.create_server(self.connect, sock=listener, backlog=_BACKLOG)
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep, loop)

    def connect(self) -> HttpConnection:
        """Make the protocol of one new connection."""
        return HttpConnection(self)

    def admit(self, connection: HttpConnection) -> bool:
        """Count a connection in; return False where it is one too many."""
        self._connections.add(connection)
        self._counters.connections = len(self._connections)
        if len(self._connections) > self.settings.max_connections:
            self._counters.connections_refused += 1
            return False
        return True

    def forget(self, connection: HttpConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self._counters.connections = len(self._connections)
        if self._empty is not None and not self._connections:
            self._empty.set()

    def part(self) -> None:
        """Let each answer from now on end its connection; new connections are taken as before."""
        self.draining = True

    async def drain(self, grace_s: float) -> bool:
        """Stop accepting, let every request that has begun or arrived be answered; return whether all were."""
        self.part()
        await self._stop_listening()
        farewell_s = min(_FAREWELL_S, grace_s)
        await self._empty_within(farewell_s)
        for connection in self._silent():
            connection.close()
        finished = await self._empty_within(grace_s - farewell_s)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._connections):
            connection.close()
        return finished

    async def _stop_listening(self) -> None:
        """Take the connections that the kernel has made already, and no others: closing resets those."""
        if self._server is None or self._listener is None:
            return
        made: list[socket.socket] = []
        with contextlib.suppress(OSError):  # BlockingIOError: no more
            self._listener.setblocking(False)
            while True:
                made.append(self._listener.accept()[0])
        self._server.close()
        loop = asyncio.get_running_loop()
        for accepted in made:
            with contextlib.suppress(OSError):  # the client has gone meanwhile
                await loop.connect_accepted_socket(self.connect, accepted)

    async def _empty_within(self, seconds: float) -> bool:
        """Wait until no connection is left; return whether that came in time."""
        self._empty = asyncio.Event()
        if not self._connections:
            return True
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _silent(self) -> list[HttpConnection]:
        """Return the connections on which nothing is asked, not even in bytes that are not read yet."""
        idle = {connection.file(): connection for connection in self._connections if not connection.busy}
        idle.pop(-1, None)
        unread = select.poll()
        for file in idle:
            unread.register(file, select.POLLIN)
        for file, _ in unread.poll(0):
            del idle[file]
        return list(idle.values())

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.perf_counter()
        for connection in list(self._connections):
            self.check_time(connection, now)
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep, loop)

    def check_time(self, connection: HttpConnection, now: float) -> None:
        """End what has taken too long."""
        settings = self.settings
        waited = now - connection.since
        phase = connection.phase
        if phase == IDLE:
            if waited > settings.idle_timeout_s:
                connection.close()
        elif phase == HEAD:
            if waited > settings.head_timeout_s:
                connection.expire(RequestError(408, f"expected the whole head within {settings.head_timeout_s:g} s"))
        elif phase == BODY:
            if waited > settings.body_timeout_s:
                connection.expire(RequestError(408, f"expected the whole body within {settings.body_timeout_s:g} s"))
        elif phase == WAITING:
            if waited > settings.request_timeout_s:
                connection.expire(RequestError(504, f"no answer within {settings.request_timeout_s:g} s"))
        elif phase == CLOSING and waited > (settings.request_timeout_s if connection.busy else _LINGER_S):
            connection.close()  # busy: answers are due that were asked for before what was refused
