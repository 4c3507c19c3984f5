"""The values of an agreement check, between the kinds of recordings and the report. Pure data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from mlfn_sim.recordings import Recording

__all__ = ["SCHEMA", "AgreementReport", "Case", "FileResult", "Kind"]

SCHEMA = "mlfn.agreement/v1"


@dataclass(frozen=True, slots=True)
class Case:
    """Tell how one case of a recording (a scenario, a cluster) compares.

    *Decisions* are what the control plane chose; *rows* the finer evidence behind them (such as the scores of each
    node), 0 in a kind without. ``first_difference`` is null when all is equal.
    """

    decisions: int
    equal_decisions: int
    rows: int = 0
    equal_rows: int = 0
    first_difference: Mapping[str, object] | None = None


class Kind(Protocol):
    """Read and replay one kind of recording. A module with these names is one (``mlfn_sim.kpa``)."""

    @property
    def NAME(self) -> str:  # noqa: N802  # a module constant
        """Return the name in reports."""

    def recognises(self, document: object) -> bool:
        """Tell from the content whether a document is of this kind."""

    def compare(self, recording: Recording) -> Iterator[Case]:
        """Yield one case after the other; companion files are found beside ``recording.path``."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """Tell how one file compares."""

    file: str
    kind: str
    cases: int
    decisions: int
    equal_decisions: int
    rows: int
    equal_rows: int
    first_difference: Mapping[str, object] | None

    @property
    def agrees(self) -> bool:
        """Tell whether everything recorded was decided alike."""
        return self.equal_decisions == self.decisions and self.equal_rows == self.rows

    def as_json(self) -> dict[str, object]:
        """Return the result for ``-o json``."""
        return {
            "file": self.file,
            "kind": self.kind,
            "cases": self.cases,
            "decisions": self.decisions,
            "equal_decisions": self.equal_decisions,
            "rows": self.rows,
            "equal_rows": self.equal_rows,
            "first_difference": None if self.first_difference is None else dict(self.first_difference),
        }


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """Tell how all files compare."""

    results: tuple[FileResult, ...]

    @property
    def agrees(self) -> bool:
        """Tell whether all files agree."""
        return all(result.agrees for result in self.results)

    def as_json(self) -> dict[str, object]:
        """Return the report for ``-o json``."""
        return {"schema": SCHEMA, "results": [result.as_json() for result in self.results]}
