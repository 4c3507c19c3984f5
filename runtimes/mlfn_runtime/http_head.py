"""The heads of HTTP/1.1 messages: status lines and header blocks to write, parsed heads to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlfn_runtime.routes import Headers

__all__ = ["CONTINUE", "OK_JSON", "KnownHeads", "RequestHead", "header_block", "status_line"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_PHRASES = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
"""What this server answers; the module http knows them all and costs 0.5 ms of a start."""

STATUS_LINES: dict[int, bytes] = {
    status: f"HTTP/1.1 {status} {phrase}\r\n".encode() for status, phrase in _PHRASES.items()
}


def status_line(status: int) -> bytes:
    """Return the first line of an answer, also for a status that this server's own handlers never give."""
    line = STATUS_LINES.get(status)
    if line is None:
        from http.client import responses

        line = STATUS_LINES[status] = f"HTTP/1.1 {status} {responses.get(status, '')}\r\n".encode()
    return line


OK_JSON = STATUS_LINES[200] + b"content-type: application/json\r\n"
"""What most answers begin with."""

_blocks: dict[Headers, bytes] = {}
_MOST_BLOCKS = 64


class RequestHead:
    """Hold what a parser has read of one request's head."""

    __slots__ = ("body_size", "fields", "headers", "label", "method", "path", "query")

    def __init__(self, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        path, _, query = target.partition(b"?")
        if b"%" in path or path[:1] != b"/":
            path = _decoded(path)
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.fields = dict(headers)
        self.label = ""
        self.body_size = 0


class KnownHeads(dict[bytes, RequestHead]):
    """Remember parsed heads by their bytes: a client sends the same one with every request (4 us each not to parse it).

    Only heads that leave nothing to decide are kept: answered with keep-alive, framed by Content-Length or bodiless,
    naming neither request nor trace. A parser has read the very same bytes before, so skipping it changes nothing.
    """

    _MOST = 512
    _MOST_BYTES = 2048
    _ONCE = frozenset((b"x-request-id", b"traceparent", b"expect", b"transfer-encoding", b"connection", b"upgrade"))

    def keep(self, data: bytes, head: RequestHead, body: bytes) -> None:
        """Keep ``head``, which was parsed from ``data`` with ``body``, where that is safe and worth it."""
        size = len(data) - len(body)
        if size > self._MOST_BYTES or len(self) >= self._MOST or not self._ONCE.isdisjoint(head.fields):
            return
        raw = data[:size]
        # The head is exactly what precedes the body, and begins at the first byte.
        if raw.find(b"\r\n\r\n") == size - 4 and data[size:] == body and raw.startswith(head.method + b" "):
            head.body_size = len(body)
            self[raw] = head


def header_block(headers: Headers) -> bytes:
    """Return the lines of some headers; those of constant headers are made once."""
    block = _blocks.get(headers)
    if block is None:
        block = b"".join(b"%b: %b\r\n" % (name, _one_line(value)) for name, value in headers)
        if len(_blocks) < _MOST_BLOCKS and len(headers) < 2:
            _blocks[headers] = block
    return block


def _one_line(value: bytes) -> bytes:
    """Keep a value from starting another header."""
    return value.replace(b"\r", b" ").replace(b"\n", b" ")


def _decoded(path: bytes) -> bytes:
    """Return the path of a target that is percent-encoded or in absolute form."""
    if path[:7].lower() == b"http://" or path[:8].lower() == b"https://":
        rest = path.split(b"//", 1)[1]
        slash = rest.find(b"/")
        path = rest[slash:] if slash >= 0 else b"/"
    from urllib.parse import unquote_to_bytes  # 3 ms of a start, needed by few requests

    return unquote_to_bytes(path)
