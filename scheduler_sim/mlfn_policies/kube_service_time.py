"""How long one scheduling cycle of kube-scheduler takes: a sum of terms, fitted to the real scheduler's throughput.

    t = base + scored x per_scored + overrun x per_overrun + spread nodes x per_spread_node + what is read for the rest

*scored* are the nodes that are scored; *overrun* the nodes that the 16 workers still filter after enough were found, at
most a chunk each (``pkg/scheduler/framework/parallelize``: a chunk is sqrt(N), at most N/16 + 1); soft spreading reads
every node of the cluster once. :class:`Constraints` lists what the others read. The figures are of one machine:
``speed`` scales them to another. How they were found, and how far off: docs/explanation/scheduler-service-time.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = [
    "DEFAULT",
    "NO_CONSTRAINTS",
    "WORKERS",
    "Constraints",
    "ServiceTime",
    "constraints_us",
    "cycle_us",
    "overrun",
]

WORKERS = 16
"""kube-scheduler's ``parallelism``."""


class ServiceTime(NamedTuple):
    """Hold the coefficients, in microseconds."""

    base_us: float
    per_scored_us: float
    per_overrun_us: float
    per_spread_node_us: float
    per_spread_pod_us: float = 0.0
    per_hard_spread_node_us: float = 0.0
    per_affine_node_us: float = 0.0
    per_extended_node_us: float = 0.0
    per_preferred_pod_us: float = 0.0
    per_anti_pod_us: float = 0.0
    per_near_pod_us: float = 0.0
    per_term_pod_us: float = 0.0


class Constraints(NamedTuple):
    """Count what a pod's constraints make the scheduler read, beside the nodes that soft spreading reads."""

    spread_pods: int = 0
    """Pods of the cluster, for each soft spread constraint (the two default ones of a Service's pod included)."""
    hard_spread_nodes: int = 0
    """Nodes of the cluster, for each hard spread constraint."""
    affine_nodes: int = 0
    """Nodes of the cluster, if it has a required node affinity."""
    extended_nodes: int = 0
    """Nodes of the cluster, if it asks for an extended resource."""
    preferred_pods: int = 0
    """Pods of the cluster, if it would rather be near or away from some."""
    anti_pods: int = 0
    """Pods of the cluster, if it may not be near some."""
    near_pods: int = 0
    """Pods of the cluster, if it has to be near some."""
    term_pods: int = 0
    """Pods of the cluster that would rather be near or away from some, or have to be near, if this one would not."""


NO_CONSTRAINTS = Constraints()
DEFAULT = ServiceTime(
    base_us=137.1205,
    per_scored_us=1.2384,
    per_overrun_us=0.2081,
    per_spread_node_us=0.2887,
    per_spread_pod_us=0.068,
    per_hard_spread_node_us=0.1531,
    per_affine_node_us=0.6274,
    per_extended_node_us=0.8294,
    per_preferred_pod_us=1.2937,
    per_anti_pod_us=7.6291,
    per_near_pod_us=3.6217,
    per_term_pod_us=0.9557,
)
"""Fitted by benchmarks/scheduler_service_time.py to half of the points."""


def overrun(nodes: int, scored: int) -> int:
    """Return how many more nodes the workers look at once enough are found; 0 where all are scored."""
    if scored >= nodes:
        return 0
    chunk = max(1, min(math.isqrt(nodes), nodes // WORKERS + 1))
    return min(nodes - scored, WORKERS * chunk)


def cycle_us(model: ServiceTime, nodes: int, scored: int, spread_nodes: int, speed: float = 1.0) -> float:
    """Return the length of a cycle without what :func:`constraints_us` adds.

    ``spread_nodes`` is the cluster's size if the pod is spread softly, else 0.
    """
    total = (
        model.base_us
        + model.per_scored_us * scored
        + model.per_overrun_us * overrun(nodes, scored)
        + model.per_spread_node_us * spread_nodes
    )
    return total / speed


def constraints_us(model: ServiceTime, constraints: Constraints, speed: float = 1.0) -> float:
    """Return what the other constraints of a pod add to its cycle."""
    prices = model[-len(constraints) :]
    return sum(price * count for price, count in zip(prices, constraints, strict=True)) / speed
