"""The router's connections to instances: kept alive, reused, and heard with httptools' response parser.

A link carries one exchange at a time and hands it what arrives; it decides nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Protocol, cast

import httptools

if TYPE_CHECKING:
    from mlfn_local.heads import Headers

__all__ = ["IDLE_S", "Answering", "InstanceLink", "Target"]

IDLE_S = 60.0
"""A kept connection older than this is not used again: instances close theirs after 75 s."""


class Answering(Protocol):
    """Who hears an instance's answer."""

    def answer_head(self, status: int, reason: bytes, headers: Headers, *, until_close: bool) -> None:
        """Hear the head."""

    def answer_body(self, data: bytes) -> None:
        """Hear a part of the body."""

    def answer_end(self, *, reusable: bool) -> None:
        """Hear that the answer is complete; the link is free again when ``reusable``."""

    def answer_flush(self) -> None:
        """Hear that what arrived in one piece has been told."""

    def answer_lost(self, error: Exception | None) -> None:
        """Hear that the connection ended before the answer was complete."""

    def link_writable(self, writable: bool) -> None:
        """Hear whether the instance takes more of the request."""


class Target:
    """One ready instance as the router sees it: its address, its load, its idle connections."""

    __slots__ = ("closed", "head_lines", "idle", "in_flight", "instance", "port")

    def __init__(self, instance: str, revision: str, port: int) -> None:
        self.instance = instance
        self.port = port
        self.in_flight = 0
        self.idle: list[InstanceLink] = []
        self.closed = False
        self.head_lines = b"mlfn-revision: %b\r\nmlfn-instance: %b\r\n" % (revision.encode(), instance.encode())

    def take(self) -> InstanceLink | None:
        """Return an idle connection, the one used last."""
        now = time.monotonic()
        while self.idle:
            link = self.idle.pop()
            if link.transport is not None and now - link.idle_since_s < IDLE_S:
                return link
            link.close()
        return None

    def close(self) -> None:
        """Close the idle connections and keep none from now on."""
        self.closed = True
        while self.idle:
            self.idle.pop().close()


class InstanceLink(asyncio.Protocol):
    """One connection to an instance."""

    __slots__ = (
        "_headers",
        "_parser",
        "_reason",
        "_status",
        "_until_close",
        "exchange",
        "idle_since_s",
        "target",
        "transport",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self.transport: asyncio.Transport | None = None
        self.exchange: Answering | None = None
        self.idle_since_s = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._reason = b""
        self._status = 0
        self._until_close = False

    def release(self) -> None:
        """Give the connection back to its target."""
        self.exchange = None
        if self.target.closed or self.transport is None:
            self.close()
            return
        self.idle_since_s = time.monotonic()
        self.target.idle.append(self)

    def close(self) -> None:
        """Close the connection without telling anybody."""
        self.exchange = None
        if self.transport is not None:
            self.transport.abort()
            self.transport = None

    def has_more_to_hear(self) -> bool:
        """Say whether something has arrived that is not read yet.

        An instance that refuses a request answers, and resets the connection when more of the body comes: a write that
        meets the reset would lose the answer.
        """
        assert self.transport is not None
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    # -- asyncio ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came and hand it on in one piece."""
        exchange = self.exchange
        if exchange is None:
            self.close()  # an instance has nothing to say unasked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lost(error)
            return
        exchange.answer_flush()

    def eof_received(self) -> bool:
        """Tell an instance that ended before it could read from one that ended after."""
        if self.exchange is not None and self.transport is not None and not self._until_close:
            # Not all of the request has left, or what left met a socket that was closed already: then the kernel has
            # answered with a reset, which stands behind the orderly end that was on its way. A process that has read
            # all of a request ends without one.
            unsent = self.transport.get_write_buffer_size() > 0
            error = self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if unsent or error in (errno.EPIPE, errno.ECONNRESET):
                self._lost(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange, or leave the pool."""
        self.transport = None
        if self.exchange is None:
            if self in self.target.idle:
                self.target.idle.remove(self)
        elif self._until_close and exc is None:
            exchange, self.exchange = self.exchange, None
            exchange.answer_end(reusable=False)
            exchange.answer_flush()
        else:
            self._lost(exc)

    def pause_writing(self) -> None:
        """Slow the client down."""
        if self.exchange is not None:
            self.exchange.link_writable(False)

    def resume_writing(self) -> None:
        """Let the client go on."""
        if self.exchange is not None:
            self.exchange.link_writable(True)

    def _lost(self, error: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        self.close()
        if exchange is not None:
            exchange.answer_lost(error)

    # -- httptools ----------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._headers = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        """Collect the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand the head on; interim answers are swallowed."""
        self._status = self._parser.get_status_code()
        if self._status < 200 or self.exchange is None:
            return
        names = {name.lower() for name, _ in self._headers}
        framed = b"content-length" in names or b"transfer-encoding" in names or self._status in (204, 304)
        self._until_close = not framed
        self.exchange.answer_head(self._status, self._reason, self._headers, until_close=self._until_close)

    def on_body(self, data: bytes) -> None:
        """Hand a part of the body on."""
        if self.exchange is not None:
            self.exchange.answer_body(data)

    def on_message_complete(self) -> None:
        """Hand the end on."""
        if self._status < 200 or self.exchange is None:
            return
        self._until_close = False
        self.exchange.answer_end(reusable=self._parser.should_keep_alive())
