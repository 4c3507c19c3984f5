"""What is wrong with a scenario: every problem, with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlfn_sim.errors import RecordingError

__all__ = ["Path", "Problem", "ScenarioError", "dotted"]

Path = tuple[str | int, ...]
"""The way to a value: names of fields, and numbers in lists."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Hold one problem."""

    path: Path
    text: str
    """Which value was seen, and what was expected."""
    unknown: str = ""
    """A name that nothing has."""
    known: tuple[str, ...] = ()
    """The names that there are instead."""


class ScenarioError(RecordingError):
    """A scenario cannot be used; the message has a line for each problem, with file, line and value."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


def dotted(path: Path) -> str:
    """Return a path as one reads it: ``workload.functions[0].cpu``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
