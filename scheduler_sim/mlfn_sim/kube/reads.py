"""Count what a pod's constraints make kube-scheduler read in a cycle: what the service-time model is asked about."""

from __future__ import annotations

from mlfn_policies.kube_service_time import Constraints
from mlfn_sim.kube.objects import Affinity, PodShape

__all__ = ["constraints_of", "weighs_others"]

_NATIVE = frozenset(("cpu", "memory", "ephemeral-storage", "pods"))


def weighs_others(affinity: Affinity) -> bool:
    """Tell whether a pod's terms are read when others are scored: all but those that forbid."""
    return bool(affinity.required or affinity.preferred or affinity.anti_preferred)


def constraints_of(shape: PodShape, nodes: int, pods: int, weighing: int, *, default_spreads: int) -> Constraints:
    """Return what is read for a pod on a cluster of so many nodes and pods, ``weighing`` of which weigh others.

    ``default_spreads`` are the profile's own constraints, for a pod of a Service or controller without any.
    """
    hard = sum(each.hard for each in shape.spreads)
    soft = len(shape.spreads) - hard if shape.spreads else default_spreads * (shape.owned_by is not None)
    affinity = shape.affinity
    prefers = bool(affinity.preferred or affinity.anti_preferred)
    return Constraints(
        spread_pods=soft * pods,
        hard_spread_nodes=hard * nodes,
        affine_nodes=nodes if shape.node_terms is not None else 0,
        extended_nodes=nodes if any(name not in _NATIVE for name, _ in shape.requests) else 0,
        preferred_pods=pods if prefers else 0,
        anti_pods=pods if affinity.anti_required else 0,
        near_pods=pods if affinity.required else 0,
        term_pods=0 if prefers else weighing,
    )
