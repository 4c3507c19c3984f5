"""Ask all nodes at once: one column a question, each kind of node asked once.

Nodes are many, and differ in little that a pod asks for: a requirement is asked of every *value* that a label has, a
toleration of every *kind* of taints, an image of every kind of image list; the answers are then spread over the nodes.
Equal questions get the same array, which callers share and never change. Knows nothing of shapes and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mlfn_policies.kube_scores import image_score
from mlfn_sim.kube.objects import NodeSpec, NodeTerm, Requirement, Taint, Toleration

__all__ = [
    "REGION",
    "ZONE",
    "Bools",
    "Ints",
    "NodeColumns",
    "Topology",
    "snapshot_order",
    "untolerated_among",
    "zone_of",
]

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
_OLD_ZONE, _OLD_REGION = "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Column = npt.NDArray[Any]
_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Topology:
    """Hold which value of a label key each node has."""

    key: str
    value: Ints
    """By node: a number per distinct value, -1 where the label is missing."""
    values: tuple[str, ...]
    """Every value that some node has or once had."""


class NodeColumns:
    """Answer questions about all nodes."""

    def __init__(self, nodes: tuple[NodeSpec, ...]) -> None:
        self._labels: dict[str, tuple[dict[str, int], Ints]] = {}
        """Label key -> number of each value, and the column of numbers."""
        self._taints: dict[tuple[Taint, ...], int] = {}
        self._images: dict[frozenset[tuple[str, int]], int] = {}
        """(name, bytes) of every image of a node -> number of the kind."""
        none = np.zeros(0, np.int64)
        self._taint_kind, self._image_kind = none, none
        self.nodes: tuple[NodeSpec, ...] = ()
        self.change(nodes)

    def change(self, nodes: tuple[NodeSpec, ...]) -> Ints:
        """Take other nodes, and return for each its former place (-1: it is new). Only changed nodes are read."""
        former, old = {node.name: i for i, node in enumerate(self.nodes)}, self.nodes
        came = np.array([former.get(node.name, -1) for node in nodes], np.int64)
        fresh = [i for i, place in enumerate(came.tolist()) if place < 0 or old[place] is not nodes[i]]
        self.nodes = nodes
        self._answers: dict[Hashable, Any] = {}
        self._index: dict[str, int] = {}

        def carried(column: Ints, number: Callable[[NodeSpec], int]) -> Ints:
            moved = column[came] if len(column) else np.empty(len(nodes), np.int64)
            for i in fresh:
                moved[i] = number(nodes[i])
            return moved

        self._taint_kind = carried(self._taint_kind, lambda node: _numbered(self._taints, node.taints))
        self._image_kind = carried(
            self._image_kind, lambda node: _numbered(self._images, frozenset(node.images.items()))
        )
        for key, (numbers, column) in self._labels.items():
            self._labels[key] = numbers, carried(column, _label_number(key, numbers))
        return came

    def answer(self, question: Hashable, work_out: Callable[[], Any]) -> Any:
        """Return what was worked out for an equal question, or work it out."""
        if question not in self._answers:
            self._answers[question] = work_out()
        return self._answers[question]

    def topology(self, key: str) -> Topology:
        """Return the values of a label; a value's number never changes."""
        if key not in self._labels:
            numbers: dict[str, int] = {}
            number = _label_number(key, numbers)
            self._labels[key] = numbers, np.array([number(node) for node in self.nodes], np.int64)
        numbers, column = self._labels[key]
        found: Topology = self.answer(("topology", key), lambda: Topology(key, column, tuple(numbers)))
        return found

    def everywhere(self) -> Bools:
        """Return a column that is true everywhere."""
        found: Bools = self.answer("everywhere", lambda: np.ones(len(self.nodes), np.bool_))
        return found

    def unschedulable(self) -> Bools:
        """Tell which nodes are cordoned."""
        found: Bools = self.answer(
            "unschedulable", lambda: np.array([node.unschedulable for node in self.nodes], np.bool_)
        )
        return found

    def named(self, name: str) -> Bools:
        """Tell which node has a name."""
        return self._by_name(Requirement("metadata.name", "In", (name,)))

    def having(self, keys: Sequence[str]) -> Bools:
        """Tell which nodes have all of some labels."""
        found = self.everywhere()
        for key in dict.fromkeys(keys):
            found = found & (self.topology(key).value >= 0)
        return found

    def meeting(self, requirements: Sequence[Requirement], terms: tuple[NodeTerm, ...] | None) -> Bools:
        """Tell which nodes meet a node selector and, with terms, at least one of these."""

        def work_out() -> Bools:
            met = self.everywhere()
            for each in requirements:
                met = met & self._by_label(each)
            if terms is None:
                return met
            wanted = np.zeros(len(self.nodes), np.bool_)
            for term in terms:
                wanted |= self.matching(term)
            return met & wanted

        found: Bools = self.answer(("meeting", tuple(requirements), terms), work_out)
        return found

    def matching(self, term: NodeTerm) -> Bools:
        """Tell which nodes a term means; one that asks nothing means none."""
        if not term.labels and not term.fields:
            return np.zeros(len(self.nodes), np.bool_)
        found = self.everywhere()
        for each in term.labels:
            found = found & self._by_label(each)
        for each in term.fields:
            found = found & self._by_name(each)
        return found

    def preferred(self, terms: tuple[NodeTerm, ...]) -> npt.NDArray[np.int32]:
        """Sum the weights of the terms that mean each node."""

        def work_out() -> npt.NDArray[np.int32]:
            total = np.zeros(len(self.nodes), np.int32)
            for term in terms:
                total += term.weight * self.matching(term).astype(np.int32)
            return total

        found: npt.NDArray[np.int32] = self.answer(("preferred", terms), work_out)
        return found

    def by_taints(self, question: Hashable, ask: Callable[[tuple[Taint, ...]], int]) -> npt.NDArray[np.int32]:
        """Ask every kind of taints once."""
        found: npt.NDArray[np.int32] = self.answer(
            ("taints", question), lambda: _spread([ask(taints) for taints in self._taints], self._taint_kind, np.int32)
        )
        return found

    def image_scores(self, images: tuple[str, ...]) -> npt.NDArray[np.int8]:
        """Score ImageLocality for a pod with these images."""

        def work_out() -> npt.NDArray[np.int8]:
            sizes, scores = self._image_sizes(), []
            for kind in self._images:
                there = {name for name, _ in kind}
                present = sum(sizes[image] for image in images if image in there)
                scores.append(image_score(present, len(images)) if images else 0)
            return _spread(scores, self._image_kind, np.int8)

        found: npt.NDArray[np.int8] = self.answer(("images", images), work_out)
        return found

    def _image_sizes(self) -> dict[str, int]:
        """Return what each image counts for: its size, scaled by the share of the nodes that have it.

        As in the scheduler's cache, the first node that has an image tells its size.
        """

        def work_out() -> dict[str, int]:
            kinds, total = list(self._images), len(self.nodes)
            size: dict[str, int] = {}
            having: dict[str, int] = {}
            present, first, nodes = np.unique(self._image_kind, return_index=True, return_counts=True)
            for i in np.argsort(first).tolist():
                for name, amount in kinds[present[i]]:
                    size.setdefault(name, amount)
                    having[name] = having.get(name, 0) + int(nodes[i])
            scaled = {name: int(float(amount) * (having[name] / total)) for name, amount in size.items()}
            return {name: scaled.get(name, 0) for kind in kinds for name, _ in kind}

        found: dict[str, int] = self.answer("image sizes", work_out)
        return found

    def _by_label(self, requirement: Requirement) -> Bools:
        key = requirement.key
        topology = self.topology(key)

        def work_out() -> Bools:
            asked = [requirement.holds({key: value}) for value in topology.values]
            # The last answer is that of nodes without the label: their number is -1.
            return _spread([*asked, requirement.holds({})], topology.value, np.bool_)

        found: Bools = self.answer(requirement, work_out)
        return found

    def _by_name(self, requirement: Requirement) -> Bools:
        """Ask the nodes that a requirement names; it answers alike for all others."""
        if not self._index:
            self._index = {node.name: i for i, node in enumerate(self.nodes)}
        found = np.full(len(self.nodes), requirement.holds({requirement.key: ""}))
        for name in requirement.values:
            if name in self._index:
                found[self._index[name]] = requirement.holds({requirement.key: name})
        return found


def untolerated_among(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> Taint | None:
    """Return the first taint that keeps a pod away, None when there is none."""
    for taint in taints:
        if taint.keeps_away and not any(each.tolerates(taint) for each in tolerations):
            return taint
    return None


def snapshot_order(nodes: Sequence[NodeSpec]) -> list[int]:
    """Return the nodes in the order in which the scheduler walks them: one of each zone in turn, in order of addition.

    Source: ``backend/cache/node_tree.go``.
    """
    zones: dict[tuple[str, str], list[int]] = {}
    for i, node in enumerate(nodes):
        zones.setdefault(zone_of(node), []).append(i)
    longest = max(map(len, zones.values()), default=0)
    return [members[turn] for turn in range(longest) for members in zones.values() if turn < len(members)]


def zone_of(node: NodeSpec) -> tuple[str, str]:
    """Return a node's region and zone; the labels' old names win, as in ``GetZoneKey``."""
    labels = node.labels
    region, zone = labels.get(_OLD_REGION), labels.get(_OLD_ZONE)
    return (
        labels.get(REGION, "") if region is None else region,
        labels.get(ZONE, "") if zone is None else zone,
    )


def _label_number(key: str, numbers: dict[str, int]) -> Callable[[NodeSpec], int]:
    def number(node: NodeSpec) -> int:
        value = node.labels.get(key)
        return -1 if value is None else numbers.setdefault(value, len(numbers))

    return number


def _numbered(kinds: dict[_K, int], kind: _K) -> int:
    return kinds.setdefault(kind, len(kinds))


def _spread(answers: Sequence[int], kind: Ints, number: type[np.generic]) -> Column:
    return np.array(answers, number)[kind] if len(kind) else np.zeros(0, number)
