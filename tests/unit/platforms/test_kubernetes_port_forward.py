"""A forwarded port against a peer that speaks the websocket frames of an API server."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from mlfn.platforms.kube.port_forward import ForwardedSocket, forward

PORT = struct.pack("<H", 8080)


class Peer:
    """The far end: takes masked frames, sends frames without a mask."""

    def __init__(self, carrier: socket.socket) -> None:
        self.carrier = carrier
        self.carrier.settimeout(20)
        self.reader = carrier.makefile("rb")

    def greet(self) -> None:
        for channel in (b"\0", b"\1"):
            self.send(channel + PORT)

    def send(self, body: bytes, opcode: int = 2, *, last: bool = True) -> None:
        head = bytes(((0x80 if last else 0) | opcode,))
        if len(body) < 126:
            head += bytes((len(body),))
        elif len(body) < 2**16:
            head += b"\x7e" + struct.pack(">H", len(body))
        else:
            head += b"\x7f" + struct.pack(">Q", len(body))
        self.carrier.sendall(head + body)

    def receive(self) -> tuple[int, bytes]:
        """Return the opcode and the body of the next frame, which must be masked."""
        first, second = self.reader.read(2)
        assert second & 0x80, "a client's frames are masked"
        size = second & 0x7F
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(self.reader.read(width), "big")
        mask, body = self.reader.read(4), self.reader.read(size)
        return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)) if size < 2**12 else body

    def close(self) -> None:
        self.reader.close()
        self.carrier.close()


@contextmanager
def forwarded(serve: Callable[[Peer], None]) -> Iterator[ForwardedSocket]:
    """Give a forwarded port whose far end runs ``serve``."""
    near, far = socket.socketpair()
    peer = Peer(far)

    def run() -> None:
        try:
            serve(peer)
        finally:
            peer.close()

    thread = threading.Thread(target=run)
    thread.start()
    opened = forward(near)
    opened.settimeout(20)
    try:
        yield opened
    finally:
        opened.close()
        thread.join(20)
        assert not thread.is_alive()


def read_all(opened: socket.socket) -> bytes:
    parts = []
    while part := opened.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_bytes_go_both_ways_and_the_ports_number_is_no_data() -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        assert peer.receive() == (2, b"\0ping")
        peer.send(b"\0pong")
        peer.send(b"", opcode=8)

    with forwarded(serve) as opened:
        opened.sendall(b"ping")
        assert read_all(opened) == b"pong"
        assert opened.failure == ""


@pytest.mark.parametrize("size", [0, 125, 126, 2**16 - 2, 2**16, 5_000_000])
def test_bodies_of_any_size_arrive_whole(size: int) -> None:
    body = os.urandom(size)

    def serve(peer: Peer) -> None:
        peer.greet()
        for start in range(0, size, 300_000):
            peer.send(b"\0" + body[start : start + 300_000])
        peer.send(b"", opcode=8)

    with forwarded(serve) as opened:
        assert hashlib.sha256(read_all(opened)).digest() == hashlib.sha256(body).digest()


def test_a_large_request_is_sent_whole_in_masked_frames() -> None:
    body = bytes(5_000_000)
    received: list[int] = []

    def serve(peer: Peer) -> None:
        peer.greet()
        while sum(received) < len(body):
            received.append(len(peer.receive()[1]) - 1)
        peer.send(b"\0done")
        peer.send(b"", opcode=8)

    with forwarded(serve) as opened:
        opened.sendall(body)
        assert read_all(opened) == b"done"
    assert sum(received) == len(body)


def test_who_has_sent_all_still_hears_the_answer() -> None:
    heard = threading.Event()

    def serve(peer: Peer) -> None:
        peer.greet()
        assert peer.receive() == (2, b"\0ask")
        assert heard.wait(20)
        peer.send(b"\0late answer")
        peer.send(b"", opcode=8)

    with forwarded(serve) as opened:
        opened.sendall(b"ask")
        opened.shutdown(socket.SHUT_WR)
        heard.set()
        assert read_all(opened) == b"late answer"


def test_an_answer_before_the_request_is_all_sent_is_not_lost() -> None:
    """The far end refuses early and closes while the request is still under way."""

    def serve(peer: Peer) -> None:
        peer.greet()
        peer.receive()
        peer.send(b"\0" + b"refused " * 40_000)
        peer.send(b"", opcode=8)

    with forwarded(serve) as opened:
        threading.Thread(target=_send_until_refused, args=(opened,), daemon=True).start()
        assert read_all(opened) == b"refused " * 40_000


def _send_until_refused(opened: socket.socket) -> None:
    try:
        opened.sendall(bytes(20_000_000))
    except OSError:
        return


def test_what_the_cluster_says_of_a_port_that_is_shut_is_kept() -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        peer.send(b"\1connection refused")

    with forwarded(serve) as opened:
        assert read_all(opened) == b""
        assert opened.failure == "connection refused"


def test_pings_are_answered_and_fragments_put_together() -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        peer.send(b"\0one ", last=False)
        peer.send(b"are you there", opcode=9)
        peer.send(b"message", opcode=0)
        assert peer.receive() == (10, b"are you there")
        peer.send(b"", opcode=8)

    with forwarded(serve) as opened:
        assert read_all(opened) == b"one message"


def test_the_carrier_is_closed_when_the_caller_closes() -> None:
    ended = threading.Event()

    def serve(peer: Peer) -> None:
        with suppress(ConnectionResetError, BrokenPipeError):  # closed before the greeting was read
            peer.greet()
            assert peer.reader.read(1) == b""
        ended.set()

    with forwarded(serve) as opened:
        opened.close()
        assert ended.wait(20)


def test_http_passes_as_it_is() -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        opcode, body = peer.receive()
        assert (opcode, body[:17]) == (2, b"\0GET /v2 HTTP/1.1")
        peer.send(b"\0HTTP/1.1 418 Short and stout\r\nX-Pot: tea\r\nContent-Length: 2\r\n\r\nno")

    with forwarded(serve) as opened:
        link = http.client.HTTPConnection("pod")
        link.sock = opened
        link.request("GET", "/v2")
        answer = link.getresponse()
        assert (answer.status, answer.getheader("X-Pot"), answer.read()) == (418, "tea", b"no")
