"""Where "5,000 nodes, fewer than ten constraints, some 15 functions per second" comes from: what would give it.

Each origin is a rate with the assumption behind it. *modelled* ones are worked out here by the service-time model;
*limits* are defaults of Kubernetes' clients, worked out from what a function costs them; *measured* and *reported* ones
are other people's systems, told with their source.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlfn_sim.scaling.constraints import CONSTRAINTS
from mlfn_sim.scaling.values import DESIGNS

__all__ = ["CLAIM_NODES", "CLAIM_PER_S", "Origin", "capacity_per_s", "most_constraints", "origins"]

CLAIM_NODES = 5_000
CLAIM_PER_S = 15.0
_SCHEDULER_QPS = 50
"""kube-scheduler, ``clientConnection.qps``; one bind for each pod."""
_CONTROLLER_QPS = 20
"""kube-controller-manager, ``--kube-api-qps``, for each controller."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Hold a rate and what it rests on."""

    what: str
    per_s: float
    kind: str
    assumption: str


def capacity_per_s(design: str, nodes: int, constraints: int, speed: float = 1.0) -> float:
    """Return the pods/s at which a design's cycles follow each other without a pause, conflicts apart."""
    found = next(each for each in DESIGNS if each.name == design)
    return found.copies * 1e6 / found.cycle_us(nodes, constraints, speed)


def most_constraints(design: str, nodes: int, per_s: float, speed: float = 1.0) -> int:
    """Return with how many of the ten constraints a design still schedules so many pods/s; -1: not even with none."""
    counts = range(len(CONSTRAINTS), -1, -1)
    return next((count for count in counts if capacity_per_s(design, nodes, count, speed) >= per_s), -1)


def origins(speed: float = 1.0) -> tuple[Origin, ...]:
    """Return what has been said to be, or would be, the limit at 5,000 nodes; the fastest first."""
    most = most_constraints("default", CLAIM_NODES, CLAIM_PER_S, speed)
    modelled = [
        Origin(
            f"kube-scheduler, {count} constraints",
            round(capacity_per_s("default", CLAIM_NODES, count, speed), 1),
            "modelled",
            "one scheduler, no other limit; the service-time model, with as many pods there as nodes",
        )
        for count in sorted({0, max(0, most), min(most + 1, len(CONSTRAINTS)), len(CONSTRAINTS)})
    ]
    limits = [
        Origin("the scheduler's client", _SCHEDULER_QPS, "limit", "default of 50 calls/s; one bind for each pod"),
        Origin("a controller's client", _CONTROLLER_QPS, "limit", "default of 20 calls/s; one call creates a pod"),
        Origin(
            "a controller's client, with the status",
            _CONTROLLER_QPS / 2,
            "limit",
            "the same; one more call for each pod (the owner's status)",
        ),
    ]
    others = [
        Origin("Skippy, a scheduler in Python, 10 constraints", 26, "measured", "skippy-core, all nodes scored, 2026"),
        Origin("Skippy, 15 constraints", 18, "measured", "on hardware of 2020 about 15/s at 10 constraints"),
        Origin("a Kubernetes user in May 2019", 15, "reported", "kubernetes/kubernetes#78208: 55,000 pods, 15+ pods/s"),
        Origin(
            "Knative, sandboxes created", 2, "reported", "Dirigent (SOSP 2024): theirs makes 2,500/s, 1250 times it"
        ),
    ]
    return tuple(sorted((*modelled, *limits, *others), key=lambda origin: -origin.per_s))
