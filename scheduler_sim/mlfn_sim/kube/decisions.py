"""What a scheduling cycle decided, with everything that explains it. Pure data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Decision", "Rejection", "unschedulable_text", "words_without_taints"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Tell why one node cannot take a pod."""

    plugin: str
    reasons: tuple[str, ...]
    """As the scheduler words them."""
    curable: bool
    """The end of other pods on the node could admit the pod; preemption looks at such nodes only."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Tell the outcome of one scheduling cycle. Nodes are indices of the catalog."""

    chosen: int
    """-1: no node is feasible."""
    feasible: tuple[int, ...]
    """In the order in which they were found."""
    evaluated: int
    """Nodes looked at; the search ends when enough are feasible."""
    rejected: Mapping[int, str] = field(default_factory=dict)
    """Node -> the filter that rejected it."""
    reasons: Mapping[str, int] = field(default_factory=Counter)
    """Reason -> nodes, as the scheduler words it; a node can have several."""
    scores: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Plugin -> weighted score of each feasible node; plugins that were skipped are absent."""
    totals: Sequence[int] = ()
    """Sum of the weighted scores of each feasible node."""
    ties: tuple[int, ...] = ()
    """The feasible nodes with the highest total."""
    refusal: str = ""
    """Why no node was looked at, as the scheduler words it."""

    def rejected_by(self) -> dict[str, int]:
        """Return filter -> how many nodes it rejected."""
        return dict(Counter(self.rejected.values()))


def unschedulable_text(decision: Decision, nodes: int) -> str:
    """Return the scheduler's own words for a pod that fits nowhere."""
    if decision.refusal:
        return f"0/{nodes} nodes are available: {decision.refusal}."
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in decision.reasons.items()))
    return f"0/{nodes} nodes are available: {reasons}." if reasons else f"0/{nodes} nodes are available."


def words_without_taints(reasons: Mapping[str, int]) -> Counter[str]:
    """Return the reasons as later patch releases of the scheduler word them: they do not tell which taint it was."""
    told: Counter[str] = Counter()
    for reason, count in reasons.items():
        told[
            "node(s) had untolerated taint(s)" if reason.startswith("node(s) had untolerated taint {") else reason
        ] += count
    return told
