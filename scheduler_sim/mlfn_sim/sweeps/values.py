"""The values of a sweep: a task, where its work is done, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

__all__ = ["ON", "Answer", "Call", "Died", "Document", "Done", "Raised", "Task", "Where"]

ON = ("processes", "ray", "dask")
"""What work can be spread over."""

Document: TypeAlias = Mapping[str, Any]
"""A JSON object: what the work of a task returns."""


class Task(Protocol):
    """Be a frozen dataclass of plain fields."""

    @property
    def key(self) -> str:
        """Name the task, short and its own among the tasks: errors tell it, and its result's file is named so."""


@dataclass(frozen=True, slots=True)
class Where:
    """Say where the work is done and the results are kept."""

    out: Path | None = None
    """Folder that keeps the results, made if need be; None: they are not kept."""
    on: str = "processes"
    """One of :data:`ON`."""
    workers: int | None = None
    """Processes; None: one for each core. With an address: of no effect, the cluster has its own."""
    address: str = ""
    """Of a Ray or Dask cluster; empty: one is started on this machine, and stopped again."""


@dataclass(frozen=True, slots=True)
class Call:
    """Hold what a worker needs, so that it finds the same code."""

    work: str
    task: bytes
    """Pickled: it can be read only where ``path`` is searched."""
    path: tuple[str, ...]
    """``sys.path`` of the first process."""


@dataclass(frozen=True, slots=True)
class Done:
    """Hold a result, as JSON."""

    text: str


@dataclass(frozen=True, slots=True)
class Raised:
    """Hold what the work raised, and where."""

    error: Exception
    trace: str


@dataclass(frozen=True, slots=True)
class Died:
    """Say how the process ended that had the task."""

    how: str


Answer: TypeAlias = Done | Raised | Died
