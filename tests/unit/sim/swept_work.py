"""Work that the tests of sweeps hand to other processes: they import it by its name."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlfn_sim.errors import RecordingError

__all__ = ["Keyed", "Square", "deadly", "failing", "interrupting", "long", "squared", "told"]


@dataclass(frozen=True, slots=True)
class Square:
    """Ask for the square of a number."""

    number: int
    diary: str = ""
    """File that each run of the work writes a line to."""

    @property
    def key(self) -> str:
        """Name the task."""
        return f"number={self.number}"


def squared(task: Square) -> Mapping[str, object]:
    """Return the square, and tell the diary."""
    if task.diary:
        with Path(task.diary).open("a") as diary:
            diary.write(f"{task.number}\n")
    return {"square": task.number**2, "process": os.getpid()}


def deadly(task: Square) -> Mapping[str, object]:
    """Die as the kernel kills, at the third number and at all from a hundred on."""
    result = squared(task)
    if task.number == 3 or task.number >= 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def failing(task: Square) -> Mapping[str, object]:
    """Refuse one number."""
    if task.number == 3:
        raise RecordingError("trace.csv: line 3: 'x' is no number")
    return squared(task)


def interrupting(task: Square) -> Mapping[str, object]:
    """Interrupt the first process at the third number, as Ctrl-C does, unless the diary says that it was reached."""
    reached = task.number == 3 and "3" in Path(task.diary).read_text().split()
    result = squared(task)
    if task.number == 3 and not reached:
        os.kill(os.getppid(), signal.SIGINT)
        signal.pause()
    return result


def long(task: Square) -> Mapping[str, object]:
    """Return more than a small disk takes."""
    return {"text": "x" * (100_000 if task.number == 3 else 10)}


@dataclass(frozen=True, slots=True)
class Keyed:
    """Have any key."""

    key: str


def told(task: Keyed) -> Mapping[str, object]:
    """Return the key."""
    return {"key": task.key}
