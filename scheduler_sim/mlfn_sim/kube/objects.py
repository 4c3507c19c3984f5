"""Nodes and pods as the scheduler sees them: frozen values, with what their selectors match.

A :class:`PodShape` is all of a pod but its name: functions have few distinct shapes, so that everything which depends
on the shape alone is worked out once. Pure; reading Kubernetes' JSON is :mod:`mlfn_sim.kube.reading`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "HOSTNAME",
    "Affinity",
    "Effect",
    "NodeSpec",
    "NodeTerm",
    "Pod",
    "PodShape",
    "PodTerm",
    "Requirement",
    "Selector",
    "Spread",
    "Taint",
    "Toleration",
    "whole_number",
]

HOSTNAME = "kubernetes.io/hostname"
_DIGITS = re.compile(r"[+-]?[0-9]{1,19}")


class Effect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, slots=True)
class Taint:
    """Keep pods away."""

    key: str
    value: str
    effect: Effect

    @property
    def keeps_away(self) -> bool:
        """Tell whether the taint forbids; else it only makes a node worse."""
        return self.effect is not Effect.PREFER_NO_SCHEDULE


@dataclass(frozen=True, slots=True)
class Toleration:
    """Let a pod onto nodes with some taints."""

    key: str
    operator: str
    """``Exists``, or ``Equal`` (also for an empty one)."""
    value: str
    effect: str
    """Empty: any."""

    def tolerates(self, taint: Taint) -> bool:
        """Tell whether a taint is met."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or self.value == taint.value


@dataclass(frozen=True, slots=True)
class Requirement:
    """Ask something of one label; ``NotIn`` and ``DoesNotExist`` hold where the label is missing."""

    key: str
    operator: str
    """``In``, ``NotIn``, ``Exists``, ``DoesNotExist``, ``Gt`` or ``Lt``."""
    values: tuple[str, ...]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels meet it."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        seen, bound = whole_number(value), whole_number(self.values[0])
        if seen is None or bound is None:
            return False
        return seen > bound if self.operator == "Gt" else seen < bound


def whole_number(text: str) -> int | None:
    """Return a number as Go's ParseInt reads it, None for what it refuses."""
    if not _DIGITS.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


@dataclass(frozen=True, slots=True)
class Selector:
    """Select pods by their labels; without requirements, all of them."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether every requirement holds."""
        return all(each.holds(labels) for each in self.requirements)


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """Ask something of a node's labels and name; a term that asks nothing matches no node."""

    labels: tuple[Requirement, ...]
    fields: tuple[Requirement, ...] = ()
    weight: int = 0
    """Of a preferred term."""

    def matches(self, node: NodeSpec) -> bool:
        """Tell whether a node is meant."""
        if not self.labels and not self.fields:
            return False
        named = {"metadata.name": node.name}
        return all(each.holds(node.labels) for each in self.labels) and all(each.holds(named) for each in self.fields)


@dataclass(frozen=True, slots=True)
class Spread:
    """Bound how unevenly matching pods may lie over the values of a topology key."""

    key: str
    max_skew: int
    hard: bool
    """``DoNotSchedule``; else ``ScheduleAnyway``."""
    selector: Selector
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(frozen=True, slots=True)
class PodTerm:
    """Name other pods to be near to, or away from, in a topology."""

    key: str
    selector: Selector
    namespaces: frozenset[str]
    """Empty: all of them."""
    weight: int = 0
    """Of a preferred term."""

    def matches(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Tell whether a pod is meant."""
        return (not self.namespaces or namespace in self.namespaces) and self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class Affinity:
    """Hold a pod's terms about other pods."""

    required: tuple[PodTerm, ...] = ()
    preferred: tuple[PodTerm, ...] = ()
    anti_required: tuple[PodTerm, ...] = ()
    anti_preferred: tuple[PodTerm, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is any term."""
        return bool(self.required or self.preferred or self.anti_required or self.anti_preferred)


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """Describe a node. cpu is in thousandths of a core, everything else in whole units."""

    name: str
    allocatable: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    images: Mapping[str, int] = field(default_factory=dict)
    """Name with tag -> bytes."""


@dataclass(frozen=True, slots=True)
class PodShape:
    """Hold all of a pod that a placement depends on; equal shapes are placed alike."""

    namespace: str = "default"
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted by key."""
    requests: tuple[tuple[str, int], ...] = ()
    """Resource -> amount above 0, sorted; cpu in thousandths of a core."""
    assumed_cpu: int = 0
    """cpu with 100m for each container that asks none (what LeastAllocated counts)."""
    assumed_memory: int = 0
    """Bytes, with 200 MiB for each container that asks none."""
    node_selector: tuple[Requirement, ...] = ()
    node_terms: tuple[NodeTerm, ...] | None = None
    """Required node affinity: one term has to match; None = no requirement, () = nothing matches."""
    preferred_nodes: tuple[NodeTerm, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    spreads: tuple[Spread, ...] = ()
    affinity: Affinity = Affinity()
    images: tuple[str, ...] = ()
    """Of every container, init containers included, with tag; what ImageLocality looks for."""
    ports: tuple[tuple[str, str, int], ...] = ()
    """Host address, protocol and host port."""
    priority: int = 0
    preempts: bool = True
    node_name: str = ""
    """The only node that will do (``spec.nodeName`` of a pod that is scheduled all the same); empty: any."""
    terminating: bool = False
    """It ends: spread constraints no longer count it, everything else does until it is gone."""
    owned_by: Selector | None = None
    """Union of the selectors of the Services and controllers that select it, for the default spread; None = none."""


@dataclass(frozen=True, slots=True)
class Pod:
    """Name a pod."""

    name: str
    shape: PodShape
