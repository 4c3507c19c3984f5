"""How long one scheduling cycle of kube-scheduler takes: a sum of terms, fitted to the real scheduler's throughput.

    t = base + scored x per_scored + overrun x per_overrun + spread keys' nodes x per_spread_node

*scored* are the nodes that are scored; *overrun* the nodes that the 16 workers still filter after enough were found, at
most a chunk each (``pkg/scheduler/framework/parallelize``: a chunk is sqrt(N), at most N/16 + 1); default or soft
spreading reads every node of the cluster once. The figures are of one machine: ``speed`` scales them to another.
How they were found, and how far they are off: docs/explanation/scheduler-service-time.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["DEFAULT", "WORKERS", "ServiceTime", "cycle_us", "overrun"]

WORKERS = 16
"""kube-scheduler's ``parallelism``."""


class ServiceTime(NamedTuple):
    """Hold the coefficients, in microseconds."""

    base_us: float
    per_scored_us: float
    per_overrun_us: float
    per_spread_node_us: float


DEFAULT = ServiceTime(137.12, 1.2384, 0.2081, 0.2887)
"""Fitted by benchmarks/scheduler_service_time.py to half of the measured points."""


def overrun(nodes: int, scored: int) -> int:
    """Return how many more nodes the workers look at once enough are found; 0 where all are scored."""
    if scored >= nodes:
        return 0
    chunk = max(1, min(math.isqrt(nodes), nodes // WORKERS + 1))
    return min(nodes - scored, WORKERS * chunk)


def cycle_us(model: ServiceTime, nodes: int, scored: int, spread_nodes: int, speed: float = 1.0) -> float:
    """Return the length of a cycle; ``spread_nodes`` is the cluster's size if the pod is spread softly, else 0."""
    total = (
        model.base_us
        + model.per_scored_us * scored
        + model.per_overrun_us * overrun(nodes, scored)
        + model.per_spread_node_us * spread_nodes
    )
    return total / speed
