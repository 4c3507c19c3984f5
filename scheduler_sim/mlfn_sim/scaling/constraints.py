"""Ten constraints that a function's pod can carry, from cheap to dear, each with its price for the scheduler.

The prices come from what kube-scheduler's own benchmark asks of it (kubernetes/kubernetes, test/integration/
scheduler_perf, ``threshold`` of each workload; 5,000 nodes unless said): the time that a pod with the constraint takes
beyond a pod without, for each node of the cluster. The thresholds are floors that a slow machine has to pass too, so
the prices are upper bounds. One price is ours: soft spreading, which the service-time model was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mlfn_policies.kube_service_time import DEFAULT
from mlfn_sim.kube.catalog import ZONE
from mlfn_sim.kube.objects import HOSTNAME, Affinity, NodeTerm, PodShape, PodTerm, Requirement, Selector, Spread

__all__ = ["CONSTRAINTS", "DEVICE", "KIND", "Constraint", "constrained", "price_us"]

DEVICE = "example.com/device"
KIND = "example.com/kind"
_PLAIN_PER_S = 680.0
"""SchedulingBasic, 10,000 pods: no constraint."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """Hold a constraint: how it is put onto a pod, and what it costs."""

    name: str
    add: Callable[[PodShape], PodShape]
    threshold_per_s: float
    """Pods/s that scheduler_perf asks for; 0: the price is that of the service-time model."""
    nodes: int = 5000
    """Nodes of that benchmark."""

    @property
    def per_node_us(self) -> float:
        """Return the microseconds that it costs for each node of the cluster."""
        if not self.threshold_per_s:
            return DEFAULT.per_spread_node_us
        return (1e6 / self.threshold_per_s - 1e6 / _PLAIN_PER_S) / self.nodes


def _itself(shape: PodShape) -> Selector:
    return Selector(tuple(Requirement(key, "In", (value,)) for key, value in shape.labels))


def _spread(shape: PodShape, key: str, skew: int, *, hard: bool) -> PodShape:
    return replace(shape, spreads=(*shape.spreads, Spread(key, skew, hard, _itself(shape))))


def _node_affinity(shape: PodShape) -> PodShape:
    return replace(shape, node_terms=(NodeTerm((Requirement(KIND, "In", ("a", "b", "c")),)),))


def _device(shape: PodShape) -> PodShape:
    return replace(shape, requests=tuple(sorted((*shape.requests, (DEVICE, 1)))))


def _pods(shape: PodShape, where: str, term: PodTerm) -> PodShape:
    terms = (*getattr(shape.affinity, where), term)
    kept = {each: getattr(shape.affinity, each) for each in ("required", "preferred", "anti_required")}
    kept["anti_preferred"] = shape.affinity.anti_preferred
    return replace(shape, affinity=Affinity(**{**kept, where: terms}))


def _term(shape: PodShape, key: str, *, everywhere: bool = False, weight: int = 0) -> PodTerm:
    return PodTerm(key, _itself(shape), frozenset() if everywhere else frozenset({shape.namespace}), weight)


CONSTRAINTS: tuple[Constraint, ...] = (
    Constraint("hard spread over zones", lambda s: _spread(s, ZONE, 5, hard=True), 460),
    Constraint("soft spread over nodes", lambda s: _spread(s, HOSTNAME, 3, hard=False), 0),
    Constraint("required node affinity", _node_affinity, 220),
    Constraint("extended resource", _device, 180),
    Constraint("preferred pod affinity", lambda s: _pods(s, "preferred", _term(s, ZONE, weight=10)), 90),
    Constraint("preferred pod anti-affinity", lambda s: _pods(s, "anti_preferred", _term(s, HOSTNAME, weight=20)), 90),
    Constraint("required pod anti-affinity", lambda s: _pods(s, "anti_required", _term(s, HOSTNAME)), 60),
    Constraint(
        "preferred anti-affinity over namespaces",
        lambda s: _pods(s, "anti_preferred", _term(s, ZONE, everywhere=True, weight=1)),
        55,
    ),
    Constraint("required pod affinity", lambda s: _pods(s, "required", _term(s, "topology.kubernetes.io/region")), 35),
    Constraint(
        "required anti-affinity over namespaces",
        lambda s: _pods(s, "anti_required", _term(s, HOSTNAME, everywhere=True)),
        24,
        6000,
    ),
)


def constrained(shape: PodShape, count: int) -> PodShape:
    """Return a pod with the first ``count`` constraints."""
    for constraint in CONSTRAINTS[:count]:
        shape = constraint.add(shape)
    return shape


def price_us(count: int, nodes: int) -> float:
    """Return what the first ``count`` constraints add to a cycle that reads so many nodes for them."""
    return nodes * sum(constraint.per_node_us for constraint in CONSTRAINTS[:count])
