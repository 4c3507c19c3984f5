"""Watch a simulated scheduler at work: what each cycle decided, which pods are bound and lost, how full the nodes are.

A :class:`WatchedCluster` is the cluster that the scheduler works on; it tells a workload when a pod is bound, and when
one ends that nobody asked to. A :class:`Decisions` is asked how long each cycle takes, and keeps what it is shown.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlfn_policies.kube_service_time import DEFAULT, constraints_us, cycle_us
from mlfn_sim.cluster.model import GPU
from mlfn_sim.experiments.scenario import ServiceTime
from mlfn_sim.kube.live import Engine, LiveCluster
from mlfn_sim.kube.node_columns import zone_of
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.preemption import Resident
from mlfn_sim.kube.reads import constraints_of
from mlfn_sim.kube.scheduler import Cycle

__all__ = ["RESOURCES", "Decisions", "Listener", "WatchedCluster"]

RESOURCES = ("cpu", "memory", GPU, "pods")
_Amounts = npt.NDArray[np.int64]


class Listener(Protocol):
    """Hear of pods, by the scheduler's numbers."""

    def bound(self, pod: int) -> None:
        """Hear that a pod runs."""

    def lost(self, pod: int) -> None:
        """Hear that a pod ended because of its node, or for another pod."""


class WatchedCluster(LiveCluster):
    """Be a cluster that keeps columns of what its nodes have and hold, in the order of ``names``."""

    def __init__(self, nodes: Iterable[NodeSpec], make: Callable[[tuple[NodeSpec, ...]], Engine]) -> None:
        self.listener: Listener | None = None
        self.asked_to_end: set[int] = set()
        """Pods whose end is their own."""
        self._running: set[int] = set()
        self._row: dict[str, int] = {}
        self.present = np.zeros(0, np.bool_)
        self.capacity = np.zeros((0, len(RESOURCES)), np.int64)
        self.used = np.zeros((0, len(RESOURCES)), np.int64)
        self.zone = np.zeros(0, np.int64)
        """A number for each zone."""
        self._zone_numbers: dict[tuple[str, str], int] = {}
        given = tuple(nodes)
        super().__init__(given, make)
        for node in given:
            self._stand(node)

    def _stand(self, node: NodeSpec) -> None:
        row = self._row.setdefault(node.name, len(self._row))
        if row == len(self.present):
            self.present = np.append(self.present, False)
            self.zone = np.append(self.zone, 0)
            empty = np.zeros((1, len(RESOURCES)), np.int64)
            self.capacity, self.used = np.vstack((self.capacity, empty)), np.vstack((self.used, empty))
        self.present[row] = True
        self.zone[row] = self._zone_numbers.setdefault(zone_of(node), len(self._zone_numbers))
        self.capacity[row] = [node.allocatable.get(name, 0) for name in RESOURCES]

    def place(self, resident: Resident, name: str) -> None:
        """Put a pod onto a node."""
        super().place(resident, name)
        self.used[self._row[name]] += _asked(resident.shape)

    def note(self, resident: Resident, name: str) -> None:
        """Replace what is known of a pod on a node: that it is bound, or that it ends."""
        super().note(resident, name)
        if not resident.terminating and resident.pod not in self._running:
            self._running.add(resident.pod)
            if self.listener:
                self.listener.bound(resident.pod)

    def remove(self, pod: int, name: str) -> Resident | None:
        """Take a pod off a node."""
        found = super().remove(pod, name)
        if found is not None:
            self.used[self._row[name]] -= _asked(found.shape)
            self._ended(pod)
        return found

    def add(self, node: NodeSpec) -> None:
        """Add a node."""
        super().add(node)
        self._stand(node)

    def drop(self, name: str) -> tuple[NodeSpec, tuple[Resident, ...]]:
        """Remove a node."""
        node, gone = super().drop(name)
        row = self._row[name]
        self.present[row] = False
        self.used[row] = self.capacity[row] = 0
        for resident in gone:
            self._ended(resident.pod)
        return node, gone

    def change(self, node: NodeSpec) -> NodeSpec:
        """Replace what a node has."""
        before = super().change(node)
        self._stand(node)
        return before

    def _ended(self, pod: int) -> None:
        if pod in self._running:  # else its binding failed, and the scheduler tries it again
            self._running.remove(pod)
            if self.listener and pod not in self.asked_to_end:
                self.listener.lost(pod)


def _asked(shape: PodShape) -> _Amounts:
    asked = dict(shape.requests)
    return np.array([*(asked.get(name, 0) for name in RESOURCES[:3]), 1], np.int64)


@dataclass
class Decisions:
    """Keep every decision as columns, in the order of the cycles."""

    service_time: ServiceTime
    engine: Callable[[], Engine]
    feasible: array[int] = field(default_factory=lambda: array("i"))
    evaluated: array[int] = field(default_factory=lambda: array("i"))
    ties: array[int] = field(default_factory=lambda: array("i"))
    total: array[int] = field(default_factory=lambda: array("i"))
    """Weighted score of the chosen node; -1: there were none."""
    image: array[int] = field(default_factory=lambda: array("b"))
    """1: the chosen node has the pod's images; 0: not; -1: the pod has none, or no node."""
    length_us: array[int] = field(default_factory=lambda: array("q"))
    rejections: list[Mapping[str, int]] = field(default_factory=list)
    """Filter -> nodes that it rejected."""
    unplaced: Counter[str] = field(default_factory=Counter)
    """Filter -> cycles without a node in which it rejected some."""
    shown: Callable[[int, Cycle], None] | None = None
    """Sees each cycle with its number, before anything comes of it."""

    def cycle_us(self, cycle: Cycle) -> int:
        """Keep what a cycle decided, and return how long it takes."""
        decision, shape = cycle.decision, cycle.shape
        if self.shown:
            self.shown(len(self.feasible), cycle)
        rejected = decision.rejected_by()
        self.feasible.append(len(decision.feasible))
        self.evaluated.append(decision.evaluated)
        self.ties.append(len(decision.ties))
        self.total.append(max(decision.totals) if len(decision.totals) else -1)
        self.rejections.append(rejected)
        hit = -1
        if decision.chosen < 0:
            self.unplaced.update(rejected.keys())
        elif images := [image for image in shape.images if not image.startswith(":")]:  # a container may name none
            there = self.engine().catalog.nodes[decision.chosen].images
            hit = int(all(image in there for image in images))
        self.image.append(hit)
        self.length_us.append(self._length_us(cycle))
        return self.length_us[-1]

    def _length_us(self, cycle: Cycle) -> int:
        if self.service_time.model == "fixed":
            return self.service_time.fixed_us
        decision = cycle.decision
        scored = len(decision.feasible) if len(decision.feasible) > 1 else 0
        spread = cycle.nodes if "PodTopologySpread" in decision.scores else 0
        defaults = len(self.engine().catalog.default_spreads)
        reads = constraints_of(cycle.shape, cycle.nodes, cycle.pods, cycle.weighing, default_spreads=defaults)
        speed = self.service_time.speed
        return round(cycle_us(DEFAULT, cycle.nodes, scored, spread, speed) + constraints_us(DEFAULT, reads, speed))
