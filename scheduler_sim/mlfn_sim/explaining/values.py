"""The values of an explanation. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["SCHEMA", "Change", "Explanation", "FilterVerdict", "NodeScore", "Question", "Reason"]

SCHEMA = "mlfn.explanation/v1"


@dataclass(frozen=True, slots=True)
class Question:
    """Say what is asked."""

    pod: str
    """Name, or namespace/name."""
    node: str = ""
    """Also tell what would bring the pod here; empty: the second best."""
    top: int = 5
    """Nodes whose scores are told."""
    alone: bool = False
    """Ask before the pods that wait in front of it are placed."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Count the nodes that a filter rejected for one reason."""

    text: str
    nodes: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilterVerdict:
    """Tell how one filter judged the nodes that the filters before it let through."""

    name: str
    asked: int
    rejected: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class NodeScore:
    """Hold the weighted scores of a feasible node."""

    node: str
    total: int
    plugins: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Change:
    """Tell what would bring the pod onto a node: all steps together, as the engine was asked about them one by one.

    What a step offers in brackets, and a larger share of nodes to score, is advice that was not tried.
    """

    node: str
    reason: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Tell why a pod goes onto a node, or nowhere."""

    pod: str
    nodes: int
    evaluated: int
    feasible: int
    chosen: str
    """Empty: no node is feasible."""
    bound: str
    """Where the pod is already; empty: it waits."""
    ahead: int
    """Pods that were placed before it was asked."""
    ties: tuple[str, ...]
    message: str
    """The scheduler's own words for a pod that fits nowhere."""
    filters: tuple[FilterVerdict, ...]
    scores: tuple[NodeScore, ...]
    """Best first."""
    to_fit: tuple[Change, ...]
    """For each reason, the least that would let the pod onto a node that rejects it."""
    to_win: tuple[Change, ...]
    """What would bring it onto another node that could take it."""
    at_s: float | None = None
    """When it was decided, in a run; None: this is no run."""
    attempt: int = 0
    """Which try of the run it was, from 1."""
    attempts: int = 0

    def as_json(self) -> dict[str, object]:
        """Return the explanation for ``-o json``."""
        return {"schema": SCHEMA, **asdict(self)}
