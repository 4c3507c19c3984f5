"""One request through the router and its answer: from the client's parser to an instance's link and back.

An exchange waits at a gate, is sent, and is answered. It is sent a second time only when the first instance cannot have
read all of it: the connection was refused, or it was reset, which the kernel does when a process ends with unread
input; a process that has read a request ends its connection in order, and the request is answered with 502.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from mlfn_local import heads

if TYPE_CHECKING:
    from mlfn_local.gate import Gate
    from mlfn_local.heads import Headers, RequestHead
    from mlfn_local.upstream import InstanceLink, Target

__all__ = ["Client", "Exchange"]

HELD_BODY_BYTES = 256 * 1024
"""Body kept while a request waits; then the client is read no further until the request is sent."""
REPLAY_BYTES = 64 * 1024
"""A request is kept for a second attempt up to this size."""
MAX_ATTEMPTS = 5


class Client(Protocol):
    """The connection that a request came on."""

    def write(self, data: bytes) -> None:
        """Send to the client."""

    def hold_reading(self, held: bool) -> None:
        """Stop or go on reading from the client."""

    def connect(self, target: Target, exchange: Exchange) -> None:
        """Open a connection to an instance, then call ``send`` or ``not_connected``."""

    def finished(self, exchange: Exchange) -> None:
        """Hear that the exchange is over."""

    def broken(self, exchange: Exchange) -> None:
        """Hear that the answer ended in its middle: the connection must not be used again."""


class Exchange:
    """Hold one request and its answer."""

    __slots__ = (
        "_attempts",
        "_body",
        "_bytes_held",
        "_chunks_out",
        "_entered_s",
        "_held_s",
        "_link",
        "_path",
        "_prefix",
        "_replay",
        "_target",
        "_was_held",
        "answered",
        "client",
        "complete",
        "gate",
        "head",
        "keep_alive",
        "old",
        "out",
        "over",
    )

    def __init__(self, client: Client, head: RequestHead) -> None:
        self.client = client
        self.head = head
        self.gate: Gate | None = None
        self.keep_alive = True
        """Whether the client goes on after this request."""
        self.old = False
        """Whether the client speaks HTTP/1.0, and knows no chunks."""
        self.complete = False
        """Whether all of the request has come."""
        self.answered = False
        """Whether the head of an answer went to the client."""
        self.over = False
        self.out: list[bytes] = []
        self._path = b""
        self._prefix = b""
        self._body: list[bytes] = []
        self._bytes_held = 0
        self._target: Target | None = None
        self._link: InstanceLink | None = None
        self._replay: bytes | None = b""
        """What was sent, for as long as it is small enough to be sent once more."""
        self._attempts = 0
        self._chunks_out = False
        self._entered_s = 0.0
        self._held_s = 0.0
        self._was_held = False

    # -- the request --------------------------------------------------------------------------------------------------

    def enter(self, gate: Gate, path: bytes, prefix: bytes) -> None:
        """Ask ``gate`` for an instance."""
        self.gate, self._path, self._prefix = gate, path, prefix
        self._entered_s = time.monotonic()
        gate.enter(self)
        self._was_held = self._target is None

    def body(self, data: bytes) -> None:
        """Take a part of the request's body."""
        if self.over:
            return
        self._body.append(b"%x\r\n%b\r\n" % (len(data), data) if self.head.chunked else data)
        self._bytes_held += len(data)
        if self._link is None and self._bytes_held > HELD_BODY_BYTES:
            self.client.hold_reading(True)

    def end(self) -> None:
        """Hear that the request is complete."""
        self.complete = True
        if self.head.chunked and not self.over:
            self._body.append(b"0\r\n\r\n")

    def flush(self) -> None:
        """Send on what has come since the last time."""
        if self._body and self._link is not None and self._link.transport is not None:
            if not self.answered and self._link.has_more_to_hear():
                return  # it may have refused the rest already; ``answer_flush`` goes on where it has not
            self._write(self._link, b"".join(self._body))
            self._body.clear()

    def begin(self, target: Target) -> None:
        """Go to an instance: on an idle connection, else on a new one."""
        self._target = target
        self._held_s = time.monotonic() - self._entered_s
        link = target.take()
        if link is None:
            self.client.connect(target, self)
        else:
            self.send(link)

    def send(self, link: InstanceLink) -> None:
        """Send the request on a connection."""
        assert link.transport is not None
        if self.over:
            link.release()
            return
        self._link, link.exchange = link, self
        data = self._replay
        if not data:
            if self.head.expects and not self.complete:
                self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            data = heads.request_head(self.head, self._path, self._prefix)
        self._replay = b""
        if self._body:
            data += b"".join(self._body)
            self._body.clear()
        self._write(link, data)
        self.client.hold_reading(False)

    def _write(self, link: InstanceLink, data: bytes) -> None:
        assert link.transport is not None
        link.transport.write(data)
        if self._replay is not None:
            kept = len(self._replay) + len(data) <= REPLAY_BYTES
            self._replay = self._replay + data if kept else None

    def not_connected(self, error: OSError) -> None:
        """Hear that the instance takes no connection: nothing was sent."""
        if not self.over:
            self._retry(f"it takes no connection ({error.strerror or error})", unreachable=True)

    def _retry(self, why: str, *, unreachable: bool) -> None:
        assert self.gate is not None
        assert self._target is not None
        self._attempts += 1
        target, self._target = self._target, None
        if self._attempts >= MAX_ATTEMPTS:
            self.gate.leave(self, target)
            self._fail(502, f"instance {target.instance} failed: {why}", None)
            return
        self._link = None
        self.gate.again(self, target, unreachable=unreachable)

    # -- the answer ---------------------------------------------------------------------------------------------------

    def answer_head(self, status: int, reason: bytes, headers: Headers, *, until_close: bool) -> None:
        """Send the head on, with framing of our own."""
        assert self._target is not None
        extra = self._target.head_lines
        if self._was_held:
            extra += b"mlfn-held-seconds: %.4f\r\n" % self._held_s
        length = None
        for name, value in headers:
            if name.lower() == b"content-length":
                length = value
        if length is not None:
            extra += b"content-length: %b\r\n" % length
        elif self.head.method != b"HEAD" and status not in (204, 304):
            if self.old:
                self.keep_alive = False
            else:
                self._chunks_out = True
                extra += b"transfer-encoding: chunked\r\n"
        if not self.keep_alive:
            extra += b"connection: close\r\n"
        elif self.old:
            extra += b"connection: keep-alive\r\n"
        self.answered = True
        self.out.append(heads.response_head(status, reason, headers, extra))
        if self.head.method == b"HEAD":
            # The parser waits for a body that will not come; the connection cannot be used again.
            self.answer_end(reusable=False)

    def answer_body(self, data: bytes) -> None:
        """Send a part of the body on."""
        if self._chunks_out:
            self.out.append(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self.out.append(data)

    def answer_end(self, *, reusable: bool) -> None:
        """Finish: give the connection and the place back."""
        assert self.gate is not None
        if self._chunks_out:
            self.out.append(b"0\r\n\r\n")
        link, self._link = self._link, None
        if link is not None:
            if reusable and self.complete and not self._body:
                link.release()
            else:
                link.close()
        self.answer_flush()
        self.over = True
        self._body.clear()
        self.gate.leave(self, self._target)
        self.client.finished(self)

    def answer_flush(self) -> None:
        """Write what has come of the answer, and go on with the request."""
        if self.out:
            self.client.write(b"".join(self.out))
            self.out.clear()
        self.flush()

    def answer_lost(self, error: Exception | None) -> None:
        """Send it again where that is safe, else say what happened."""
        assert self.gate is not None
        assert self._target is not None
        self._link = None
        if not self.answered and self._replay is not None and isinstance(error, ConnectionError):
            # Once may be a connection that had just been closed; twice, and the instance is as good as gone.
            self._retry("it ends its connections unread", unreachable=self._attempts > 0)
            return
        instance = self._target.instance
        self.gate.leave(self, self._target)
        self._fail(502, f"instance {instance} ended while it worked on this request (mlfn logs tells more)", None)

    def link_writable(self, writable: bool) -> None:
        """Read from the client only as fast as the instance takes."""
        self.client.hold_reading(not writable)

    # -- the exceptions -----------------------------------------------------------------------------------------------

    def client_writable(self, writable: bool) -> None:
        """Read from the instance only as fast as the client takes."""
        if self._link is not None and self._link.transport is not None:
            if writable:
                self._link.transport.resume_reading()
            else:
                self._link.transport.pause_reading()

    def refuse(self, status: int, message: str, retry_after_s: int | None) -> None:
        """Answer with an error of the gate."""
        self._fail(status, message, retry_after_s)

    def expire(self) -> None:
        """Answer that it took too long, or break the answer off."""
        assert self.gate is not None
        where = "waiting for an instance" if self._target is None else f"at instance {self._target.instance}"
        message = f"no answer within {self.gate.timeout_s:g} s ({where})"
        self.cancel()
        self._fail(504, message, None)

    def cancel(self) -> None:
        """Give everything back: the client is gone, or its time is."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
        if self.gate is not None:
            self.gate.leave(self, self._target)
        self._target = None

    def abandon(self) -> None:
        """Hear that the client is gone."""
        self.over = True
        self._body.clear()
        self.out.clear()
        self.cancel()

    def _fail(self, status: int, message: str, retry_after_s: int | None) -> None:
        self.over = True
        self._body.clear()
        if self.answered:
            self.answer_flush()
            self.client.broken(self)
            return
        self.reply(status, {"error": message}, retry_after_s=retry_after_s)

    def reply(self, status: int, value: object, *, retry_after_s: int | None = None) -> None:
        """Answer from the router itself."""
        self.over = True
        self.answered = True
        self.client.write(
            heads.answer(
                status,
                value,
                close=not self.keep_alive,
                retry_after_s=retry_after_s,
                bodyless=self.head.method == b"HEAD",
            )
        )
        self.client.finished(self)
