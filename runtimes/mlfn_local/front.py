"""The router's side towards clients: one ``asyncio.Protocol`` a connection, on httptools.

It parses, bounds what a client may send and hold, keeps pipelined requests in order, and makes one exchange at a time.
What a request is for is decided by ``Desk``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from mlfn_local import heads
from mlfn_local.exchange import Exchange
from mlfn_local.heads import BadHead

if TYPE_CHECKING:
    from mlfn_local.heads import Headers
    from mlfn_local.upstream import Target

__all__ = ["Desk", "FrontConnection"]

MAX_HEAD_BYTES = 64 * 1024
MAX_PIPELINED = 8
"""Requests parsed ahead of the one that is answered; then the client is read no further."""


class Desk(Protocol):
    """Who knows the functions."""

    connections: set[FrontConnection]

    def dispatch(self, exchange: Exchange) -> None:
        """Answer an exchange, or let it enter a gate."""

    def connect(self, target: Target, exchange: Exchange) -> None:
        """Open a connection to an instance for an exchange."""


class FrontConnection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_beheaded",
        "_current",
        "_desk",
        "_ended",
        "_head_begun",
        "_head_bytes",
        "_headers",
        "_held",
        "_parser",
        "_parsing",
        "_paused",
        "_queue",
        "_refused",
        "_reheading",
        "_starting",
        "_target",
        "_transport",
        "seen_s",
    )

    def __init__(self, desk: Desk) -> None:
        self.seen_s = time.monotonic()
        self._desk = desk
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._parsing: Exchange | None = None
        self._beheaded: Exchange | None = None
        """A request that offers another protocol, whose body the parser has left unread."""
        self._reheading = False
        self._target = b""
        self._headers: Headers = []
        self._head_begun = False
        self._head_bytes = 0
        self._held = False
        self._paused = False
        self._refused: bytes | None = None
        """What ends the connection, once the answers before it are sent."""
        self._starting = False
        self._ended = False

    @property
    def quiet(self) -> bool:
        """Say whether nothing is going on."""
        return self._current is None and not self._queue

    @property
    def in_head(self) -> bool:
        """Say whether a request has begun whose head is not complete."""
        return self._head_begun

    def close(self) -> None:
        """End the connection after what was written."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._desk.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what the client asked for."""
        self._transport = None
        self._desk.connections.discard(self)
        self._queue.clear()
        current, self._current = self._current, None
        if current is not None:
            current.abandon()

    def eof_received(self) -> bool:
        """Let a client that has finished sending wait for its answers."""
        self._ended = True
        if self._parsing is not None and self._parsing is self._current:
            return False  # it ended in the middle of a request
        self._drop_parsing()
        return not self.quiet

    def data_received(self, data: bytes) -> None:
        """Parse, then let the exchange at the front go on."""
        self.seen_s = time.monotonic()
        if self._refused is not None:
            return
        self._feed(data)
        if self._current is not None:
            self._current.flush()
        else:
            self._next()
        self._pace()

    def pause_writing(self) -> None:
        """Slow the instance down."""
        if self._current is not None:
            self._current.client_writable(False)

    def resume_writing(self) -> None:
        """Let the instance go on."""
        if self._current is not None:
            self._current.client_writable(True)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade()
            rest = data[upgrade.args[0] :]
            if rest:
                self._feed(rest)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(431 if isinstance(cause, _HeadTooLong) else 400, str(cause))
        except httptools.HttpParserError as error:
            self._refuse(400, f"not HTTP: {error}")

    def _decline_upgrade(self) -> None:
        """Go on with HTTP/1.1, as a client that offers another protocol must be ready for.

        The parser leaves the body of such a request unread. Taken for the next request, it would smuggle one in: a new
        parser gets the framing once more, and so reads the body as what it is.
        """
        self._parser = httptools.HttpRequestParser(self)
        if self._beheaded is not None:
            self._reheading = True
            self._parser.feed_data(heads.framing_alone(self._beheaded.head))
            self._reheading = False
            self._beheaded = None

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be parsed, after the answers that are due, and end the connection."""
        self._refused = heads.answer(status, {"error": message}, close=True)
        broken = self._drop_parsing()
        if broken is not None and broken.answered:
            self._refused = b""  # nothing more can be said on this connection
        if self.quiet:
            self._end_refused()

    def _drop_parsing(self) -> Exchange | None:
        """Forget the request whose body broke off; it may have been answered already."""
        broken, self._parsing = self._parsing, None
        if broken is None:
            return None
        if broken is self._current:
            self._current = None
            broken.abandon()
        elif broken in self._queue:
            self._queue.remove(broken)
        return broken

    def _end_refused(self) -> None:
        if self._refused:
            self.write(self._refused)
        self.close()

    # -- exchanges ----------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        if self._starting:
            return  # an answer given at once must not nest the next one
        self._starting = True
        try:
            while self._queue and self._current is None and self._transport is not None:
                self._current = self._queue.popleft()
                self._desk.dispatch(self._current)
        finally:
            self._starting = False
        if self._refused is not None and self.quiet:
            self._end_refused()

    def write(self, data: bytes) -> None:
        """Send to the client."""
        if self._transport is not None:
            self._transport.write(data)

    def connect(self, target: Target, exchange: Exchange) -> None:
        """Open a connection to an instance."""
        self._desk.connect(target, exchange)

    def hold_reading(self, held: bool) -> None:
        """Stop or go on reading, on behalf of the exchange."""
        self._held = held
        self._pace()

    def finished(self, exchange: Exchange) -> None:
        """Go on with the next request, or end the connection."""
        if exchange is not self._current:
            return
        self._current = None
        self._held = False
        if not exchange.keep_alive or (self._ended and not self._queue):
            self._queue.clear()
            self.close()
            return
        if self._queue or self._refused is not None:
            self._next()
        self._pace()

    def broken(self, exchange: Exchange) -> None:
        """Cut the connection: the client must see that its answer is not complete."""
        if exchange is self._current:
            self._current = None
            self._queue.clear()
            if self._transport is not None:
                self._transport.abort()

    def _pace(self) -> None:
        paused = self._held or len(self._queue) > MAX_PIPELINED
        if paused != self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # -- httptools ----------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a head."""
        if self._reheading:
            return
        self._head_begun = True
        self._target = b""
        self._headers = []
        self._head_bytes = 0

    def on_url(self, data: bytes) -> None:
        """Collect the target."""
        if self._reheading:
            return
        self._target += data
        self._count(len(data))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        if self._reheading:
            return
        self._headers.append((name, value))
        self._count(len(name) + len(value))

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLong(f"the head of the request is longer than {MAX_HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """Make an exchange."""
        if self._reheading:
            return
        self._head_begun = False
        parser = self._parser
        version = parser.get_http_version()
        exchange = Exchange(self, heads.read_head(parser.get_method(), self._target, self._headers, version))
        exchange.old = version == "1.0"
        exchange.keep_alive = parser.should_keep_alive()
        self._parsing = exchange
        self._queue.append(exchange)
        if parser.should_upgrade() and exchange.head.has_body:
            self._beheaded = exchange

    def on_body(self, data: bytes) -> None:
        """Hand a part of the body on."""
        if self._parsing is not None:
            self._parsing.body(data)

    def on_message_complete(self) -> None:
        """Hand the end on."""
        if self._parsing is not None and (self._beheaded is None or self._reheading):
            self._parsing.end()
            self._parsing = None


class _HeadTooLong(BadHead):
    """More than a client may send before its body."""
