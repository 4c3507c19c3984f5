"""A cluster on the readable engine, up to the moment at which one pod's turn comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mlfn_sim.cluster.model import ClusterSnapshot
from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.decisions import Decision
from mlfn_sim.kube.objects import NodeSpec, Pod, PodShape
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reference import ReferenceEngine

__all__ = ["World", "find"]


class World:
    """Hold nodes, pods on them and an engine; changes can be tried and are taken back."""

    def __init__(self, snapshot: ClusterSnapshot, profile: Profile) -> None:
        self.nodes = snapshot.nodes
        self.profile = profile
        self.placed: list[tuple[Pod, int]] = []
        """Pod and node, in order."""
        catalog = Catalog.of(snapshot.nodes, profile)
        self.engine = ReferenceEngine(catalog, profile)
        for bound in snapshot.bound:
            self.place(bound.pod, bound.node)

    def place(self, pod: Pod, node: int) -> None:
        """Put a pod onto a node."""
        self.placed.append((pod, node))
        self.engine.place(pod.shape, node)

    def decide(self, shape: PodShape) -> Decision:
        """Ask without moving the start of the next search."""
        before = self.engine.start
        decision = self.engine.decide(shape)
        self.engine.start = before
        return decision

    def used(self, node: int) -> dict[str, int]:
        """Return what the pods on a node ask."""
        total: dict[str, int] = {}
        for pod in self.residents(node):
            for name, amount in pod.shape.requests:
                total[name] = total.get(name, 0) + amount
        return total

    def residents(self, node: int) -> list[Pod]:
        """Return the pods on a node."""
        return [pod for pod, where in self.placed if where == node]

    @contextmanager
    def without(self, gone: list[tuple[PodShape, int]]) -> Iterator[None]:
        """Take shapes off nodes for a while."""
        for shape, node in gone:
            self.engine.remove(shape, node)
        try:
            yield
        finally:
            for shape, node in gone:
                self.engine.place(shape, node)

    def with_node(self, node: int, changed: NodeSpec) -> World:
        """Return the same world with one node changed."""
        nodes = (*self.nodes[:node], changed, *self.nodes[node + 1 :])
        other = World(ClusterSnapshot(nodes), self.profile)
        for pod, where in self.placed:
            other.place(pod, where)
        other.engine.start = self.engine.start
        return other


def find(snapshot: ClusterSnapshot, name: str) -> tuple[Pod, int, ClusterSnapshot]:
    """Return a pod, its node (-1: it waits), and the cluster without it. Raises RecordingError."""
    home, _, short = name.rpartition("/")

    def meant(pod: Pod) -> bool:
        return pod.name == short and (not home or pod.shape.namespace == home)

    there = [each for each in snapshot.bound if meant(each.pod)]
    waiting = [pod for pod in snapshot.pending if meant(pod)]
    if len(there) + len(waiting) > 1:
        homes = ", ".join(sorted(pod.shape.namespace for pod in (*(each.pod for each in there), *waiting)))
        raise RecordingError(f"the pod {name!r} is in several namespaces ({homes}); name it as NAMESPACE/NAME")
    if there:
        return there[0].pod, there[0].node, replace(snapshot, bound=tuple(b for b in snapshot.bound if b != there[0]))
    if waiting:
        return waiting[0], -1, snapshot
    some = [pod.name for pod in (*snapshot.pending, *(each.pod for each in snapshot.bound))][:3]
    known = f"; there are {', '.join(some)}, for instance" if some else "; the cluster has no pods"
    raise RecordingError(f"there is no pod {name!r}{known}")
