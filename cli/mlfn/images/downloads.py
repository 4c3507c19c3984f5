"""One blob out of a repository: streamed, continued after a cut, and believed only with the right digest."""

from __future__ import annotations

import contextlib
import hashlib
import io
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mlfn.errors import BuildFailed, NotFound
from mlfn.images.contents import Descriptor
from mlfn.images.exchange import Place
from mlfn.images.retries import PASSING, retry_after_s
from mlfn.images.wire import Lost

if TYPE_CHECKING:
    import httpx
    from _typeshed import WriteableBuffer

__all__ = ["download", "open_blob"]

_TRIES_OF_A_DAMAGED_BLOB = 2


class WrongDigest(BuildFailed):
    """What came has another digest than was asked for."""


def open_blob(place: Place, descriptor: Descriptor) -> BinaryIO:
    """Return a stream of the blob. Its last read raises BuildFailed when the bytes are not those of the digest."""
    return cast("BinaryIO", io.BufferedReader(_BlobStream(place, descriptor), buffer_size=256 << 10))


def download(place: Place, descriptor: Descriptor, to: Path) -> None:
    """Write a blob to a file, which appears when it is complete and right, or not at all."""
    part = to.with_name(f".{to.name}.{secrets.token_hex(4)}")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            for left in reversed(range(_TRIES_OF_A_DAMAGED_BLOB)):
                try:
                    _copy(place, descriptor, file)
                    break
                except WrongDigest:
                    if not left:
                        raise
        part.replace(to)
    except OSError as error:
        raise BuildFailed(f"cannot write {to}: {error.strerror}", hints=(f"check the folder {to.parent}",)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _copy(place: Place, descriptor: Descriptor, file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
    with open_blob(place, descriptor) as stream:
        while block := stream.read(256 << 10):
            file.write(block)


class _BlobStream(io.RawIOBase):
    """Read a blob as it comes; a cut connection is made again from where it broke."""

    def __init__(self, place: Place, descriptor: Descriptor) -> None:
        super().__init__()
        self._place = place
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self._position = 0
        self._left = memoryview(b"")
        self._response: httpx.Response | None = None
        self._blocks: Iterator[bytes] = iter(())

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what there is, at most the buffer; 0 at the end, where size and digest are checked."""
        target = memoryview(buffer).cast("B")
        if not self._left:
            self._left = memoryview(self._next_block())
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        """Let go of the connection."""
        self._hang_up()
        super().close()

    def _next_block(self) -> bytes:
        retrying = self._place.exchange.retrying
        tries = 0
        while self._position < self._descriptor.size:
            tries += 1
            try:
                if self._response is None:
                    self._ask(tries)
                block = next(self._blocks, b"")
                if not block:
                    raise Lost(f"{self._descriptor.digest} ended after {self._position} bytes", connected=True)
            except Lost as lost:
                self._hang_up()
                retrying.after_loss(lost, tries)
                continue
            self._hash.update(block)
            self._position += len(block)
            if self._position >= self._descriptor.size:
                self._check()
            return block
        return b""

    def _ask(self, tries: int) -> None:
        headers = {"range": f"bytes={self._position}-"} if self._position else {}
        exchange = self._place.exchange
        response = exchange.open(self._place.request("GET", f"blobs/{self._descriptor.digest}", headers))
        if response.status_code in {200, 206}:
            self._response = response
            whole = response.status_code == 200 and self._position > 0
            self._blocks = _without(exchange.blocks(response), self._position if whole else 0)
            return
        reply = exchange.read(response)
        if reply.status in PASSING and exchange.retrying.may_try(tries):
            exchange.retrying.wait(tries, retry_after_s(reply.headers.get("retry-after", "")))
            raise Lost(f"registry {exchange.host} answers with HTTP {reply.status}", connected=True)
        what = f"pull a blob of {self._place.repository}"
        if reply.status == 404:
            raise NotFound(f"registry {exchange.host}: {self._place.repository} has no blob {self._descriptor.digest}")
        raise self._place.error(reply, what)

    def _check(self) -> None:
        digest = f"sha256:{self._hash.hexdigest()}"
        extra = next(self._blocks, b"") if self._position == self._descriptor.size else b""
        if digest == self._descriptor.digest and self._position == self._descriptor.size and not extra:
            self._hang_up()
            return
        seen = "more bytes than announced" if extra or self._position > self._descriptor.size else f"digest {digest}"
        raise WrongDigest(
            f"registry {self._place.exchange.host} sent a blob of {self._place.repository} with {seen}; "
            f"expected {self._descriptor.digest} ({self._descriptor.size} bytes)",
            hints=("try again; if it stays so, the registry's storage or a proxy on the way damages data",),
        )

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response, self._blocks = None, iter(())


def _without(blocks: Iterable[bytes], count: int) -> Iterator[bytes]:
    """Yield the blocks without their first ``count`` bytes: not every server continues where it is asked to."""
    for block in blocks:
        if count >= len(block):
            count -= len(block)
        else:
            yield block[count:] if count else block
            count = 0
