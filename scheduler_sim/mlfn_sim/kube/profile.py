"""What a scheduler is configured to do: plugin weights, the resource strategy, how many nodes are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlfn_sim.kube.objects import NodeTerm

__all__ = ["FILTERS", "SCORES", "Profile", "Strategy"]

FILTERS = (
    "NodeUnschedulable",
    "NodeName",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "PodTopologySpread",
    "InterPodAffinity",
)
"""The filters of the default profile that can reject a function's pod, in their order."""

SCORES: Mapping[str, int] = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "NodeResourcesFit": 1,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}
"""The scoring plugins of the default profile, with their weights."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """Say how NodeResourcesFit scores."""

    kind: str = "LeastAllocated"
    """``LeastAllocated``, ``MostAllocated`` or ``RequestedToCapacityRatio``."""
    resources: tuple[tuple[str, int], ...] = (("cpu", 1), ("memory", 1))
    """(resource, weight)."""
    utilizations: tuple[int, ...] = ()
    """Of the ratio's shape, in percent, rising."""
    scores: tuple[int, ...] = ()
    """Of the ratio's shape, 0 to 100 (the configuration's times ten)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Hold one scheduler's configuration; the default is that of kube-scheduler 1.34."""

    percentage: int = 0
    """percentageOfNodesToScore; 0 = adaptive."""
    weights: Mapping[str, int] = field(default_factory=lambda: dict(SCORES))
    """Enabled scoring plugins -> weight."""
    filters: frozenset[str] = frozenset(FILTERS)
    """Enabled filters."""
    strategy: Strategy = Strategy()
    balanced: tuple[str, ...] = ("cpu", "memory")
    """Resources of NodeResourcesBalancedAllocation."""
    hard_affinity_weight: int = 1
    default_spreads: tuple[tuple[str, int], ...] = (("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5))
    """(key, max skew) for pods without constraints of their own that a Service or controller owns."""
    system_spread: bool = True
    """Those are the system's own: nodes without their keys are scored too (defaultingType System)."""
    added_terms: tuple[NodeTerm, ...] | None = None
    """Required node affinity that the profile adds to every pod (addedAffinity); None = none."""
    initial_backoff_s: float = 1.0
    max_backoff_s: float = 10.0
