"""A cluster whose nodes come, go and change by name, over an engine that numbers them anew each time.

Numbers of nodes that callers see are given out once and never again. Nodes keep the order that the scheduler's cache
gives them: zones in turn, new ones last.
Source: kubernetes v1.34, ``backend/cache/node_tree.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from mlfn_sim.kube.engine import Decider as Engine
from mlfn_sim.kube.node_columns import zone_of
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.preemption import Resident
from mlfn_sim.kube.reads import weighs_others

__all__ = ["Engine", "LiveCluster"]


class LiveCluster:
    """Hold nodes, pods on them, and the engine that decides."""

    def __init__(self, nodes: Iterable[NodeSpec], make: Callable[[tuple[NodeSpec, ...]], Engine]) -> None:
        self._zones: dict[tuple[str, str], dict[str, NodeSpec]] = {}
        self._residents: dict[str, dict[int, Resident]] = {}
        self.pods = self.weighing = 0
        """How many pods are on nodes, and how many of them weigh others."""
        self._numbers: dict[str, int] = {}
        self._index: dict[str, int] = {}
        self._ending: dict[PodShape, PodShape] = {}
        for node in (given := tuple(nodes)):
            self._insert(node)
        self.engine = make(given)
        self._reindex()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of every node there ever was, by its number."""
        return tuple(self._numbers)

    @property
    def nodes(self) -> Sequence[NodeSpec]:
        """Return the nodes that are there, as the engine numbers them."""
        return self.engine.catalog.nodes

    def number(self, index: int) -> int:
        """Return the number of the node that the engine calls ``index``; -1 stays -1."""
        return self._numbers[self.nodes[index].name] if index >= 0 else -1

    def index(self, name: str) -> int | None:
        """Return what the engine calls a node, None when it is not there."""
        return self._index.get(name)

    def residents(self, name: str) -> tuple[Resident, ...]:
        """Return the pods on a node, in the order in which they came."""
        return tuple(self._residents.get(name, {}).values())

    def _count(self, resident: Resident, change: int) -> None:
        self.pods += change
        self.weighing += change * weighs_others(resident.shape.affinity)

    def resident(self, pod: int, name: str) -> Resident:
        """Return one pod on a node."""
        return self._residents[name][pod]

    def place(self, resident: Resident, name: str) -> None:
        """Put a pod onto a node."""
        self._count(resident, 1)
        self._residents[name][resident.pod] = resident
        self.engine.place(resident.shape, self._index[name])

    def note(self, resident: Resident, name: str) -> None:
        """Replace what is known of a pod on a node; one that ends holds what it held, but is no longer spread over."""
        if resident.terminating and not resident.shape.terminating:
            ending = self._ending.setdefault(resident.shape, replace(resident.shape, terminating=True))
            self.engine.remove(resident.shape, self._index[name])
            self.engine.place(ending, self._index[name])
            resident = replace(resident, shape=ending)
        self._residents[name][resident.pod] = resident

    def remove(self, pod: int, name: str) -> Resident | None:
        """Take a pod off a node, None when it is not there (any more)."""
        found = self._residents.get(name, {}).pop(pod, None)
        if found is not None:
            self._count(found, -1)
            self.engine.remove(found.shape, self._index[name])
        return found

    def add(self, node: NodeSpec) -> None:
        """Add a node."""
        if node.name in self._index:
            raise ValueError(f"node {node.name!r} is there already")
        self._insert(node)
        self._renumber()

    def drop(self, name: str) -> tuple[NodeSpec, tuple[Resident, ...]]:
        """Remove a node, and return it with the pods that were there."""
        zone = self._zone_of(name)
        node = self._zones[zone].pop(name)
        if not self._zones[zone]:
            del self._zones[zone]
        gone = tuple(self._residents.pop(name).values())
        for resident in gone:
            self._count(resident, -1)
        self._renumber()
        return node, gone

    def change(self, node: NodeSpec) -> NodeSpec:
        """Replace what a node has, and return what it had; in another zone it is the newest."""
        old, new = self._zone_of(node.name), zone_of(node)
        before = self._zones[old][node.name]
        if old == new:
            self._zones[old][node.name] = node
        else:
            del self._zones[old][node.name]
            if not self._zones[old]:
                del self._zones[old]
            self._zones.setdefault(new, {})[node.name] = node
        self._renumber()
        return before

    def _insert(self, node: NodeSpec) -> None:
        self._zones.setdefault(zone_of(node), {})[node.name] = node
        self._residents.setdefault(node.name, {})
        self._numbers.setdefault(node.name, len(self._numbers))

    def _zone_of(self, name: str) -> tuple[str, str]:
        index = self._index.get(name)
        if index is None:
            raise ValueError(f"there is no node {name!r}")
        return zone_of(self.nodes[index])

    def _renumber(self) -> None:
        members = [tuple(zone.values()) for zone in self._zones.values()]
        longest = max(map(len, members), default=0)
        # In the order of their turns, which is the order that the engine derives from it again.
        self.engine.change_nodes(tuple(zone[turn] for turn in range(longest) for zone in members if turn < len(zone)))
        self._reindex()

    def _reindex(self) -> None:
        self._index = {node.name: i for i, node in enumerate(self.nodes)}
