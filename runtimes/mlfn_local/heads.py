"""Read the head of a request that came in, write the head that goes on; the same for answers. Pure functions.

The framing of a message (Content-Length, Transfer-Encoding) is always written anew from what the parser delivered, so
that the two sides of the router cannot disagree on where a message ends. Headers that hold for one hop are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

__all__ = [
    "BadHead",
    "RequestHead",
    "answer",
    "find_function",
    "framing_alone",
    "read_head",
    "request_head",
    "response_head",
]

_HOP = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OURS = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix"})
_DROPPED = _HOP | _OURS
_REASONS = {
    400: b"Bad Request",
    404: b"Not Found",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}

Headers = list[tuple[bytes, bytes]]


class BadHead(Exception):
    """The head of a request contradicts itself."""


@dataclass(slots=True)
class RequestHead:
    """Hold what the router needs to know of a request."""

    method: bytes
    target: bytes
    host: bytes
    fields: bytes
    """The header lines to pass on, without framing."""
    length: bytes | None
    """The Content-Length as it came, None without one."""
    chunked: bool
    expects: bool
    """Whether the client waits for ``100 Continue``."""

    @property
    def has_body(self) -> bool:
        """Say whether a body follows, if only an empty one."""
        return self.chunked or self.length is not None


def read_head(method: bytes, target: bytes, headers: Headers, version: str) -> RequestHead:
    """Read a request's head; raises BadHead."""
    host = length = None
    chunked = expects = False
    forwarded = b""
    named: tuple[bytes, ...] = ()
    kept: Headers = []
    for name, value in headers:
        low = name.lower()
        if low not in _DROPPED:
            if low == b"host":
                if host is not None:
                    raise BadHead("more than one Host header")
                host = value
            kept.append((low, value))
        elif low == b"content-length":
            if length is not None and length != value:
                raise BadHead("two lengths that differ")
            length = value
        elif low == b"transfer-encoding":
            if value.strip().lower() != b"chunked" or chunked:
                raise BadHead("a Transfer-Encoding other than chunked")
            chunked = True
        elif low == b"connection":
            named += tuple(token.strip().lower() for token in value.split(b","))
        elif low == b"expect":
            expects = value.lower() == b"100-continue"
        elif low == b"x-forwarded-for":
            forwarded += value + b", "
    if chunked and length is not None:
        raise BadHead("both Content-Length and Transfer-Encoding")
    if method == b"CONNECT":
        raise BadHead("CONNECT: there are no tunnels here")
    if host is None:
        if version == "1.1":
            raise BadHead("no Host header")
        host = b""
        kept.append((b"host", b"127.0.0.1"))  # HTTP/1.0 may leave it out, HTTP/1.1, which goes on, may not
    if len(named) > 1 or (named and named[0] not in (b"close", b"keep-alive")):
        kept = [(name, value) for name, value in kept if name not in named or name == b"host"]
    fields = b"".join([b"%b: %b\r\n" % field for field in kept])
    fields += b"x-forwarded-for: %b127.0.0.1\r\nx-forwarded-proto: http\r\n" % forwarded
    if host:
        fields += b"x-forwarded-host: %b\r\n" % host
    return RequestHead(method, target, host, fields, length, chunked, expects)


def find_function(head: RequestHead) -> tuple[str, bytes, bytes]:
    """Return (function, path to send on, prefix that was cut off); the function is "" for the router's own page."""
    target, host = head.target, head.host
    if not target.startswith(b"/"):
        scheme, _, rest = target.partition(b"://")
        if scheme.lower() not in (b"http", b"https"):
            raise BadHead("a target that is neither a path nor an http URL")
        host, _, path = rest.partition(b"/")
        target = b"/" + path
    domain = host.partition(b":")[0].lower()
    if domain.endswith(b".localhost"):
        return domain[: -len(b".localhost")].decode("latin-1"), target, b""
    end = len(target)
    for mark in (b"/", b"?"):
        found = target.find(mark, 1)
        if 0 <= found < end:
            end = found
    name, rest = target[1:end], target[end:]
    if not rest.startswith(b"/"):
        rest = b"/" + rest
    return name.decode("latin-1"), rest, b"/" + name


def request_head(head: RequestHead, path: bytes, prefix: bytes) -> bytes:
    """Return the head that goes to the instance."""
    ours = _framing(head)
    if prefix:
        ours += b"x-forwarded-prefix: %b\r\n" % prefix
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (head.method, path, head.fields, ours)


def framing_alone(head: RequestHead) -> bytes:
    """Return a head that says nothing but where the body ends."""
    return b"%b / HTTP/1.1\r\nhost: h\r\n%b\r\n" % (head.method, _framing(head))


def _framing(head: RequestHead) -> bytes:
    if head.chunked:
        return b"transfer-encoding: chunked\r\n"
    return b"" if head.length is None else b"content-length: %b\r\n" % head.length


def response_head(status: int, reason: bytes, headers: Headers, extra: bytes) -> bytes:
    """Return the head that goes to the client; ``extra`` holds the framing and the router's own header lines."""
    kept = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
    for name, value in headers:
        if name.lower() not in _HOP:
            kept.append(b"%b: %b\r\n" % (name, value))
    kept.append(extra)
    kept.append(b"\r\n")
    return b"".join(kept)


def answer(
    status: int, value: object, *, close: bool, retry_after_s: int | None = None, bodyless: bool = False
) -> bytes:
    """Return an answer of the router itself."""
    body = orjson.dumps(value)
    lines = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (
        status,
        _REASONS.get(status, b"OK"),
        len(body),
    )
    if retry_after_s is not None:
        lines += b"retry-after: %d\r\n" % retry_after_s
    if close:
        lines += b"connection: close\r\n"
    return lines + b"\r\n" + (b"" if bodyless else body)
