"""Blobs and made layers that this machine keeps between builds, below the user's cache folder.

A blob is there under its digest only when all of it is there and its digest was checked, so that several builds at once
and a ``kill -9`` do no harm. Whatever is deleted here is made or fetched again.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mlfn.errors import BuildFailed

__all__ = ["BuildCache", "place"]

_CHUNK_BYTES = 1024 * 1024
_ABANDONED_S = 86_400


class BuildCache:
    """Hold what builds share below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of_user(cls) -> BuildCache:
        """Return the cache in the user's cache folder (XDG_CACHE_HOME)."""
        from platformdirs import user_cache_path

        return cls(user_cache_path("mlfn") / "images")

    def blob(self, digest: str) -> Path:
        """Return where the blob of ``digest`` lies, or would."""
        return self.root / "blobs" / digest.replace(":", "/")

    def keep(self, digest: str, source: Callable[[], BinaryIO]) -> Path:
        """Return the file of a blob, copied from ``source`` and checked unless it is here."""
        path = self.blob(digest)
        if path.is_file():
            return path
        with self.new_file() as (file, temporary), source() as stream:
            seen = hashlib.sha256()
            while chunk := stream.read(_CHUNK_BYTES):
                seen.update(chunk)
                file.write(chunk)
            if f"sha256:{seen.hexdigest()}" != digest:
                raise BuildFailed(
                    f"a blob of the base image is damaged: expected {digest}, got sha256:{seen.hexdigest()}",
                    hints=("try again; if it stays, the registry or layout holds a broken copy",),
                )
            file.close()
            place(temporary, path)
        return path

    def keep_bytes(self, content: bytes) -> str:
        """Keep a document and return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.keep(digest, lambda: io.BytesIO(content))
        return digest

    @contextmanager
    def new_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Give a file to write that disappears unless it is moved away; a full disk is told as one."""
        try:
            folder = self.scratch()
            descriptor, name = tempfile.mkstemp(dir=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    yield file, Path(name)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self.unwritable(error) from error

    def scratch(self) -> Path:
        """Return a folder on the cache's own disk for what is in the making."""
        folder = self.root / "unfinished"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._sweep(folder)
        except OSError as error:
            raise self.unwritable(error) from error
        return folder

    def _sweep(self, folder: Path) -> None:
        """Remove what a build that was cut off left; what is a day old belongs to no build that still runs."""
        oldest = time.time() - _ABANDONED_S
        for left in folder.iterdir():
            try:
                if left.stat().st_mtime < oldest:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            except OSError:
                # Another build sweeps too, or it is someone else's: it does no harm.
                continue

    def remember(self, kind: str, key: str, record: Mapping[str, object]) -> None:
        """Keep a small record."""
        with self.new_file() as (file, temporary):
            file.write(json.dumps(record, sort_keys=True).encode())
            file.close()
            place(temporary, self._record(kind, key))

    def recall(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return a record, or None; one that cannot be read counts as none."""
        try:
            found = json.loads(self._record(kind, key).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def unwritable(self, error: OSError) -> BuildFailed:
        """Return what to tell when the cache cannot be written."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return BuildFailed(
                f"the image cannot be built: the disk of {self.root} is full ({error.strerror})",
                hints=(f"free some space; everything below {self.root} may be deleted", "XDG_CACHE_HOME moves it"),
            )
        return BuildFailed(
            f"the image cannot be built: {error.filename or self.root}: {error.strerror or error}",
            hints=("XDG_CACHE_HOME names a folder that can be written",),
        )

    def _record(self, kind: str, key: str) -> Path:
        return self.root / kind / f"{key.replace(':', '-')}.json"


def place(temporary: Path, path: Path) -> None:
    """Move a finished file to its name; whoever comes second with the same content is as welcome."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.chmod(0o644)
    temporary.replace(path)
