"""Keep the results of a sweep: one file for each task, with a fingerprint of all that its result depends on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import mlfn_policies
import mlfn_sim
from mlfn_sim.aside import written_aside
from mlfn_sim.errors import NotWritten
from mlfn_sim.sweeps.values import Task

__all__ = ["Kept"]

_SCHEMA = "mlfn.sweep-result/v1"
_LONGEST = 200
"""Characters of a file's name before the suffix: file systems take 255 bytes, the name aside is longer."""


class Kept:
    """Hold the results of one kind of work in a folder."""

    def __init__(self, folder: Path, work: str) -> None:
        self.folder = folder
        self._work = work
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotWritten(f"{folder}: cannot be made: {error.strerror}") from error

    def get(self, task: Task) -> Any:
        """Return the result of a task, or None: it is not there, or was made from other fields or by other code."""
        try:
            kept = json.loads(self._path(task).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(kept, dict) or kept.get("fingerprint") != fingerprint(task, self._work):
            return None
        return kept.get("result")

    def put(self, task: Task, result: str) -> None:
        """Keep a result, given as JSON. Raises NotWritten."""
        head = {"schema": _SCHEMA, "task": task.key, "fingerprint": fingerprint(task, self._work)}
        with written_aside(self._path(task)) as aside:
            aside.write_text(f'{json.dumps(head)[:-1]}, "result": {result}}}\n', encoding="utf-8")

    def _path(self, task: Task) -> Path:
        name = quote(task.key, safe="=,+@ ").replace("%", "_")
        if len(name) > _LONGEST or name != task.key:
            name = f"{name[: _LONGEST - 17]}-{hashlib.blake2b(task.key.encode(), digest_size=8).hexdigest()}"
        return self.folder / f"{name}.json"


def fingerprint(task: Task, work: str) -> str:
    """Return a digest of a task's fields and of the code that works on it."""
    fields = json.dumps(asdict(task), sort_keys=True, default=_plain)  # type: ignore[call-overload]  # a dataclass
    text = f"{type(task).__qualname__} {fields} {work} {_code()}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: object) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"a task holds {value!r}; expected texts, numbers, paths, and tuples of them")


@lru_cache(maxsize=1)
def _code() -> str:
    """Return our version, and a digest of the source of simulator and policies: between releases only that changes."""
    digest = hashlib.blake2b(digest_size=16)
    for package in (mlfn_sim, mlfn_policies):
        folder = Path(next(iter(package.__path__)))
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{version('mlfn')} {digest.hexdigest()}"
