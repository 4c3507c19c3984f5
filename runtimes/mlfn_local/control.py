"""The control socket's server side: greet, read one request, answer it, cancel it when the client goes away.

Only the socket's owner (and root) is served; what the methods do is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from mlfn_local import wire
from mlfn_local.errors import Kind, LocalError

__all__ = ["Control", "Method"]

_log = logging.getLogger("mlfn_local")

Progress = Callable[[str], None]
Method = Callable[[dict[str, Any], Progress], Awaitable[object]]


class Control:
    """Serve methods by name."""

    def __init__(self, greeting: Callable[[], wire.Hello], methods: dict[str, Method]) -> None:
        self._greeting = greeting
        self._methods = methods
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, listener: socket.socket) -> None:
        """Serve on a bound socket."""
        self._server = await asyncio.start_unix_server(self._meet, sock=listener, limit=wire.LINE_LIMIT)

    async def close(self) -> None:
        """Stop listening, and end what is left."""
        if self._server is not None:
            self._server.close()
        await self.withdraw()

    async def withdraw(self) -> None:
        """Cancel what clients wait for, and wait until it is undone."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if _peer_may(writer.get_extra_info("socket")):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            writer.write(wire.encode({"stopping": True}))
        except ConnectionError:
            pass  # the client is gone
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.encode(self._greeting().as_json()))
        line = await reader.readline()
        if not line:
            return
        if self._greeting().stopping:
            writer.write(wire.encode({"stopping": True}))
            await writer.drain()
            return
        work = asyncio.ensure_future(self._answer(line, lambda stage: writer.write(wire.encode({"event": stage}))))
        gone = asyncio.ensure_future(reader.read(1))
        with contextlib.suppress(asyncio.CancelledError):  # the service stops
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
        # A client that has only finished sending waits to hear that its request is undone, or was through already.
        if not work.cancelled():
            writer.write(wire.encode(work.result()))
        elif self._greeting().stopping:
            writer.write(wire.encode({"stopping": True}))
        await writer.drain()

    async def _answer(self, line: bytes, progress: Progress) -> dict[str, object]:
        try:
            request = wire.decode(line)
            method = self._methods.get(str(request.get("method")))
            if method is None:
                raise LocalError(Kind.FAILURE, f"the local service knows no method {request.get('method')!r}")
            return {"result": await method(request.get("params") or {}, progress)}
        except LocalError as error:
            return {"error": error.as_json()}
        except Exception as error:  # noqa: BLE001  the last frame of a request: a defect must reach the client, and the log
            _log.exception("request failed")
            message = f"the local service failed: {type(error).__name__}: {error}"
            return {"error": LocalError(Kind.FAILURE, message, hints=("see the service log",)).as_json()}


def _peer_may(link: Any) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder's and the socket's modes keep others out
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (os.getuid(), 0)
