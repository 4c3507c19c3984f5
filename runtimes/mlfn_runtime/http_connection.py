"""One client's connection: bytes to exchanges and answers to bytes, in order, within limits.

Parsing is httptools' (llhttp, strict); this module adds what a parser does not do: limits of size and time, the order
of pipelined answers, back-pressure in both directions, 100-continue, and an end that lets the client read the answer.
The one hot path is ``data_received`` -> ``on_message_complete`` -> ``HttpExchange.send``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from mlfn_runtime.errors import RequestError
from mlfn_runtime.http_head import CONTINUE, OK_JSON, RequestHead, header_block, status_line
from mlfn_runtime.routes import JSON, Exchange

if TYPE_CHECKING:
    from mlfn_runtime.http_door import HttpDoor
    from mlfn_runtime.routes import Headers

__all__ = ["BODY", "CLOSING", "HEAD", "IDLE", "WAITING", "HttpConnection", "HttpExchange"]

IDLE, HEAD, BODY, WAITING, CLOSING = range(5)
"""What a connection waits for: a request, the rest of its head, the rest of its body, our answer, the client's end."""

_MOST_PIPELINED = 32
"""Requests of one connection that may wait for answers before we stop reading from it."""

_HIGH_WATER_BYTES = 256 * 1024
"""Answers that a client has not read before we stop reading its requests."""

_WRITE_APART_BYTES = 64 * 1024
"""A larger body is handed to the socket as it is, not copied behind its head."""

_LARGEST_READ_BYTES = 256 * 1024
"""What the loop reads at once, at most."""

_DISCARD_BYTES = 1 << 20
"""Bytes read and thrown away after a refusal, so that the client gets to read it."""

_OFFER = frozenset((b"upgrade", b"connection", b"http2-settings", b"expect"))
"""Headers that are left out when an offer of another protocol is declined; 100-continue was answered already."""

_MOST_DIGITS = 18
"""Digits of a Content-Length that are still a number of bytes."""

_perf_counter = time.perf_counter


class HttpExchange(Exchange):
    """One exchange of one connection."""

    keep_alive = True
    http10 = False
    output: bytes | list[bytes] | None = None

    def __init__(self, connection: HttpConnection, head: RequestHead, body: bytes, started: float) -> None:
        # Not through the base: the head has these values already, and ``fields`` may serve many requests.
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.fields = head.fields
        self.label = head.label
        self.body = body
        self.started = started
        self.connection = connection

    def client_is_gone(self) -> bool:
        """Say whether nobody can read an answer any more."""
        return self.connection.is_gone

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Write the answer, or keep it until those before it are written."""
        connection = self.connection
        door = connection.door
        if not self.keep_alive or (door.draining and connection.ends_with(self)):
            self.keep_alive = False
            ending = b"\r\nconnection: close\r\n\r\n"
        elif self.http10:
            ending = b"\r\nconnection: keep-alive\r\n\r\n"
        else:
            ending = b"\r\n\r\n"
        size = len(body)
        start = OK_JSON if headers is JSON and status == 200 else status_line(status) + header_block(headers)
        head = b"%bcontent-length: %d\r\nx-request-id: %b%b" % (start, size, self.request_id.encode(), ending)
        if self.method == b"HEAD":
            self.output, size = head, 0
        elif size < _WRITE_APART_BYTES:
            self.output = head + body
        else:
            self.output = [head, body]
        connection.write_answers(door.access.record(self, status, size))


class HttpConnection(asyncio.Protocol):
    """Speak HTTP/1.1 with one client."""

    __slots__ = (
        "_body",
        "_body_size",
        "_discarded",
        "_fed",
        "_framing_size",
        "_head_size",
        "_headers",
        "_owes_continue",
        "_parser",
        "_pipeline",
        "_reading",
        "_refusal",
        "_target",
        "_transport",
        "_whole",
        "_writable",
        "door",
        "phase",
        "since",
    )

    def __init__(self, door: HttpDoor) -> None:
        self.door = door
        self.phase = IDLE
        self.since = _perf_counter()
        self._parser = httptools.HttpRequestParser(self)
        self._pipeline: deque[HttpExchange] = deque()
        self._reading = True
        self._writable = True
        self._owes_continue = False
        self._discarded = 0
        self._fed = 0
        self._whole = b""
        self._refusal: RequestError | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._head_size = 0
        self._fed = 0  # what follows in the same piece is not counted; it is no longer than one read
        self._body_size = 0
        self._framing_size = 0

    @property
    def is_gone(self) -> bool:
        """Say whether the connection has ended, for whatever reason."""
        return self._transport.is_closing()

    # -- the transport's calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new client, or refuse it where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
        if not self.door.admit(self):
            self._refuse(RequestError(503, "too many connections are open", ((b"retry-after", b"1"),)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; answers that are still to come are dropped."""
        self.phase = CLOSING
        self._pipeline.clear()
        self.door.forget(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self.phase == IDLE:
            self.since = now = _perf_counter()
            end = data.find(b"\r\n\r\n") + 4
            head = self.door.heads.get(data[:end])
            if head is not None and len(data) - end == head.body_size:
                self.phase = WAITING
                exchange = HttpExchange(self, head, data[end:], now)
                self._pipeline.append(exchange)
                self.door.access.number(exchange)
                self.door.dispatch(exchange)
                return
            self.phase = HEAD
            self._whole = data
        elif self.phase == CLOSING:
            self._discard(len(data))
            return
        self._fed = len(data)
        received = self._body_size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data, upgrade)
        except httptools.HttpParserError as error:
            if self.phase != CLOSING:
                self._refuse(self._refusal or _malformed(error))
        if self.phase == HEAD:
            self._head_size += self._fed
            if self._head_size > self.door.settings.max_head_bytes:
                self._refuse(self._head_too_large())
        elif self.phase == BODY:  # chunk extensions and trailers have no size of their own: bound what brings no body
            self._framing_size = self._framing_size + len(data) if self._body_size == received else 0
            if self._framing_size > self.door.settings.max_head_bytes + _LARGEST_READ_BYTES:
                self._refuse(self._head_too_large())

    def eof_received(self) -> bool:
        """Answer what was asked before the client closed its sending side, then close."""
        if self._pipeline and self.phase != CLOSING:
            self._pipeline[-1].keep_alive = False
            return True
        return bool(self._pipeline)

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read."""
        self._writable = False
        self._regulate()

    def resume_writing(self) -> None:
        """Go on reading."""
        self._writable = True
        self._regulate()

    # -- the parser's calls --

    def on_url(self, url: bytes) -> None:
        """Collect the target; here begins a request that was pipelined behind another."""
        if self.phase in (IDLE, WAITING):
            self.phase = HEAD
            self.since = _perf_counter()
            self._whole = b""
        self._target += url
        most = self.door.settings.max_head_bytes
        if len(self._target) > most:
            self._stop(RequestError(414, f"expected a target of {most} bytes at most, got more"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; a trailer is dropped: it comes too late to say how its message is to be read."""
        if self.phase == HEAD:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse by the head alone what need not be read."""
        if self.phase == CLOSING:
            return
        self.phase = BODY
        headers = self._headers
        fields = dict(headers)
        settings = self.door.settings
        length = fields.get(b"content-length")
        if length is not None and (len(length) > _MOST_DIGITS or int(length) > settings.max_body_bytes):
            self._stop(self._body_too_large())
        if b"expect" in fields:
            if fields[b"expect"].lower() != b"100-continue":
                self._stop(RequestError(417, "expect: expected 100-continue, got another expectation"))
            self._owes_continue = self._parser.get_http_version() == "1.1"
        if not 0 < self._head_size + self._fed <= settings.max_head_bytes:  # else it is smaller for sure
            size = len(self._target) + sum(len(name) + len(value) for name, value in headers)
            if size > settings.max_head_bytes:
                self._stop(self._head_too_large())
        if len(headers) > settings.max_headers:
            self._stop(self._head_too_large())
        if self._owes_continue and not self._pipeline:
            self._owes_continue = False
            self._transport.write(CONTINUE)

    def on_body(self, data: bytes) -> None:
        """Collect a part of the body."""
        self._owes_continue = False
        self._body_size += len(data)
        if self._body_size > self.door.settings.max_body_bytes:
            self._stop(self._body_too_large())
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Hand one whole request on."""
        if self.phase == CLOSING:  # it came behind one that asked to close
            return
        if self._parser.should_upgrade():  # parsed without its body: ``_decline_upgrade`` begins anew
            return
        parts = self._body
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        head = RequestHead(self._parser.get_method(), self._target, self._headers)
        exchange = HttpExchange(self, head, body, self.since)
        self.phase = WAITING
        self._reset()
        self._pipeline.append(exchange)
        door = self.door
        door.access.begin(exchange)
        head.label = exchange.label
        refusal = self._framing(exchange)
        if refusal is not None:
            exchange.keep_alive = False
            exchange.fail(refusal)
            return
        if self._whole:
            if exchange.keep_alive and not exchange.http10:
                door.heads.keep(self._whole, head, body)
            self._whole = b""
        if len(self._pipeline) >= _MOST_PIPELINED:
            self._regulate()
        door.dispatch(exchange)

    def _framing(self, exchange: HttpExchange) -> RequestError | None:
        """Note how the connection goes on after this exchange; refuse other versions and wrong hosts."""
        parser = self._parser
        version = parser.get_http_version()
        exchange.keep_alive = parser.should_keep_alive() and exchange.method != b"CONNECT"
        if version != "1.1":
            if version != "1.0":
                return RequestError(400, f"expected HTTP/1.1 or HTTP/1.0, got HTTP/{version}")
            exchange.http10 = True
        hosts = sum(name == b"host" for name, _ in exchange.headers)
        if hosts > 1 or (not hosts and not exchange.http10):
            return RequestError(400, f"expected one Host header, got {hosts or 'none'}")
        return None

    # -- answers --

    def write_answers(self, now: float) -> None:
        """Write the answers that are next in order."""
        pipeline, transport = self._pipeline, self._transport
        while pipeline:
            exchange = pipeline[0]
            output = exchange.output
            if output is None:
                return
            pipeline.popleft()
            if isinstance(output, bytes):
                transport.write(output)
            else:
                transport.writelines(output)
            if not exchange.keep_alive:
                self._finish()
                return
        if self.phase == WAITING:
            self.phase = IDLE
            self.since = now
        if self._owes_continue:
            self._owes_continue = False
            transport.write(CONTINUE)
        if not self._reading:
            self._regulate()

    def ends_with(self, exchange: HttpExchange) -> bool:
        """Return whether nothing was asked behind ``exchange``."""
        return not self._pipeline or self._pipeline[-1] is exchange

    def expire(self, error: RequestError) -> None:
        """Refuse a request that takes its client too long, or answer for a handler that takes too long."""
        if self.phase == WAITING:
            self._pipeline[0].fail(error)
        else:
            self._refuse(error)

    def close(self) -> None:
        """Close at once."""
        self._transport.close()

    def file(self) -> int:
        """Return the descriptor of the socket; -1 when it is being closed."""
        if self._transport.is_closing():
            return -1
        return int(self._transport.get_extra_info("socket").fileno())

    @property
    def busy(self) -> bool:
        """Return whether a request is being read or answered."""
        return bool(self._pipeline) or self.phase in (HEAD, BODY)

    # -- refusals and ends --

    def _stop(self, error: RequestError) -> None:
        """Make the parser stop, and the refusal follow."""
        self._refusal = error
        raise error

    def _refuse(self, error: RequestError) -> None:
        """Answer what cannot become an exchange, behind the answers that are still due, and close."""
        method = self._parser.get_method() if self._target else b"-"
        head = RequestHead(method, self._target or b"-", self._headers)
        exchange = HttpExchange(self, head, b"", self.since)
        exchange.keep_alive = False
        self.phase = CLOSING
        self.since = _perf_counter()
        self._reset()
        self._pipeline.append(exchange)
        self.door.access.begin(exchange)
        exchange.fail(error)

    def _finish(self) -> None:
        """Close so that the client can read the last answer: end our side, let it end its own."""
        unread = self.phase not in (WAITING, IDLE)
        self.phase = CLOSING
        self.since = _perf_counter()
        self._pipeline.clear()
        if unread and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
            self._reading = True
            self._transport.resume_reading()
        else:
            self._transport.close()

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > _DISCARD_BYTES and not self._pipeline:
            self._transport.abort()

    def _decline_upgrade(self, data: bytes, upgrade: httptools.HttpParserUpgrade) -> None:
        """Read a request that offers another protocol as if it did not.

        The parser leaves such a request's body unread; taking that for the next request would let a client smuggle
        one in. So its head is written anew without the offer, and parsed with all that follows.
        """
        if self.phase == CLOSING:
            return
        if self._parser.get_method() == b"CONNECT":
            allow = (b"allow", b"GET, HEAD, OPTIONS, POST")
            self._refuse(RequestError(405, "expected a method of HTTP/1.1 without tunnels, got CONNECT", (allow,)))
            return
        lines = [b"%b %b HTTP/1.1" % (self._parser.get_method(), self._target)]
        lines += [b"%b: %b" % header for header in self._headers if header[0] not in _OFFER]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self._headers):
            lines.append(b"connection: close")
        self._parser = httptools.HttpRequestParser(self)
        self._reset()
        self._whole = b""
        self.phase = HEAD
        rest = data[cast("Any", upgrade).args[0] :]
        self.data_received(b"\r\n".join((*lines, b"", rest)))

    def _regulate(self) -> None:
        """Read only while the client reads its answers and not too many of them are due."""
        reading = self._writable and len(self._pipeline) < _MOST_PIPELINED
        if reading != self._reading and not self._transport.is_closing():
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _head_too_large(self) -> RequestError:
        settings = self.door.settings
        most = f"{settings.max_head_bytes} bytes and {settings.max_headers} headers"
        return RequestError(431, f"expected a head of {most} at most, got more")

    def _body_too_large(self) -> RequestError:
        return RequestError(413, f"expected a body of {self.door.settings.max_body_bytes} bytes at most, got more")


def _malformed(error: httptools.HttpParserError) -> RequestError:
    return RequestError(400, f"expected an HTTP/1.1 request, got a malformed one: {error}")
