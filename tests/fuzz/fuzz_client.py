"""A blocking socket that reads HTTP answers strictly: what it can't read is a finding."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

TIMEOUT_S = 20.0


class BadAnswer(Exception):
    """Say that a server answered with something that is no HTTP response, or not at all."""


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes

    @property
    def seen(self) -> tuple[int, str, bytes]:
        """Return what two servers must agree on."""
        return self.status, self.headers.get("content-type", ""), self.body


class Connection:
    """One connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.closed = False

    def send(self, data: bytes, pieces: int = 1) -> None:
        """Send all of ``data``, unless the server has closed: it may refuse a request before its end."""
        size = max(1, -(-len(data) // pieces))
        try:
            for start in range(0, len(data), size):
                self._socket.sendall(data[start : start + size])
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True

    def half_close(self) -> None:
        """Say that no more requests come."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.closed = True

    def close(self, *, reset: bool = False) -> None:
        """Close; with ``reset`` the server sees the connection fail."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def answer(self, method: str) -> Answer:
        """Read one answer, passing over interim ones."""
        while True:
            answer = self._answer(method)
            if answer.status >= 200:
                return answer

    def _answer(self, method: str) -> Answer:
        """Read one answer, which may be an interim one."""
        head = self._head()
        status, headers = _parse_head(head)
        if status < 200:
            return Answer(status, headers, b"")
        length = headers.get("content-length")
        if length is None or not length.isdigit():
            if status in (204, 304):
                length = "0"
            else:
                raise BadAnswer(f"no Content-Length in {head[:200]!r}")
        size = 0 if method == "HEAD" else int(length)
        while len(self._buffer) < size:
            self._more(f"an answer's body of {size} bytes")
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        if headers.get("connection", "").lower() == "close":
            self.closed = True
        return Answer(status, headers, body)

    def rest(self) -> list[Answer]:
        """Read every answer until the server closes, and fail if it doesn't."""
        answers = []
        try:
            while self._buffer or self._fill():
                answer = self._answer("GET")
                if answer.status >= 200:
                    answers.append(answer)
        except ConnectionResetError:
            pass  # it closed with our bytes unread, which the kernel turns into a reset
        return answers

    def _head(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            self._more("an answer's head")
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        return head

    def _more(self, wanted: str) -> None:
        if not self._fill():
            raise BadAnswer(f"closed within {wanted}, after {self._buffer[:200]!r}")

    def _fill(self) -> bool:
        try:
            piece = self._socket.recv(1 << 18)
        except TimeoutError:
            raise BadAnswer(f"neither answered nor closed within {TIMEOUT_S:.0f} s") from None
        self._buffer += piece
        return bool(piece)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise BadAnswer(f"no status line: {first[:200]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadAnswer(f"no header line: {line[:200]!r}")
        if name.lower() in headers and name.lower() in ("content-length", "transfer-encoding", "content-type"):
            raise BadAnswer(f"header twice: {line[:200]!r}")
        headers[name.lower()] = value.strip()
    return int(rest[:3]), headers
