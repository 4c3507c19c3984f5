"""Ten constraints that a function's pod can carry, from cheap to dear, and what they cost the scheduler.

The prices are those of the service-time model (docs/explanation/scheduler-service-time.md): some for each node of the
cluster, some for each pod that is there. There are taken to be as many pods as nodes, as in the benchmark that the
model was fitted to; with ten times as many, constraints about other pods cost ten times as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mlfn_policies.kube_service_time import DEFAULT, Constraints, constraints_us
from mlfn_sim.kube.catalog import REGION, ZONE
from mlfn_sim.kube.objects import HOSTNAME, NodeTerm, PodShape, PodTerm, Requirement, Selector, Spread

__all__ = ["CONSTRAINTS", "DEVICE", "KIND", "PODS_PER_NODE", "Constraint", "constrained", "price_us"]

PODS_PER_NODE = 1

DEVICE = "example.com/device"
KIND = "example.com/kind"


@dataclass(frozen=True, slots=True)
class Constraint:
    """Hold a constraint: how it is put onto a pod, and what the scheduler reads for it."""

    name: str
    add: Callable[[PodShape], PodShape]
    reads: str
    """Term of the service-time model."""


def _itself(shape: PodShape) -> Selector:
    return Selector(tuple(Requirement(key, "In", (value,)) for key, value in shape.labels))


def _spread(shape: PodShape, key: str, skew: int, *, hard: bool) -> PodShape:
    return replace(shape, spreads=(*shape.spreads, Spread(key, skew, hard, _itself(shape))))


def _node_affinity(shape: PodShape) -> PodShape:
    return replace(shape, node_terms=(NodeTerm((Requirement(KIND, "In", ("a", "b", "c")),)),))


def _device(shape: PodShape) -> PodShape:
    return replace(shape, requests=tuple(sorted((*shape.requests, (DEVICE, 1)))))


def _pods(shape: PodShape, where: str, key: str, weight: int = 0) -> PodShape:
    term = PodTerm(key, _itself(shape), frozenset({shape.namespace}), weight)
    affinity = shape.affinity
    return replace(shape, affinity=replace(affinity, **{where: (*getattr(affinity, where), term)}))


CONSTRAINTS: tuple[Constraint, ...] = (
    Constraint("hard spread over zones", lambda s: _spread(s, ZONE, 5, hard=True), "hard_spread_nodes"),
    Constraint("hard spread over nodes", lambda s: _spread(s, HOSTNAME, 5, hard=True), "hard_spread_nodes"),
    Constraint("soft spread over nodes", lambda s: _spread(s, HOSTNAME, 3, hard=False), "spread_pods"),
    Constraint("soft spread over zones", lambda s: _spread(s, ZONE, 3, hard=False), "spread_pods"),
    Constraint("required node affinity", _node_affinity, "affine_nodes"),
    Constraint("extended resource", _device, "extended_nodes"),
    Constraint("preferred pod affinity", lambda s: _pods(s, "preferred", ZONE, 10), "preferred_pods"),
    Constraint("preferred pod anti-affinity", lambda s: _pods(s, "anti_preferred", HOSTNAME, 20), "preferred_pods"),
    Constraint("required pod affinity", lambda s: _pods(s, "required", REGION), "near_pods"),
    Constraint("required pod anti-affinity", lambda s: _pods(s, "anti_required", HOSTNAME), "anti_pods"),
)


def constrained(shape: PodShape, count: int) -> PodShape:
    """Return a pod with the first ``count`` constraints."""
    for constraint in CONSTRAINTS[:count]:
        shape = constraint.add(shape)
    return shape


def price_us(count: int, nodes: int) -> float:
    """Return what the first ``count`` constraints add to a cycle that reads so many nodes, and their pods."""
    pods = nodes * PODS_PER_NODE
    reads: dict[str, int] = {}
    for constraint in CONSTRAINTS[:count]:
        amount = pods if constraint.reads.endswith("_pods") else nodes
        # The model counts each spread, but preferences about other pods once, however many.
        reads[constraint.reads] = amount + (reads.get(constraint.reads, 0) if "spread" in constraint.reads else 0)
    soft = nodes if "spread_pods" in reads else 0
    return constraints_us(DEFAULT, Constraints(**reads)) + DEFAULT.per_spread_node_us * soft
