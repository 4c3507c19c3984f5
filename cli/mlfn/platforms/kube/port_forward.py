"""A socket to a port of a pod, carried by the API server in one websocket (``v4.channel.k8s.io``).

The caller opens the websocket and hands over its connected socket; a thread moves bytes both ways and never waits for
one direction while the other could move, so that an answer that comes before the request is all sent is not lost. The
protocol has no half-close: who shuts down writing still hears the answer to its end, but the pod is not told. Knows
nothing of clusters, pods or HTTP.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["SUBPROTOCOL", "ForwardedSocket", "forward"]

SUBPROTOCOL = "v4.channel.k8s.io"

_CHUNK = 64 * 1024
_MOST_HELD = 1024 * 1024
"""Bytes that wait for a slow reader before no more are taken from the other side."""
_DATA, _ERROR = 0, 1
_BINARY, _CLOSE, _PING, _PONG = 0x2, 0x8, 0x9, 0xA
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket says that has nothing to give, or no room, at the moment."""


class ForwardedSocket(socket.socket):
    """The caller's end."""

    failure: str = ""
    """What the cluster said when the port could not be reached, known once reading ends."""


def forward(carrier: socket.socket) -> ForwardedSocket:
    """Return a socket to the one port that ``carrier``, a websocket after its handshake, was opened for.

    The thread that serves it ends when either side has closed, and closes ``carrier``.
    """
    near, far = socket.socketpair()
    ours = ForwardedSocket(near.family, near.type, near.proto, near.detach())
    pump = _Pump(carrier, far, ours)
    threading.Thread(target=pump.run, name="port forward", daemon=True).start()
    return ours


class _Pump:
    """Move bytes between a websocket and one end of a socket pair until both are done."""

    def __init__(self, carrier: socket.socket, local: socket.socket, ours: ForwardedSocket) -> None:
        self._carrier = carrier
        self._local = local
        self._ours = ours
        self._frames = _Frames()
        self._greeted: set[int] = set()
        """Channels whose first message, the port's number, has come."""
        self._to_cluster = bytearray()
        self._to_caller = bytearray()
        self._reads_caller = True
        self._reads_cluster = True

    def run(self) -> None:
        self._carrier.setblocking(False)
        self._local.setblocking(False)
        try:
            while self._reads_cluster or self._to_caller:
                if not self._turn():
                    return
            self._carrier.close()
            self._say_goodbye()
        finally:
            self._local.close()
            self._carrier.close()

    def _say_goodbye(self) -> None:
        """End the answer, and take what the caller still sends: closing over it would reset what was not yet read."""
        try:
            self._local.setblocking(True)
            self._local.shutdown(socket.SHUT_WR)
            while self._local.recv(_CHUNK):
                pass
        except OSError:
            return  # the caller has closed

    def _turn(self) -> bool:
        """Wait for something that can move and move it; False when the caller has gone."""
        poll = select.poll()
        wanted_local = (select.POLLIN if self._wants_request() else 0) | (select.POLLOUT if self._to_caller else 0)
        poll.register(self._local, wanted_local)
        if self._reads_cluster:
            # A held answer stops reading, so that a caller who does not read holds up the pod and not the memory.
            wanted = select.POLLIN if len(self._to_caller) < _MOST_HELD else 0
            poll.register(self._carrier, wanted | (select.POLLOUT if self._to_cluster else 0))
        ready = dict(poll.poll())
        if ready.get(self._local.fileno(), 0) & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            return False
        if self._reads_cluster and self._carrier.fileno() in ready:
            if len(self._to_caller) < _MOST_HELD:
                self._read_cluster()
            self._write_cluster()
        self._read_caller()
        self._write_caller()
        return True

    def _wants_request(self) -> bool:
        return self._reads_caller and self._reads_cluster and len(self._to_cluster) < _MOST_HELD

    def _read_caller(self) -> None:
        if not self._wants_request():
            return
        try:
            data = self._local.recv(_CHUNK)
        except _LATER:
            return
        except OSError:
            data = b""
        if data:
            self._to_cluster += _frame(_BINARY, bytes((_DATA,)) + data)
            self._write_cluster()
        else:
            self._reads_caller = False

    def _write_cluster(self) -> None:
        while self._to_cluster:
            try:
                del self._to_cluster[: self._carrier.send(self._to_cluster)]
            except _LATER:
                return
            except OSError:
                # The pod has closed: what it said before may still wait to be read.
                self._to_cluster.clear()
                self._reads_caller = False

    def _read_cluster(self) -> None:
        # Until it has no more: TLS may hold bytes that the poll does not see.
        while self._reads_cluster and len(self._to_caller) < 2 * _MOST_HELD:
            try:
                data = self._carrier.recv(_CHUNK)
            except _LATER:
                return
            except OSError:
                data = b""
            if not data:
                self._reads_cluster = False
            for message in self._frames.feed(data):
                self._take(message)

    def _take(self, message: _Message) -> None:
        if message.opcode == _PING:
            self._to_cluster += _frame(_PONG, message.body)
        elif message.opcode == _CLOSE:
            self._reads_cluster = False
        elif message.opcode == _BINARY and message.body:
            channel, body = message.body[0], message.body[1:]
            if channel not in self._greeted:
                self._greeted.add(channel)
            elif channel == _DATA:
                self._to_caller += body
            elif channel == _ERROR:
                self._ours.failure += body.decode(errors="replace")
                self._reads_cluster = False

    def _write_caller(self) -> None:
        while self._to_caller:
            try:
                del self._to_caller[: self._local.send(self._to_caller)]
            except _LATER:
                return
            except OSError:
                self._to_caller.clear()
                self._reads_cluster = False


@dataclass(frozen=True, slots=True)
class _Message:
    opcode: int
    body: bytes


@dataclass(slots=True)
class _Frames:
    """Put messages together out of the bytes of a server's frames (RFC 6455), which are not masked."""

    held: bytearray = field(default_factory=bytearray)
    begun: bytearray = field(default_factory=bytearray)
    """The fragments of a message that has not ended."""

    def feed(self, data: bytes) -> Iterator[_Message]:
        """Take bytes and yield the messages that they complete."""
        self.held += data
        while (found := _head(self.held)) is not None:
            start, size = found
            if len(self.held) < start + size:
                return
            opcode, last = self.held[0] & 0x0F, bool(self.held[0] & 0x80)
            body = bytes(self.held[start : start + size])
            del self.held[: start + size]
            if opcode >= _CLOSE:
                yield _Message(opcode, body)
                continue
            self.begun += body
            if last:
                yield _Message(_BINARY, bytes(self.begun))
                self.begun.clear()


def _head(data: bytearray) -> tuple[int, int] | None:
    """Return where the body of a frame begins and how long it is; None when the head is not all there."""
    if len(data) < 2:
        return None
    size = data[1] & 0x7F
    width = {126: 2, 127: 8}.get(size, 0)
    if len(data) < 2 + width:
        return None
    return 2 + width, int.from_bytes(data[2 : 2 + width], "big") if width else size


def _frame(opcode: int, body: bytes) -> bytes:
    """Return a whole, masked message, as clients must send it."""
    head = bytes((0x80 | opcode,))
    if len(body) < 126:
        head += bytes((0x80 | len(body),))
    elif len(body) < 2**16:
        head += b"\xfe" + struct.pack(">H", len(body))
    else:
        head += b"\xff" + struct.pack(">Q", len(body))
    mask = os.urandom(4)
    return head + mask + _masked(body, mask)


def _masked(body: bytes, mask: bytes) -> bytes:
    """Return the body xor the repeated mask, as one number: a loop over bytes costs 60 ms a megabyte."""
    key = (mask * (len(body) // 4 + 1))[: len(body)]
    return (int.from_bytes(body, "big") ^ int.from_bytes(key, "big")).to_bytes(len(body), "big")
