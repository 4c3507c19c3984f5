"""Tell whether something that happened may make a rejected pod schedulable: the queueing hints of kube-scheduler.

Each filter that rejected a pod is asked about the event; one that says yes suffices. Source: kubernetes v1.34,
``EventsToRegister`` of the filter plugins. Changes of pods that run (labels, sizes) are not modelled: functions
replace their pods instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from mlfn_sim.kube.catalog import meets_affinity, untolerated
from mlfn_sim.kube.objects import NodeSpec, NodeTerm, PodShape, PodTerm

__all__ = [
    "Forced",
    "HappenedEvent",
    "NodeAdded",
    "NodeChanged",
    "NodeRemoved",
    "NominationGone",
    "PodAdded",
    "PodRemoved",
    "is_worth",
    "ports_clash",
]


@dataclass(frozen=True, slots=True)
class PodAdded:
    """A pod was bound, or appeared bound."""

    shape: PodShape


@dataclass(frozen=True, slots=True)
class PodRemoved:
    """A pod that held a node (bound or assumed) is gone."""

    shape: PodShape


@dataclass(frozen=True, slots=True)
class NominationGone:
    """A pod no longer waits for a node that was kept free for it: it is bound, deleted or waits for another."""

    shape: PodShape
    own: bool = False
    """It is the very pod that is asked about."""


@dataclass(frozen=True, slots=True)
class NodeAdded:
    """A node appeared."""

    node: NodeSpec


@dataclass(frozen=True, slots=True)
class NodeRemoved:
    """A node is gone."""

    node: NodeSpec


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node has other resources, labels, taints, or was cordoned or not."""

    before: NodeSpec
    after: NodeSpec

    @property
    def resources(self) -> bool:
        """Tell whether what can be allocated changed."""
        return dict(self.before.allocatable) != dict(self.after.allocatable)

    @property
    def labels(self) -> bool:
        """Tell whether the labels changed."""
        return dict(self.before.labels) != dict(self.after.labels)

    @property
    def taints(self) -> bool:
        """Tell whether the taints changed, or whether it is cordoned, which counts as the same."""
        return self.before.taints != self.after.taints or self.before.unschedulable != self.after.unschedulable


@dataclass(frozen=True, slots=True)
class Forced:
    """Someone asks for another try whatever the filters say: a wait that was too long, a changed configuration."""

    label: str = "UnschedulableTimeout"


HappenedEvent = PodAdded | PodRemoved | NominationGone | NodeAdded | NodeRemoved | NodeChanged | Forced


def is_worth(
    shape: PodShape,
    rejectors: Collection[str],
    event: HappenedEvent,
    added_terms: tuple[NodeTerm, ...] | None = None,
) -> bool:
    """Tell whether a pod that ``rejectors`` kept out should be tried again after an event.

    A pod that nobody rejected (an error sent it back) is always worth it. ``added_terms`` are the node affinity that
    the profile requires of every pod.
    """
    if not rejectors or isinstance(event, Forced):
        return True
    asked = set(rejectors) - {"NodeAffinity"} if _is_kept_out(event, added_terms) else rejectors
    return any(_HINTS[name](shape, event) for name in asked)


def _is_kept_out(event: HappenedEvent, added_terms: tuple[NodeTerm, ...] | None) -> bool:
    """Tell whether an event is about a node that the profile's own affinity keeps all pods off."""
    if added_terms is None or not isinstance(event, NodeAdded | NodeChanged):
        return False
    node = event.node if isinstance(event, NodeAdded) else event.after
    return not any(term.matches(node) for term in added_terms)


def _node_name(_: PodShape, event: HappenedEvent) -> bool:
    return isinstance(event, NodeAdded)


def _fit(shape: PodShape, event: HappenedEvent) -> bool:
    match event:
        case PodRemoved() | NominationGone():
            return True
        case NodeAdded(node):
            return _holds(shape, node)
        case NodeChanged(before, after) if event.resources:
            return _holds(shape, after) and _grew(shape, before, after)
        case _:
            return False


def _holds(shape: PodShape, node: NodeSpec) -> bool:
    """Tell whether a pod would fit onto the node if it were empty."""
    if node.allocatable.get("pods", 0) < 1:
        return False
    return all(amount <= node.allocatable.get(name, 0) for name, amount in shape.requests)


def _grew(shape: PodShape, before: NodeSpec, after: NodeSpec) -> bool:
    def more(name: str) -> bool:
        return after.allocatable.get(name, 0) > before.allocatable.get(name, 0)

    return more("pods") or any(more(name) for name, _ in shape.requests)


def _node_affinity(shape: PodShape, event: HappenedEvent) -> bool:
    match event:
        case NodeAdded(node):
            return meets_affinity(shape, node)
        case NodeChanged(before, after) if event.labels:
            return meets_affinity(shape, after) and not meets_affinity(shape, before)
        case _:
            return False


def _taints(shape: PodShape, event: HappenedEvent) -> bool:
    match event:
        case NodeAdded(node):
            return untolerated(shape, node) is None
        case NodeChanged(before, after) if event.taints:
            return untolerated(shape, before) is not None and untolerated(shape, after) is None
        case _:
            return False


def _cordon(shape: PodShape, event: HappenedEvent) -> bool:
    match event:
        case NodeAdded(node):
            return not node.unschedulable
        case NodeChanged(before, after) if event.taints:
            return before.unschedulable and not after.unschedulable
        case _:
            return False


def _ports(shape: PodShape, event: HappenedEvent) -> bool:
    match event:
        case PodRemoved(other) | NominationGone(other):
            return any(ports_clash(mine, theirs) for mine in shape.ports for theirs in other.ports)
        case NodeAdded():
            return True
        case _:
            return False


def ports_clash(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    """Tell whether two (address, protocol, port) cannot be held at once."""
    everywhere = "0.0.0.0"  # noqa: S104  # the host address that a port without one has
    return one[1:] == other[1:] and (one[0] == other[0] or everywhere in (one[0], other[0]))


def _spread(shape: PodShape, event: HappenedEvent) -> bool:
    hard = [each for each in shape.spreads if each.hard]
    match event:
        case PodAdded(other) | PodRemoved(other):
            labels = dict(other.labels)
            return other.namespace == shape.namespace and any(each.selector.matches(labels) for each in hard)
        case NominationGone(other, own):
            return own and any(each.selector.matches(dict(other.labels)) for each in hard)
        case NodeAdded(node) | NodeRemoved(node):
            return all(each.key in node.labels for each in hard)
        case NodeChanged(before, after) if event.labels or event.taints:
            was, is_now = (all(each.key in node.labels for each in hard) for node in (before, after))
            if was != is_now:
                return True
            moved = any(before.labels.get(each.key) != after.labels.get(each.key) for each in hard)
            return is_now and (moved or before.taints != after.taints)
        case _:
            return False


def _pod_affinity(shape: PodShape, event: HappenedEvent) -> bool:
    near, away = shape.affinity.required, shape.affinity.anti_required
    match event:
        case PodAdded(other):
            return bool(near) and all(_matches(term, other) for term in near)
        case PodRemoved(other):
            return bool(away) and all(_matches(term, other) for term in away)
        case NodeAdded(node):
            return bool(away) or any(term.key in node.labels for term in near)
        case NodeChanged(before, after) if event.labels:
            return any(_entered(term.key, before.labels, after.labels) for term in near) or any(
                _entered(term.key, after.labels, before.labels) for term in away
            )
        case _:
            return False


def _entered(key: str, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Tell whether a node got a value of a key, or another one."""
    return key in after and before.get(key) != after[key]


def _matches(term: PodTerm, shape: PodShape) -> bool:
    return term.matches(shape.namespace, dict(shape.labels))


_HINTS: Mapping[str, Callable[[PodShape, HappenedEvent], bool]] = {
    "NodeUnschedulable": _cordon,
    "NodeName": _node_name,
    "TaintToleration": _taints,
    "NodeAffinity": _node_affinity,
    "NodePorts": _ports,
    "NodeResourcesFit": _fit,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _pod_affinity,
}
