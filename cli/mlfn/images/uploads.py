"""One blob into one repository: in one piece or in chunks, continued where a cut connection left it.

Small blobs go in one request, which every registry takes. Large ones go in chunks; after a cut the registry is asked
how much it has. Not every registry can be continued (distribution 2.8 throws the upload away when a chunk arrived in
part) and not every one takes chunks (Google's does not, GitHub's no large ones): then the blob is sent again from its
start, at last in one piece. A blob is read from its source and never held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from mlfn.errors import BuildFailed, MlfnError, NotAuthorised
from mlfn.images.contents import BlobSource, Descriptor
from mlfn.images.exchange import Place
from mlfn.images.refusals import is_full, said
from mlfn.images.retries import PASSING, retry_after_s
from mlfn.images.wire import Lost, Reply

__all__ = ["Uploads", "blob_is_there"]

BLOCK_BYTES = 256 << 10
"""Read and sent at once: what one upload holds in memory."""
_OCTETS = {"content-type": "application/octet-stream"}


class _ChunksRefused(Exception):
    """The registry does not take this blob in chunks."""


class _Damaged(Exception):
    """What arrived has another digest, though the source is right."""

    def __init__(self, error: MlfnError) -> None:
        super().__init__(str(error))
        self.error = error


def blob_is_there(place: Place, descriptor: Descriptor) -> bool:
    """Tell whether the repository has the blob, of the right size."""
    reply = place.send("HEAD", f"blobs/{descriptor.digest}")
    if reply.status == 404:
        return False
    if reply.status != 200:
        raise place.error(reply, f"look for a blob of {place.repository}")
    return reply.headers.get("content-length") in {None, str(descriptor.size)}


class Uploads:
    """Send blobs; learns whether the registry takes chunks. For use by several threads at once."""

    def __init__(self, chunk_bytes: int) -> None:
        """Blobs larger than ``chunk_bytes`` go in chunks of it."""
        self._chunk_bytes = chunk_bytes
        self._chunks_work = True

    def mount(self, place: Place, digest: str, from_repository: str) -> tuple[bool, str]:
        """Let the repository share a blob of another one; else return the address of the upload that was begun."""
        from_scope = place.exchange.at(from_repository, writing=False).scopes
        both = Place(place.exchange, place.repository, (*place.scopes, *from_scope))
        path = f"blobs/uploads/?mount={quote(digest)}&from={quote(from_repository, safe='')}"
        try:
            reply = both.send("POST", path)
        except NotAuthorised:  # the other repository may be out of bounds; the blob can still be sent
            return False, ""
        if reply.status == 201:
            return True, ""
        return False, _location(place, path, reply) if reply.status == 202 else ""

    def send(self, place: Place, source: BlobSource, sent: Callable[[int], None], location: str = "") -> None:
        """Upload a blob; ``sent`` hears of every block. ``location`` is an upload that a mount has begun."""
        tries = 0
        damaged = 0
        while True:
            tries += 1
            try:
                with _Reader(source, place.exchange.retrying.check, sent) as reader:
                    _Transfer(place, source, reader).run(location, self._chunk_for(source))
                return
            except Lost as lost:
                # The very last answer may be what was lost.
                if blob_is_there(place, source.descriptor):
                    return
                place.exchange.retrying.after_loss(lost, tries)
            except _ChunksRefused:
                self._chunks_work = False
                tries = 0
            except _Damaged as damage:
                self._chunks_work = False
                damaged += 1
                if damaged > 1:
                    raise damage.error from damage
            location = ""

    def _chunk_for(self, source: BlobSource) -> int:
        size = source.descriptor.size
        return self._chunk_bytes if self._chunks_work and size > self._chunk_bytes else size


class _Transfer:
    """Be one upload session from its begin to the registry's confirmation, or its loss."""

    def __init__(self, place: Place, source: BlobSource, reader: _Reader) -> None:
        self._place = place
        self._source = source
        self._descriptor = source.descriptor
        self._reader = reader
        self._what = f"push a blob to {place.repository}"

    def run(self, location: str, chunk: int) -> None:
        """Send all; raises Lost when the session is lost, and what else the registry refuses."""
        location = location or self._begin()
        size = self._descriptor.size
        if chunk < size:
            location = self._send_chunks(location, chunk)
            self._commit(location, 0, 0)
        else:
            self._commit(location, 0, size)

    def _begin(self) -> str:
        path = "blobs/uploads/"
        reply = self._place.send("POST", path)
        if reply.status != 202:
            raise self._place.error(reply, self._what)
        return _location(self._place, path, reply)

    def _send_chunks(self, location: str, chunk: int) -> str:
        retrying = self._place.exchange.retrying
        offset = tries = 0
        while offset < self._descriptor.size:
            end = min(offset + chunk, self._descriptor.size)
            tries += 1
            try:
                reply = self._patch(location, offset, end)
            except Lost as lost:
                retrying.after_loss(lost, tries)
                location, kept = self._ask(location)
            else:
                if reply.status in PASSING:
                    self._pause(reply, tries)
                    location, kept = self._ask(location)
                else:
                    # Not what the Range header says: ECR's stays behind though all has arrived.
                    location, kept = self._accepted(location, reply), end
            tries = 0 if kept > offset else tries
            offset = kept
        return location

    def _patch(self, location: str, offset: int, end: int) -> Reply:
        headers = {**_OCTETS, "content-length": str(end - offset), "content-range": f"{offset}-{end - 1}"}
        content = self._reader.range(offset, end)
        return self._place.exchange.once(self._place.request("PATCH", location, headers, content))

    def _accepted(self, location: str, reply: Reply) -> str:
        if reply.status in {201, 202, 204}:
            return _location(self._place, location, reply)
        if reply.status in {401, 403} or reply.status >= 500:
            raise self._place.error(reply, self._what)
        raise _ChunksRefused

    def _pause(self, reply: Reply, tries: int) -> None:
        retrying = self._place.exchange.retrying
        wanted_s = retry_after_s(reply.headers.get("retry-after", ""))
        if is_full(reply) or not retrying.may_try(tries) or wanted_s > retrying.patience.longest_s:
            raise self._place.error(reply, self._what)
        retrying.wait(tries, wanted_s)

    def _ask(self, location: str) -> tuple[str, int]:
        """Ask how many bytes the registry has, and where to go on. Raises Lost when the session is no more."""
        reply = self._place.exchange.send(self._place.request("GET", location))
        # "0-0" is what distribution says of nothing; that it could be one byte costs one refused chunk.
        last = reply.headers.get("range", "").removeprefix("bytes=").partition("-")[2]
        if reply.status not in {200, 202, 204} or not last.isdigit() or int(last) >= self._descriptor.size:
            raise Lost(f"registry {self._place.exchange.host} gave the upload up: {said(reply)[1]}", connected=True)
        return _location(self._place, location, reply), int(last) + 1 if int(last) else 0

    def _commit(self, location: str, start: int, end: int) -> None:
        """Close the upload, with the bytes that are still to come; believe the registry only with the right digest."""
        digest = self._descriptor.digest
        joint = "&" if urlsplit(location).query else "?"
        request = self._place.request(
            "PUT",
            f"{location}{joint}digest={quote(digest, safe='')}",
            {**_OCTETS, "content-length": str(end - start)},
            self._reader.range(start, end) if end > start else b"",
        )
        reply = self._place.exchange.once(request)
        if reply.status in {201, 204}:
            seen = reply.headers.get("docker-content-digest", digest)
            if seen != digest:
                raise BuildFailed(f"registry {self._place.exchange.host} stored {seen} where {digest} was sent")
            return
        error = self._place.error(reply, self._what)
        if "DIGEST_INVALID" in said(reply)[0] or "SIZE_INVALID" in said(reply)[0]:
            _check_source(self._source)
            raise _Damaged(error)
        if (reply.status in PASSING and not is_full(reply)) or reply.status == 404:
            raise Lost(error.message, connected=True)
        raise error


class _Reader:
    """Read a source from any place on, once after the other, and say what is read."""

    def __init__(self, source: BlobSource, check: Callable[[], None], sent: Callable[[int], None]) -> None:
        self._source = source
        self._check = check
        self._sent = sent
        self._stream: BinaryIO | None = None
        self._position = 0

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()

    def range(self, start: int, end: int) -> Callable[[], Iterator[bytes]]:
        """Return a function that yields the bytes from ``start`` to before ``end``."""
        return lambda: self._blocks(start, end)

    def _blocks(self, start: int, end: int) -> Iterator[bytes]:
        stream = self._at(start)
        while self._position < end:
            self._check()
            block = self._read(stream, min(BLOCK_BYTES, end - self._position))
            if not block:
                raise _changed(self._source.descriptor, f"ended after {self._position} bytes")
            yield block
            self._sent(len(block))
        if end == self._source.descriptor.size and self._read(stream, 1):
            raise _changed(self._source.descriptor, f"has more than {end} bytes")

    def _at(self, start: int) -> BinaryIO:
        """Return the stream at a position: sought where it can be, else read up to there."""
        if self._stream is not None and self._position > start and not self._stream.seekable():
            self._stream.close()
            self._stream = None
        if self._stream is None:
            self._stream, self._position = _opened(self._source), 0
        if self._position != start and self._stream.seekable():
            self._position = self._stream.seek(start)
        while self._position < start and self._read(self._stream, min(BLOCK_BYTES, start - self._position)):
            self._check()
        return self._stream

    def _read(self, stream: BinaryIO, count: int) -> bytes:
        try:
            block = stream.read(count)
        except OSError as error:
            raise _unreadable(self._source, error) from error
        self._position += len(block)
        return block


def _check_source(source: BlobSource) -> None:
    """Raise BuildFailed when the source itself gives other bytes than its descriptor says."""
    hashed = hashlib.sha256()
    size = 0
    try:
        with source.open() as stream:
            while block := stream.read(BLOCK_BYTES):
                hashed.update(block)
                size += len(block)
    except OSError as error:
        raise _unreadable(source, error) from error
    digest = f"sha256:{hashed.hexdigest()}"
    if digest != source.descriptor.digest:
        raise _changed(source.descriptor, f"now gives {size} bytes of digest {digest}")


def _opened(source: BlobSource) -> BinaryIO:
    try:
        return source.open()
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: BlobSource, error: OSError) -> BuildFailed:
    return BuildFailed(f"cannot read what {source.descriptor.digest} is made of: {error}")


def _changed(descriptor: Descriptor, seen: str) -> BuildFailed:
    return BuildFailed(
        f"the source of {descriptor.digest} ({descriptor.size} bytes) changed while it was sent: it {seen}",
        hints=("leave the model's files alone during a build, then build again",),
    )


def _location(place: Place, url: str, reply: Reply) -> str:
    """Return where the upload goes on, as an absolute address; the old one where the registry names none."""
    request = place.request("POST", url)
    return place.exchange.follow(place.exchange.absolute(request.url), reply.headers.get("location", ""))
