"""A router with one function whose instances are written in the test: real sockets, the real gate, no processes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import pytest
import uvloop

from mlfn_local.gate import Gate
from mlfn_local.records import FunctionSettings
from mlfn_local.router import Route, Router
from mlfn_local.upstream import Target
from mlfn_policies.concurrency import ConcurrencyMeter

T = TypeVar("T")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LIMIT_S = 10.0


class Owner:
    """Note what a gate tells its owner."""

    def __init__(self) -> None:
        self.pokes = 0
        self.unreachables: list[str] = []
        self.idles: list[str] = []
        self.changed = asyncio.Event()

    def poke(self) -> None:
        self.pokes += 1
        self.changed.set()

    def unreachable(self, instance: str) -> None:
        self.unreachables.append(instance)
        self.changed.set()

    def idle(self, instance: str) -> None:
        self.idles.append(instance)
        self.changed.set()


class Bench:
    """Hold the router, its gate, and the instances that the test scripts."""

    def __init__(self, settings: FunctionSettings) -> None:
        self.owner = Owner()
        self.meter = ConcurrencyMeter()
        self.gate = Gate("f-00001", settings, self.owner, self.meter)
        self.router = Router(lambda: {"functions": ["f"]})
        self.router.routes["f"] = Route([(100, self.gate)])
        self._servers: list[asyncio.Server] = []
        self._open: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Bench:
        await self.router.listen(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._open:
            writer.close()
        self.gate.close("the test is over")
        await self.router.close()
        for server in self._servers:
            server.close()

    async def add(self, handler: Handler, name: str = "f-00001-a") -> Target:
        """Start an instance that answers with ``handler``, and let the gate know."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        self._servers.append(server)
        target = Target(name, "f-00001", server.sockets[0].getsockname()[1])
        self.gate.add(target)
        return target

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the router."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.router.port)
        self._open.append(writer)
        return reader, writer

    async def send(self, raw: bytes) -> asyncio.StreamReader:
        """Send bytes on a connection of their own."""
        reader, writer = await self.dial()
        writer.write(raw)
        return reader


class ByHand:
    """HTTP as the tests speak it themselves, on either side of the router."""

    @staticmethod
    async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head[:-4].split(b"\r\n")
        headers = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
        status = int(status_line.split()[1])
        if headers.get(b"transfer-encoding") == b"chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            return status, headers, body
        length = headers.get(b"content-length")
        return status, headers, await (reader.read() if length is None else reader.readexactly(int(length)))

    @staticmethod
    async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head, await reader.readexactly(int(line.split(b":")[1]))
        return head, b""

    @staticmethod
    async def always_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await ByHand.read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    @staticmethod
    def once(answer: bytes) -> Handler:
        """Return an instance that reads one request, answers with these bytes, and is gone."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await ByHand.read_request(reader)
            writer.write(answer)
            await writer.drain()

        return handle

    @staticmethod
    def reset(writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    @staticmethod
    def recording(seen: list[bytes]) -> Callable[..., Any]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head, body = await ByHand.read_request(reader)
                seen.append(head + body)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

        return handle


class MakeBench(Protocol):
    def __call__(self, **settings: Any) -> Bench: ...


@pytest.fixture
def bench() -> MakeBench:
    return lambda **settings: Bench(FunctionSettings(**settings))


@pytest.fixture
def by_hand() -> type[ByHand]:
    return ByHand


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine on uvloop, as the service does, with a bound on its time."""

    def on_uvloop(work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            return await asyncio.wait_for(work, LIMIT_S)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(bounded())

    return on_uvloop
