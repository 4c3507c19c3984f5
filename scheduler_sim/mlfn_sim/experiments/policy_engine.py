"""Decide by a placement policy among the nodes that Kubernetes' filters let through.

The engine of kube-scheduler looks at all nodes, with every plugin's score switched off; the policy's ``feasible`` and
``score`` are asked about those that pass, and its ``choose`` picks. The columns that a policy sees follow what is
placed and removed. Both engines draw alike: eight numbers for each decision that has a node to offer.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlfn_policies.place import Pod, Shares
from mlfn_sim.cluster.model import GPU, WHOLE_GPU
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.decisions import Decision, Rejection
from mlfn_sim.kube.engine import make_engine
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.profile import Profile
from mlfn_sim.placement.cluster import Host, columns, fresh_known, fresh_outcome, shares
from mlfn_sim.placement.kernel import DRAWS, Events, Shapes, devices_for, moved, noted
from mlfn_sim.placement.names import policy_named
from mlfn_sim.placement.programs import Program, program
from mlfn_sim.streams import Streams

__all__ = ["REFUSED", "Choosing", "PolicyEngine"]

REFUSED = "placement policy"
"""Stands for a filter: nodes that Kubernetes would take, and the policy does not."""
_REASON = "node(s) refused by the placement policy"
_MODEL, _EDGE = "nvidia.com/gpu.product", "mlfn.dev/edge"
_MIB = 1 << 20
_ROOM = 4096
"""Changes of nodes that are remembered before a policy is asked about all of them again."""
_TYPICAL = 20
_COMES = np.array([-1], np.int64)


def _no_scores(profile: Profile) -> Profile:
    """Return a profile that filters all nodes and scores none."""
    return replace(profile, percentage=100, weights={})


@dataclass(frozen=True, slots=True)
class Choosing:
    """Say what decides: made once for a run, used by each engine that is made anew when nodes change."""

    policy: str
    engine: str
    streams: Streams
    typical: Mapping[PodShape, float]
    """Shapes of the workload's pods, with their shares."""

    def program(self) -> Program:
        """Return the policy, compiled for the fast engine where it can be."""
        return program(policy_named(self.policy), fast=self.engine == "fast")


class PolicyEngine:
    """Hold the state of a cluster and decide for one pod after another."""

    def __init__(self, catalog: Catalog, profile: Profile, choosing: Choosing) -> None:
        self._filters = make_engine(choosing.engine, catalog, _no_scores(profile))
        self._run = choosing.program().run
        self._draws = choosing.streams.stream("policy")
        self._typical = choosing.typical
        self._shapes = {shape: s for s, shape in enumerate(choosing.typical)}
        self._memory = np.zeros(4, np.int64)
        self._lay_out(catalog.nodes, {})

    def _lay_out(self, nodes: Sequence[NodeSpec], held: dict[tuple[PodShape, int], list[int]]) -> None:
        """Make the columns of these nodes, with the pods that are on them."""
        self._features = _Features.of(nodes, self._typical)
        pods = {shape: self._features.pod(shape) for shape in self._typical}
        hosts = [self._features.host(node) for node in nodes]
        self._nodes = columns(hosts, _fragmented(pods, self._typical), max(1, len(self._features.images)))
        self._table = Shapes(np.array([list(pod) for pod in pods.values()], np.int64))
        allowed = np.zeros(len(nodes), np.bool_)
        self._known = fresh_known(len(pods), len(nodes), _ROOM)._replace(allowed=allowed, memory=self._memory)
        self._held = held
        """Shape and node -> the GPUs of each such pod there, as bits."""
        for (shape, node), each in held.items():
            for bits in each:
                moved(self._features.pod(shape), self._nodes, node, bits, 1)

    @property
    def catalog(self) -> Catalog:
        """Return the nodes and shapes."""
        return self._filters.catalog

    @property
    def start(self) -> int:
        """Return where the next search begins."""
        return self._filters.start

    @start.setter
    def start(self, place: int) -> None:
        self._filters.start = place

    def rejection(self, shape: PodShape, node: int) -> Rejection | None:
        """Return why a pod cannot go onto a node now."""
        return self._filters.rejection(shape, node)

    def change_nodes(self, nodes: tuple[NodeSpec, ...]) -> None:
        """Go on with other nodes: those with known names keep their pods, pods of the others are gone."""
        before = [node.name for node in self.catalog.nodes]
        place = {node.name: i for i, node in enumerate(nodes)}
        self._filters.change_nodes(nodes)
        stay = {(shape, place[before[i]]): bits for (shape, i), bits in self._held.items() if before[i] in place}
        self._lay_out(nodes, stay)

    def place(self, shape: PodShape, node: int) -> None:
        """Put a pod onto a node, fitting or not."""
        self._filters.place(shape, node)
        pod = self._features.pod(shape)
        bits = devices_for(pod, self._nodes, node, 0.0)
        self._held.setdefault((shape, node), []).append(bits)
        self._move(pod, node, bits, 1)

    def remove(self, shape: PodShape, node: int) -> None:
        """Take a pod off a node."""
        self._filters.remove(shape, node)
        self._move(self._features.pod(shape), node, self._held[shape, node].pop(), -1)

    def decide(self, shape: PodShape, barred: Mapping[int, Rejection] | None = None) -> Decision:
        """Return what the policy would do with a pod now; places nothing."""
        found = self._filters.decide(shape, barred)
        if not found.feasible:
            return found
        self._known.allowed[:] = False
        self._known.allowed[list(found.feasible)] = True
        outcome = fresh_outcome(1)
        events = Events(np.array([self._shapes[shape]], np.int64), _COMES, self._draws.random((1, DRAWS)))
        self._forget_old()
        self._run(self._table, events, self._nodes, self._known, outcome)
        chosen = int(outcome.node[0])
        if chosen < 0:
            rejected = {**found.rejected, **dict.fromkeys(found.feasible, REFUSED)}
            reasons = {**found.reasons, _REASON: len(found.feasible)}
            return Decision(-1, (), found.evaluated, rejected, reasons)
        # The scheduler places it itself, when its cycle ends.
        self._move(self._features.pod(shape), chosen, int(outcome.devices[0]), -1)
        return replace(found, chosen=chosen, scores={}, totals=(), ties=(chosen,))

    def _move(self, pod: Pod, node: int, bits: int, sign: int) -> None:
        self._forget_old()
        moved(pod, self._nodes, node, bits, sign)
        noted(self._known, node)

    def _forget_old(self) -> None:
        """Have the policy asked anew about all nodes before the list of changes is full."""
        if self._known.changes[0] + 1 >= _ROOM:
            self._known.changes[0] = 0
            self._known.seen[:] = -1


@dataclass(frozen=True, slots=True)
class _Features:
    """Say Kubernetes' nodes and pods in the columns of a policy: names become numbers."""

    images: Mapping[str, int]
    sizes: Mapping[str, int]
    """MiB."""
    models: Mapping[str, int]
    functions: Mapping[PodShape, int]

    @classmethod
    def of(cls, nodes: Sequence[NodeSpec], shapes: Iterable[PodShape]) -> _Features:
        known = tuple(shapes)
        models = dict.fromkeys(node.labels[_MODEL] for node in nodes if _MODEL in node.labels)
        return cls(
            images={
                image: k for k, image in enumerate(dict.fromkeys(image for each in known for image in each.images))
            },
            sizes={name: size // _MIB for node in nodes for name, size in node.images.items()},
            models={model: 1 << k for k, model in enumerate(models)},
            functions={shape: zlib.crc32(_name(shape).encode()) for shape in known},
        )

    def host(self, node: NodeSpec) -> Host:
        """Return a node as policies see it."""
        there = frozenset(self.images[name] for name in node.images if name in self.images)
        has = node.allocatable
        return Host(
            cpu=has.get("cpu", 0),
            memory=has.get("memory", 0) // _MIB,
            gpus=has.get(GPU, 0),
            model=self.models.get(node.labels.get(_MODEL, ""), 0),
            edge=any(taint.key == _EDGE for taint in node.taints),
            images=there,
        )

    def pod(self, shape: PodShape) -> Pod:
        """Return a pod as policies see it: its first image counts, memory is rounded up to MiB."""
        asked = dict(shape.requests)
        gpus = asked.get(GPU, 0)
        image = shape.images[0] if shape.images else ""
        return Pod(
            cpu=asked.get("cpu", 0),
            memory=-(-asked.get("memory", 0) // _MIB),
            gpus=gpus,
            milli=WHOLE_GPU if gpus else 0,
            image=self.images.get(image, -1),
            image_mib=self.sizes.get(image, 0),
            function=self.functions.get(shape, 0),
        )


def _name(shape: PodShape) -> str:
    return dict(shape.labels).get("app", repr(shape))


def _fragmented(pods: Mapping[PodShape, Pod], share: Mapping[PodShape, float]) -> Shares | None:
    """Return what the fragmentation of GPUs is measured with: the commonest pods; nothing where none asks for GPUs."""
    if not any(pod.gpus for pod in pods.values()):
        return None
    counts: dict[Pod, float] = {}
    for shape, pod in pods.items():
        alike = Pod(cpu=pod.cpu, gpus=pod.gpus, milli=pod.milli)
        counts[alike] = counts.get(alike, 0.0) + share[shape]
    return shares(dict(sorted(counts.items(), key=lambda item: -item[1])[:_TYPICAL]))
