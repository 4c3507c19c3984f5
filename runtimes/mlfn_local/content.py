"""The content store: each deployed model once, under its digest, checked, read-only, shared by revisions.

A copy, never a link: editing the file that was deployed must not change what serves. A model appears under its final
name only when all of it is on the disk. Raises LocalError.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mlfn_local.errors import Kind, LocalError
from mlfn_local.records import ModelFiles

__all__ = ["ContentStore"]

_CHUNK_BYTES = 1024 * 1024
_STAGING = ".staging-"


class ContentStore:
    """Hold models below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, digest: str) -> Path:
        """Return where the model of ``digest`` lies, or would."""
        return self._root / digest.replace(":", "-")

    def holds(self, model: ModelFiles) -> bool:
        """Say whether all files of a model are there (their content was checked when they came)."""
        folder = self.folder(model.digest)
        return all((folder / name).is_file() for name in model.files)

    def add(self, root: Path, model: ModelFiles, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Copy a model into the store and check its digest; say whether it was new here."""
        if not model.files or model.entry not in model.files or any(not _is_inside(name) for name in model.files):
            raise LocalError(Kind.INVALID_INPUT, f"the files of the model are not plain relative paths: {model.files}")
        if self.holds(model) and self._digest_of(self.folder(model.digest), model) == model.digest:
            return False
        staging = self._root / f"{_STAGING}{uuid.uuid4().hex}"
        try:
            staging.mkdir(mode=0o700)
            digest = _digest({name: _copy(root / name, staging / name, cancelled) for name in model.files})
            if digest != model.digest:
                raise LocalError(
                    Kind.CONFLICT,
                    f"the model in {root} changed while it was copied: expected {model.digest}, copied {digest}",
                    hints=("deploy again once nothing writes the file",),
                )
            for folder in sorted({path.parent for path in staging.rglob("*")} | {staging}):
                _sync_folder(folder)
            _place(staging, self.folder(model.digest))
            _sync_folder(self._root)
        except OSError as error:
            raise _failure(error, self._root) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return True

    def discard(self, digest: str) -> None:
        """Remove one model."""
        shutil.rmtree(self.folder(digest), ignore_errors=True)

    def sweep(self) -> None:
        """Remove the unfinished copies of a service that was killed."""
        for path in self._root.glob(f"{_STAGING}*"):
            shutil.rmtree(path, ignore_errors=True)

    def prune(self, used: frozenset[str]) -> tuple[list[str], int]:
        """Remove all models but the used ones; return their digests and the bytes that came free."""
        removed, freed = [], 0
        for folder in sorted(self._root.iterdir()):
            digest = folder.name.replace("-", ":", 1)
            if folder.name.startswith(_STAGING) or digest in used:
                continue
            freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(digest)
        return removed, freed

    def _digest_of(self, folder: Path, model: ModelFiles) -> str:
        hashes = {}
        for name in model.files:
            with (folder / name).open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return _digest(hashes)


def _digest(hashes: dict[str, str]) -> str:
    """Return the digest of a model as ``mlfn.function.ModelPackage`` defines it."""
    if len(hashes) == 1:
        return "sha256:" + next(iter(hashes.values()))
    listing = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()


def _place(staging: Path, folder: Path) -> None:
    """Move a checked copy to where it belongs.

    A folder that exists is completed and repaired, never replaced: one file deployed under two names has one digest and
    lies there under both, each of which a function reads.
    """
    if not folder.exists():
        staging.replace(folder)
        return
    for path in sorted(each for each in staging.rglob("*") if each.is_file()):
        target = folder / path.relative_to(staging)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.replace(target)
        _sync_folder(target.parent)


def _copy(source: Path, target: Path, cancelled: Callable[[], bool]) -> str:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            if cancelled():
                raise LocalError(Kind.FAILURE, "copying the model was cancelled")
            seen.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    target.chmod(0o400)
    return seen.hexdigest()


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.name != ""


def _failure(error: OSError, root: Path) -> LocalError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LocalError(
            Kind.FAILURE,
            f"the model cannot be copied into {root}: the disk is full ({error.strerror})",
            hints=("mlfn local prune", "free some space, then run the command again"),
        )
    return LocalError(Kind.FAILURE, f"the model cannot be copied into {root}: {error}")
