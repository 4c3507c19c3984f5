"""Layers as bytes that depend on nothing but what is in them: sorted, fixed owners, modes and times.

Two forms. What compresses well (code) becomes a gzip file in the cache. What does not (weights) becomes a plain tar
that is never written to disk: it is made anew from the model's files each time that somebody reads it.

The gzip stream is zlib's at level 6 behind a header of our own, because Python's differs between versions. zlib itself
has given the same bytes for many years; its variants (zlib-ng) do not, which ``zlib_is_standard`` finds out.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlfn.errors import Conflict

__all__ = ["LayerFile", "TarRecipe", "WrittenLayer", "write_gzip_layer", "zlib_is_standard"]

LEVEL = 6
"""9 takes 2.5 times as long for 0.6 % less."""
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_CHUNK_BYTES = 1024 * 1024
_SAMPLE_DIGEST = "0b8bfa0b4a5e15884b7c4aacf8fdbd5072c05b80b2592c4dce257db216283dbb"


@dataclass(frozen=True, slots=True)
class LayerFile:
    """Say what one file of a layer holds. It belongs to root; whoever runs the image can read it and not change it."""

    path: str
    """Below the root of the image, without a leading slash."""
    content: Path | bytes
    executable: bool = False

    @property
    def size(self) -> int:
        """Return its bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> BinaryIO:
        """Open it for reading."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """Tell what was written."""

    digest: str
    size: int
    diff_id: str
    """Digest of the tar before compression, by which an image's configuration names the layer."""
    content_bytes: int
    """Bytes of the files."""


def write_gzip_layer(files: Iterable[LayerFile], to: BinaryIO, epoch: int) -> WrittenLayer:
    """Write files as a compressed layer."""
    recipe = TarRecipe(tuple(files), epoch)
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain, packed, size, checksum, length = hashlib.sha256(), hashlib.sha256(), 0, 0, 0

    def write(chunk: bytes) -> None:
        nonlocal size
        packed.update(chunk)
        size += len(chunk)
        to.write(chunk)

    write(_GZIP_HEAD)
    for chunk in recipe.chunks():
        plain.update(chunk)
        checksum = zlib.crc32(chunk, checksum)
        length += len(chunk)
        write(compressor.compress(chunk))
    write(compressor.flush() + struct.pack("<II", checksum, length & 0xFFFFFFFF))
    content = sum(file.size for file in recipe.files)
    return WrittenLayer(f"sha256:{packed.hexdigest()}", size, f"sha256:{plain.hexdigest()}", content)


class TarRecipe:
    """Make the tar of some files on the fly, the same bytes each time, of which only a chunk is ever in memory."""

    def __init__(self, files: tuple[LayerFile, ...], epoch: int) -> None:
        self.files = tuple(sorted(files, key=lambda file: file.path))
        self._epoch = epoch
        # The sizes of now: a file that is written to while it is read must not shift what follows.
        self._plan = [(file, file.size) for file in self.files]

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar in pieces."""
        made: set[str] = set()
        total = 0
        for file, size in self._plan:
            for folder in _folders_above(file.path):
                if folder not in made:
                    made.add(folder)
                    yield (head := self._head(folder, 0, folder=True))
                    total += len(head)
            yield (head := self._head(file.path, size, executable=file.executable))
            yield from _exactly(file, size)
            yield (rest := bytes(-size % tarfile.BLOCKSIZE))
            total += len(head) + size + len(rest)
        yield bytes(2 * tarfile.BLOCKSIZE + -(total + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)

    def open(self) -> BinaryIO:
        """Open the tar for reading from its start."""
        return io.BufferedReader(_ChunkStream(self.chunks()), _CHUNK_BYTES)

    def measure(self, heard: Callable[[bytes], object] = lambda chunk: None) -> tuple[str, int]:
        """Return digest and size of the tar."""
        seen, size = hashlib.sha256(), 0
        for chunk in self.chunks():
            seen.update(chunk)
            heard(chunk)
            size += len(chunk)
        return f"sha256:{seen.hexdigest()}", size

    def _head(self, path: str, size: int, *, folder: bool = False, executable: bool = False) -> bytes:
        info = tarfile.TarInfo(path)
        info.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
        info.mode = 0o755 if folder or executable else 0o644
        info.size, info.mtime = size, self._epoch
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


class _ChunkStream(io.RawIOBase):
    """Read from an iterator of pieces."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def zlib_is_standard() -> bool:
    """Tell whether this Python compresses to the very bytes that zlib gives."""
    sample = b"".join(b"def f%d(x): return %d\n" % (n * n % 97, n * n * n % 1009) for n in range(3000))
    return hashlib.sha256(zlib.compress(sample, LEVEL)).hexdigest() == _SAMPLE_DIGEST


def _folders_above(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[: n + 1]) for n in range(len(parts)))


def _exactly(file: LayerFile, size: int) -> Iterator[bytes]:
    """Yield the promised number of bytes of a file, or refuse it."""
    with file.open() as stream:
        left = size
        while left:
            chunk = stream.read(min(_CHUNK_BYTES, left))
            if not chunk:
                break
            left -= len(chunk)
            yield chunk
        if left or stream.read(1):
            raise Conflict(
                f"{file.content if isinstance(file.content, Path) else file.path} changed while the image was built",
                hints=("build again once nothing writes the file",),
            )
