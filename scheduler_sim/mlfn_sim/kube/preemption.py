"""Choose a node, and the pods there that have to end, for a pod that fits nowhere: the scheduler's default preemption.

Every candidate is tried out on the engine itself (pods are taken off and put back), so that exactly the filters that
schedule also judge here; afterwards the engine is as it was. Source: kubernetes v1.34,
``pkg/scheduler/framework/preemption`` and ``plugins/defaultpreemption``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mlfn_sim.kube.decisions import Rejection
from mlfn_sim.kube.objects import PodShape, Selector

__all__ = [
    "CURABLE",
    "Budget",
    "Candidates",
    "Filters",
    "Resident",
    "Victims",
    "best",
    "candidates",
    "rejection_with_nominated",
    "victims_on",
]

CURABLE = frozenset(("NodePorts", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity"))
"""The filters whose rejection the end of a pod could lift."""
_LEAST_CANDIDATES, _CANDIDATE_PERCENT = 100, 10
_PRIORITY_OFFSET = 2**31
"""Added to every priority that is summed, so that one more victim never makes a sum smaller."""


class Filters(Protocol):
    """What is asked of an engine."""

    def rejection(self, shape: PodShape, node: int) -> Rejection | None:
        """Return why a pod cannot go onto a node now."""

    def place(self, shape: PodShape, node: int) -> None:
        """Put a pod onto a node."""

    def remove(self, shape: PodShape, node: int) -> None:
        """Take a pod off a node."""


@dataclass(frozen=True, slots=True)
class Resident:
    """Hold a pod on a node."""

    pod: int
    shape: PodShape
    started_us: int
    terminating: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """Hold a PodDisruptionBudget: how many of the selected pods may be ended now."""

    namespace: str
    selector: Selector
    allowed: int


@dataclass(frozen=True, slots=True)
class Victims:
    """Say which pods have to end on a node, and how many of them a budget protects."""

    node: int
    pods: tuple[Resident, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Hold what a search for victims looks at."""

    nodes: Sequence[int]
    """Those that a curable filter rejected, in the scheduler's order."""
    residents: Mapping[int, Sequence[Resident]]
    """Node -> the pods there, in the order in which they came."""
    budgets: Sequence[Budget] = ()
    nominated: Mapping[int, Sequence[PodShape]] = field(default_factory=dict)
    """Node -> the pods that wait for it."""
    draw: float = 0.0
    """From [0, 1): where the search begins."""


def rejection_with_nominated(
    engine: Filters, shape: PodShape, node: int, nominated: Iterable[PodShape]
) -> Rejection | None:
    """Return why a pod cannot go onto a node, were the pods there that wait for it and are no less important."""
    there = [each for each in nominated if each.priority >= shape.priority]
    if there:
        for each in there:
            engine.place(each, node)
        found = engine.rejection(shape, node)
        for each in there:
            engine.remove(each, node)
        if found is not None:
            return found
    # Once more without them: they may never come, and an affinity to them would then not be met.
    return engine.rejection(shape, node)


def candidates(engine: Filters, shape: PodShape, search: Candidates) -> list[Victims]:
    """Return the nodes that would do, with their victims: first those that hurt no budget."""
    count = len(search.nodes)
    wanted = min(count, max(_LEAST_CANDIDATES, count * _CANDIDATE_PERCENT // 100))
    offset = int(search.draw * count)
    harmless: list[Victims] = []
    harmful: list[Victims] = []
    for step in range(count):
        found = victims_on(engine, shape, search.nodes[(offset + step) % count], search)
        if found is None:
            continue
        (harmful if found.violations else harmless).append(found)
        if harmless and len(harmless) + len(harmful) >= wanted:
            break
    return harmless + harmful


def victims_on(engine: Filters, shape: PodShape, node: int, search: Candidates) -> Victims | None:
    """Return the fewest important pods whose end lets a pod onto a node, None when even the end of all does not."""
    lesser = [each for each in search.residents.get(node, ()) if each.shape.priority < shape.priority]
    if not lesser:
        return None
    lesser.sort(key=_importance)
    nominated = search.nominated.get(node, ())
    for each in lesser:
        engine.remove(each.shape, node)
    victims: list[Resident] = []
    violations = 0
    fits = rejection_with_nominated(engine, shape, node, nominated) is None
    protected, free = _by_budget(lesser, search.budgets)
    for group in (protected, free):
        for each in group:
            engine.place(each.shape, node)
            if fits and rejection_with_nominated(engine, shape, node, nominated) is not None:
                engine.remove(each.shape, node)
                victims.append(each)
                violations += group is protected
    for each in victims:
        engine.place(each.shape, node)
    if not victims:
        return None
    return Victims(node, tuple(sorted(victims, key=_importance)), violations)


def best(found: Sequence[Victims]) -> tuple[Victims, ...]:
    """Return the candidates that hurt least; among those that are left the scheduler takes any."""
    least = min(map(_harm, found), default=None)
    return tuple(each for each in found if _harm(each) == least)


def _harm(candidate: Victims) -> tuple[int, int, int, int, int]:
    priorities = [each.shape.priority for each in candidate.pods]
    highest = max(priorities)
    earliest = min(each.started_us for each in candidate.pods if each.shape.priority == highest)
    total = sum(priority + _PRIORITY_OFFSET for priority in priorities)
    return candidate.violations, highest, total, len(priorities), -earliest


def _importance(resident: Resident) -> tuple[int, int]:
    """Order by priority, the older of equals first."""
    return -resident.shape.priority, resident.started_us


def _by_budget(pods: Sequence[Resident], budgets: Sequence[Budget]) -> tuple[list[Resident], list[Resident]]:
    """Divide pods into those whose end a budget forbids, and the others; each uses up what its budgets allow."""
    left = [budget.allowed for budget in budgets]
    protected: list[Resident] = []
    free: list[Resident] = []
    for each in pods:
        hurt = False
        for i, budget in enumerate(budgets):
            if _covers(budget, each.shape):
                left[i] -= 1
                hurt = hurt or left[i] < 0
        (protected if hurt else free).append(each)
    return protected, free


def _covers(budget: Budget, shape: PodShape) -> bool:
    if not shape.labels or not budget.selector.requirements or budget.namespace != shape.namespace:
        return False
    return budget.selector.matches(dict(shape.labels))
