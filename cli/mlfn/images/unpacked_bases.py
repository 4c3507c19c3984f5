"""Bases unpacked once a machine: what their Python is, and the interpreter that compiles for them."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlfn.images.base_python import BasePython, find_python
from mlfn.images.bases import BaseImage, this_machine
from mlfn.images.bytecode import Interpreter, UnpackedBase, find_interpreter
from mlfn.images.cache import BuildCache
from mlfn.images.rootfs import unpack

__all__ = ["interpreter_for", "unpacked"]


def unpacked(base: BaseImage, cache: BuildCache) -> UnpackedBase:
    """Return the unpacked base, made on first sight: its layers are read, and kept, then."""
    root = cache.root / "bases" / base.digest.replace(":", "-")
    architecture = base.platform.architecture
    known = cache.recall("pythons", base.digest)
    if known is not None and root.is_dir():
        return UnpackedBase(root, architecture, BasePython.from_record(known))
    if not root.is_dir():
        _unpack(base, root, cache)
    python = find_python(root, base.environment, architecture)
    cache.remember("pythons", base.digest, python.as_record())
    return UnpackedBase(root, architecture, python)


def interpreter_for(base: UnpackedBase, found: Mapping[str, BaseImage], cache: BuildCache) -> Interpreter | None:
    """Return what compiles for a base: its own Python, or that of the same base for this machine's processor."""
    siblings = []
    if base.architecture != this_machine() and this_machine() in found:
        siblings = [unpacked(found[this_machine()], cache)]
    return find_interpreter(base, siblings)


def _unpack(base: BaseImage, root: Path, cache: BuildCache) -> None:
    making = Path(tempfile.mkdtemp(dir=cache.scratch()))
    try:
        unpack([layer.open() for layer in base.layers], making)
        making.chmod(0o755)
        root.parent.mkdir(parents=True, exist_ok=True)
        making.rename(root)
    except OSError as error:
        # Another build was faster.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise cache.unwritable(error) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
