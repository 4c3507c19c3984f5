"""Make up clusters: shapes by name, seeded, with figures of machines that exist.

Everything random comes from one named stream a cause, so that more nodes never change the first ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlfn_sim.cluster.model import GPU, LOCATION, ClusterSnapshot
from mlfn_sim.kube.catalog import REGION, ZONE
from mlfn_sim.kube.objects import HOSTNAME, Effect, NodeSpec, Taint
from mlfn_sim.streams import Streams

__all__ = ["SHAPES", "generate"]

_GIB = 1024**3
_INSTANCE, _ARCH, _MODEL = "node.kubernetes.io/instance-type", "kubernetes.io/arch", "nvidia.com/gpu.product"


@dataclass(frozen=True, slots=True)
class _Machine:
    """Describe a kind of machine by what it leaves to pods."""

    name: str
    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes."""
    pods: int = 110
    """The kubelet's default."""
    gpus: int = 0
    model: str = ""
    arch: str = "amd64"

    def node(self, name: str, labels: Mapping[str, str], taints: tuple[Taint, ...] = ()) -> NodeSpec:
        """Return a node of this kind."""
        allocatable = {"cpu": self.cpu, "memory": self.memory, "pods": self.pods}
        own = {HOSTNAME: name, _ARCH: self.arch, _INSTANCE: self.name}
        if self.gpus:
            allocatable[GPU] = self.gpus
            own[_MODEL] = self.model
        return NodeSpec(name, allocatable, {**own, **labels}, taints)


_STANDARD = _Machine("standard-4", 4000, 32 * _GIB)
"""4 cores and 32 GiB: the node of kube-scheduler's own benchmarks (scheduler_perf, ``node-default.yaml``)."""

_OPENB = (
    (_Machine("g2-8", 96_000, 384 * _GIB, gpus=8, model="G2"), 549),
    (_Machine("t4-2", 104_000, 512 * _GIB, gpus=2, model="T4"), 387),
    (_Machine("cpu-32-256", 32_000, 256 * _GIB), 129),
    (_Machine("p100-2-16", 16_000, 120 * _GIB, gpus=2, model="P100"), 107),
    (_Machine("cpu-96-512", 96_000, 512 * _GIB), 59),
    (_Machine("g3-8", 128_000, 768 * _GIB, gpus=8, model="G3"), 39),
    (_Machine("cpu-96-384", 96_000, 384 * _GIB), 30),
    (_Machine("v100m16-4", 32_000, 128 * _GIB, gpus=4, model="V100M16"), 28),
    (_Machine("cpu-32-128", 32_000, 128 * _GIB), 23),
    (_Machine("p100-2-64", 64_000, 256 * _GIB, gpus=2, model="P100"), 22),
    (_Machine("cpu-64", 64_000, 512 * _GIB), 22),
    (_Machine("v100m32-8", 96_000, 768 * _GIB, gpus=8, model="V100M32"), 21),
    (_Machine("cpu-104", 104_000, 512 * _GIB), 20),
)
"""Kinds and counts of the openb cluster's nodes, those with at least 20 nodes: 1,436 of 1,523."""

_CLOUD = _Machine("cloud-16", 16_000, 64 * _GIB)
_EDGE = (
    (_Machine("nuc", 4000, 16 * _GIB), 4),
    (_Machine("jetson-nx", 6000, 8 * _GIB, gpus=1, model="Xavier-NX", arch="arm64"), 3),
    (_Machine("rpi4", 4000, 4 * _GIB, arch="arm64"), 13),
)
"""Devices of the edge tables of edgerun/faas-sim (ext/raith21), with their makers' sizes; the shares are ours."""
_CITIES = (("vienna", 48.21, 16.37), ("graz", 47.07, 15.44), ("linz", 48.31, 14.29), ("salzburg", 47.81, 13.04))
_ZONE_LATITUDE, _ZONE_LONGITUDES = 50.11, (8.68, 8.75, 8.61)


def homogeneous(nodes: int, streams: Streams) -> list[NodeSpec]:
    """Make equal nodes of 4 cores and 32 GiB in one zone, as kube-scheduler's benchmarks do."""
    return [_STANDARD.node(f"node-{i}", {ZONE: "zone-a", REGION: "region-1"}) for i in range(nodes)]


def zones(nodes: int, streams: Streams) -> list[NodeSpec]:
    """Make equal nodes in three zones of one region some kilometres apart, in turn, as managed node groups do."""
    made = []
    for i in range(nodes):
        place = f"{_ZONE_LATITUDE}_{_ZONE_LONGITUDES[i % 3]}"
        made.append(_STANDARD.node(f"node-{i}", {ZONE: f"zone-{'abc'[i % 3]}", REGION: "region-1", LOCATION: place}))
    return made


def gpu_mix(nodes: int, streams: Streams) -> list[NodeSpec]:
    """Make the mixture of machines of the openb GPU cluster, drawn by its shares; GPU nodes are tainted.

    Figures: alibaba/clusterdata, cluster-trace-gpu-v2023, 1,523 nodes of which 1,213 have GPUs; the commonest kinds.
    The taint ``nvidia.com/gpu`` is what managed clusters put onto such nodes.
    """
    chance = streams.stream("cluster machines")
    taint = (Taint(GPU, "present", Effect.NO_SCHEDULE),)
    made = []
    for i in range(nodes):
        machine = _drawn(_OPENB, chance.random())
        labels = {ZONE: f"zone-{'abc'[i % 3]}", REGION: "region-1"}
        made.append(machine.node(f"node-{i}", labels, taint if machine.gpus else ()))
    return made


def core_edge(nodes: int, streams: Streams) -> list[NodeSpec]:
    """Make one cloud node of 16 cores for every nine small devices at the edge of four cities.

    The edge is 13 parts Raspberry Pi 4, 4 parts Intel NUC and 3 parts Jetson NX; each city is a zone, devices lie
    within a tenth of a degree (some 10 km) of its centre. Their taint only discourages (PreferNoSchedule).
    """
    kinds, places = streams.stream("cluster machines"), streams.stream("cluster places")
    taint = (Taint("mlfn.dev/edge", "true", Effect.PREFER_NO_SCHEDULE),)
    made = []
    for i in range(nodes):
        if i % 10 == 0:
            labels = {ZONE: "cloud", REGION: "core", LOCATION: "50.11_8.68"}
            made.append(_CLOUD.node(f"node-{i}", labels))
            continue
        city, north, east = _CITIES[i % len(_CITIES)]
        place = f"{north + places.uniform(-0.1, 0.1):.4f}_{east + places.uniform(-0.1, 0.1):.4f}"
        labels = {ZONE: city, REGION: "edge", LOCATION: place}
        made.append(_drawn(_EDGE, kinds.random()).node(f"node-{i}", labels, taint))
    return made


SHAPES: Mapping[str, Callable[[int, Streams], list[NodeSpec]]] = {
    "homogeneous": homogeneous,
    "gpu-mix": gpu_mix,
    "core-edge": core_edge,
    "zones": zones,
}
"""Shapes of clusters by name."""


def generate(shape: str, nodes: int, streams: Streams) -> ClusterSnapshot:
    """Return a cluster of ``nodes`` empty nodes. Raises ValueError for an unknown shape or fewer than one node."""
    if shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}, expected one of {', '.join(SHAPES)}")
    if nodes < 1:
        raise ValueError(f"nodes is {nodes}; expected 1 or more")
    return ClusterSnapshot(tuple(SHAPES[shape](nodes, streams)))


def _drawn(kinds: tuple[tuple[_Machine, int], ...], draw: float) -> _Machine:
    """Return the machine at a point of the cumulated shares."""
    reached = draw * sum(count for _, count in kinds)
    for machine, count in kinds:
        if reached < count:
            return machine
        reached -= count
    return kinds[-1][0]
