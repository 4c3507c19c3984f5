"""Read an OCI image layout, a folder or a plain tar of one (image-spec, image-layout.md).

Blobs are opened where they lie; nothing is unpacked. What a layout says of itself is checked by whoever keeps a blob.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mlfn.errors import InvalidInput, NotFound
from mlfn.images.contents import INDEX_TYPES, OCI_INDEX, Descriptor

__all__ = ["Layout", "layout_path"]

_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"


def layout_path(base: str) -> tuple[Path, str] | None:
    """Return path and name of a base that is a layout (``oci:PATH[:NAME]``, or a path that exists), else None."""
    text = base.removeprefix("oci:").removeprefix("oci-archive:")
    path = Path(text)
    try:
        if path.exists() and (text != base or path.is_file() or (path / "oci-layout").is_file()):
            return path, ""
    except PermissionError as error:
        raise _unreadable(path, error) from error
    if text == base and not text.startswith(("/", "./", "../", "~")):
        return None
    without, colon, name = text.rpartition(":")
    if colon and Path(without).exists():
        return Path(without), name
    raise NotFound(
        f"the base image {base} does not exist: expected an OCI layout, a folder or a tar",
        hints=("skopeo copy docker://python:3.13-slim oci:FOLDER:3.13 makes one",),
    )


def _unreadable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        f"the base image {path} cannot be read: {error.filename or path}: {error.strerror}",
        hints=(f"chmod -R a+rX {path}",),
    )


class Layout:
    """Read one layout."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members = _members(path) if path.is_file() else {}

    def root(self, name: str = "") -> tuple[bytes, str]:
        """Return the manifest or index that ``name`` stands for, or the only one there is, and its type."""
        index = self._index()
        entries = [Descriptor.from_json(entry) for entry in index["manifests"]]
        entries = [entry for entry in entries if not entry.artifact_type]
        named = [entry for entry in entries if name in (entry.annotations.get(_REF_NAME), _full_tag(entry))]
        if name and not named:
            known = sorted(entry.annotations.get(_REF_NAME, "") for entry in entries)
            raise NotFound(f"the layout {self._path} has no image named {name!r}; it has {', '.join(known) or 'none'}")
        chosen = named or entries
        if not chosen:
            raise InvalidInput(f"the layout {self._path} has no image")
        if len(chosen) == 1:
            return self.read(chosen[0].digest), chosen[0].media_type
        if any(entry.media_type in INDEX_TYPES or entry.platform is None for entry in chosen):
            raise InvalidInput(
                f"the layout {self._path} has {len(chosen)} images", hints=("name one: --base oci:PATH:NAME",)
            )
        return json.dumps({**index, "mediaType": OCI_INDEX}).encode(), OCI_INDEX

    def read(self, digest: str) -> bytes:
        """Return a small blob."""
        with self.open(digest) as stream:
            return stream.read()

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading."""
        return self._open(f"blobs/{digest.replace(':', '/')}")

    def _index(self) -> Mapping[str, Any]:
        try:
            with self._open("index.json") as stream:
                index = json.load(stream)
            if not isinstance(index["manifests"], list):
                raise TypeError("manifests")
        except (NotFound, ValueError, KeyError, TypeError) as error:
            hint = "`docker save` of docker 25 and later, `podman save --format oci-archive` and skopeo write one"
            raise InvalidInput(
                f"{self._path} is no OCI layout: its index.json is missing or bad", hints=(hint,)
            ) from error
        assert isinstance(index, dict)
        return index

    def _open(self, name: str) -> BinaryIO:
        try:
            if not self._path.is_file():
                return (self._path / name).open("rb")
            if name in self._members:
                start, size = self._members[name]
                return io.BufferedReader(_Part(self._path, start, size))
        except PermissionError as error:
            raise _unreadable(self._path, error) from error
        except OSError as error:
            raise NotFound(f"the layout {self._path} has no {name}: {error.strerror or error}") from error
        raise NotFound(f"the layout {self._path} has no {name}")


class _Part(io.RawIOBase):
    """Read one member of a tar in place."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb")
        self._file.seek(start)
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer
        piece = self._file.read(min(len(buffer), self._left))
        self._left -= len(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Return where the files of a tar lie in it."""
    try:
        with tarfile.open(path, "r:") as archive:
            return {
                member.name.removeprefix("./"): (member.offset_data, member.size)
                for member in archive
                if member.isreg()
            }
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except tarfile.TarError as error:
        raise InvalidInput(
            f"{path} cannot be read as a plain tar: {error}", hints=("unpack a compressed one first: gunzip FILE",)
        ) from error


def _full_tag(entry: Descriptor) -> str:
    return entry.annotations.get(_FULL_NAME, "")
