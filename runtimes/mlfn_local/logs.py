"""The instances' log files: names, bounds, reading and following.

One file an instance, ``LOGS/FUNCTION/INSTANCE.log``, and one older part, ``INSTANCE.log.1``, so that an instance never
holds more than twice the bound. Written by the instance itself; read by the service (the last lines of a failure) and,
without asking the service, by the deployer.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["follow_lines", "forget", "keep_newest", "last_lines", "log_path", "tail_of", "turn_over"]

SIZE_LIMIT_BYTES = 4 * 1024 * 1024
"""An instance's log is turned over at this size (looked at once a second)."""
KEPT_LOGS = 20
"""Logs of this many newest instances are kept for a function."""
TAIL_BYTES = 64 * 1024


def log_path(logs: Path, function: str, instance: str) -> Path:
    """Return the file that an instance writes."""
    return logs / function / f"{instance}.log"


def turn_over(path: Path) -> bool:
    """Move a file that has reached its bound aside; the instance must then be told to open it anew."""
    try:
        if path.stat().st_size < SIZE_LIMIT_BYTES:
            return False
        path.replace(path.with_name(path.name + ".1"))
    except FileNotFoundError:
        return False
    return True


def keep_newest(folder: Path, running: frozenset[str]) -> None:
    """Remove the logs of all but the newest instances; those of ``running`` ones stay."""
    for path in _files(folder)[:-KEPT_LOGS]:
        if path.stem not in running:
            path.unlink(missing_ok=True)
            path.with_name(path.name + ".1").unlink(missing_ok=True)


def forget(folder: Path) -> None:
    """Remove all logs of a function."""
    shutil.rmtree(folder, ignore_errors=True)


def tail_of(path: Path, lines: int = 20) -> str:
    """Return the last lines of one log, "" when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def last_lines(folder: Path, tail: int) -> Iterator[tuple[str, str]]:
    """Yield (instance, line) for the last ``tail`` lines (-1 = all), instance by instance in order of their start."""
    found: list[tuple[str, str]] = []
    for path in reversed(_files(folder)):
        part = [(path.stem, line) for line in _lines(path)]
        found = part + found
        if 0 <= tail <= len(found):
            break
    yield from found[len(found) - tail :] if 0 <= tail < len(found) else found


def follow_lines(folder: Path, tail: int, *, pause_s: float = 0.2) -> Iterator[tuple[str, str]]:
    """Yield the last ``tail`` lines, then new ones as they are written, of new instances too; never ends."""
    known = {path: _identity(path) for path in _files(folder)}
    yield from last_lines(folder, tail)
    while True:
        for path in _files(folder):
            inode, size = _identity(path)
            seen_inode, offset = known.get(path, (inode, 0))
            if inode != seen_inode:
                # Turned over: what was written to the old file since the last look is at its end.
                yield from _from_offset(path.with_name(path.name + ".1"), offset, path.stem)[1]
                offset = 0
            if size > offset:
                offset, lines = _from_offset(path, offset, path.stem)
                yield from lines
            known[path] = (inode, offset)
        time.sleep(pause_s)


def _from_offset(path: Path, offset: int, instance: str) -> tuple[int, list[tuple[str, str]]]:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:
        return offset, []
    whole = data[: data.rfind(b"\n") + 1]
    return offset + len(whole), [(instance, line) for line in whole.decode(errors="replace").splitlines()]


def _lines(path: Path) -> list[str]:
    parts = []
    for part in (path.with_name(path.name + ".1"), path):
        try:
            parts.append(part.read_text(errors="replace"))
        except OSError:
            continue
    return "".join(parts).splitlines()


def _files(folder: Path) -> list[Path]:
    try:
        return sorted((p for p in folder.iterdir() if p.suffix == ".log"), key=lambda p: p.name)
    except OSError:
        return []


def _identity(path: Path) -> tuple[int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116 (one call for inode and size)
    except OSError:
        return 0, 0
    return stat.st_ino, stat.st_size
