"""A TCP proxy that does harm: it cuts connections after so many bytes, or turns one bit of what passes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator


class MeddlingProxy:
    """Pass bytes on to a server, with a plan for the harm of each connection.

    ``plan`` gives, for each new connection, after how many bytes towards the server it is cut (None = never). It is
    asked in the order of the connections.
    """

    def __init__(self, upstream_port: int, plan: Callable[[], int | None] = lambda: None) -> None:
        self.plan = plan
        self.plan_down: Callable[[], int | None] = lambda: None
        """The same for the bytes of the answers."""
        self.flip_up: int | None = None
        """Which byte towards the server is damaged, counted over all connections; None = none."""
        self.flip_down: int | None = None
        self.flip_once = False
        self.cuts = 0
        self.flips = 0
        self._upstream = upstream_port
        self._passed = {"up": 0, "down": 0}
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def drop(self) -> None:
        """Cut all connections now."""
        with self._lock:
            self.cuts += 1
            dropped, self._sockets = self._sockets, []
        for one in dropped:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> MeddlingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            for one in self._sockets:
                _shut(one)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets += [client, server]
            up, down = self.plan(), self.plan_down()
            for source, target, way, limit in ((client, server, "up", up), (server, client, "down", down)):
                thread = threading.Thread(target=self._pass, args=(source, target, way, limit), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, target: socket.socket, way: str, limit: int | None) -> None:
        for block in _blocks(source):
            if limit is not None and len(block) >= limit:
                with contextlib.suppress(OSError):
                    target.sendall(block[:limit])
                with self._lock:
                    self.cuts += 1
                _reset(source)
                break
            if limit is not None:
                limit -= len(block)
            try:
                target.sendall(self._damaged(block, way))
            except OSError:
                break
        _shut(source)
        _shut(target)

    def _damaged(self, block: bytes, way: str) -> bytes:
        with self._lock:
            place = self.flip_up if way == "up" else self.flip_down
            offset = (place or 0) - self._passed[way]
            self._passed[way] += len(block)
            if place is None or not 0 <= offset < len(block):
                return block
            self.flips += 1
            if not self.flip_once:
                self._passed[way] = 0
            return block[:offset] + bytes([block[offset] ^ 1]) + block[offset + 1 :]


def _blocks(source: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            block = source.recv(65536)
        except OSError:
            return
        if not block:
            return
        yield block


def _reset(one: socket.socket) -> None:
    """Close so that the other side sees a reset: what a dying network element sends."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
