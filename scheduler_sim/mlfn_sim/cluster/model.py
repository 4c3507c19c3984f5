"""A cluster at one moment: its nodes, the pods on them, those that wait, and its Services. Pure data.

:class:`ClusterSnapshot` is what is read, made up and written; :class:`NodeArrays` is the same as columns,
for what computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.catalog import ZONE
from mlfn_sim.kube.objects import NodeSpec, Pod

__all__ = [
    "GPU",
    "LOCATION",
    "WHOLE_GPU",
    "Bound",
    "ClusterSnapshot",
    "NodeArrays",
    "Service",
    "location",
    "with_gpus",
]

GPU = "nvidia.com/gpu"
LOCATION = "mlfn.dev/location"
"""Label of a node's place, ``LATITUDE_LONGITUDE`` in degrees (a label's value has no comma)."""
WHOLE_GPU = 1000
"""Thousandths of a GPU."""
Service = tuple[str, tuple[tuple[str, str], ...]]
"""Namespace and selector."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Put a pod onto a node."""

    pod: Pod
    node: int
    """Index of the node."""
    gpus: tuple[tuple[int, int], ...] = ()
    """(GPU of the node, thousandths of it that the pod holds)."""


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """Hold a cluster; the order of the nodes is that of their addition, that of the pods their age."""

    nodes: tuple[NodeSpec, ...]
    bound: tuple[Bound, ...] = ()
    pending: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeArrays:
    """Hold the nodes as columns."""

    names: tuple[str, ...]
    resources: tuple[str, ...]
    """cpu (thousandths of a core), memory (bytes), then the others by name."""
    allocatable: npt.NDArray[np.int64]
    """By resource, then node."""
    used: npt.NDArray[np.int64]
    """By resource, then node: what the pods there ask."""
    assumed: npt.NDArray[np.int64]
    """cpu and memory, by node, with what the scheduler assumes for containers that ask nothing."""
    pods: npt.NDArray[np.int64]
    pod_limit: npt.NDArray[np.int64]
    zone: npt.NDArray[np.int64]
    """Index in ``zones``; -1: none."""
    zones: tuple[str, ...]
    location: npt.NDArray[np.float64]
    """By node: latitude and longitude; not a number where unknown."""
    gpu_free: npt.NDArray[np.int64]
    """By node, then GPU: thousandths that are free; -1 where the node has no such GPU."""

    @classmethod
    def of(cls, snapshot: ClusterSnapshot) -> NodeArrays:
        """Return the columns of a snapshot."""
        nodes = snapshot.nodes
        asked = {name for bound in snapshot.bound for name, _ in bound.pod.shape.requests}
        others = {name for node in nodes for name in node.allocatable} | asked
        resources = ("cpu", "memory", *sorted(others - {"cpu", "memory", "pods"}))
        row = {name: i for i, name in enumerate(resources)}
        used = np.zeros((len(resources), len(nodes)), np.int64)
        assumed = np.zeros((2, len(nodes)), np.int64)
        pods = np.zeros(len(nodes), np.int64)
        for bound in snapshot.bound:
            shape = bound.pod.shape
            for name, amount in shape.requests:
                used[row[name], bound.node] += amount
            assumed[:, bound.node] += (shape.assumed_cpu, shape.assumed_memory)
            pods[bound.node] += 1
        zones = dict.fromkeys(node.labels[ZONE] for node in nodes if ZONE in node.labels)
        place = {name: i for i, name in enumerate(zones)}
        return cls(
            names=tuple(node.name for node in nodes),
            resources=resources,
            allocatable=np.array([[node.allocatable.get(name, 0) for node in nodes] for name in resources], np.int64),
            used=used,
            assumed=assumed,
            pods=pods,
            pod_limit=np.array([node.allocatable.get("pods", 0) for node in nodes], np.int64),
            zone=np.array([place.get(node.labels.get(ZONE, ""), -1) for node in nodes], np.int64),
            zones=tuple(zones),
            location=np.array([location(node.labels) for node in nodes], np.float64).reshape(len(nodes), 2),
            gpu_free=_gpu_free(snapshot),
        )


def location(labels: Mapping[str, str]) -> tuple[float, float]:
    """Return latitude and longitude of a node by its label; not numbers where it says none."""
    north, _, east = labels.get(LOCATION, "").partition("_")
    try:
        return float(north), float(east)
    except ValueError:
        return float("nan"), float("nan")


def with_gpus(nodes: tuple[NodeSpec, ...], bound: Iterable[Bound]) -> tuple[Bound, ...]:
    """Give every pod that asks whole GPUs, and is not said to hold any, the first idle ones of its node."""
    placed = tuple(bound)
    taken: dict[int, set[int]] = {}
    for each in placed:
        taken.setdefault(each.node, set()).update(gpu for gpu, _ in each.gpus)
    found = []
    for each in placed:
        wanted = dict(each.pod.shape.requests).get(GPU, 0)
        if wanted and not each.gpus:
            idle = [i for i in range(nodes[each.node].allocatable.get(GPU, 0)) if i not in taken[each.node]]
            held = idle[:wanted]
            taken[each.node].update(held)
            each = replace(each, gpus=tuple((gpu, WHOLE_GPU) for gpu in held))
        found.append(each)
    return tuple(found)


def _gpu_free(snapshot: ClusterSnapshot) -> npt.NDArray[np.int64]:
    counts = [node.allocatable.get(GPU, 0) for node in snapshot.nodes]
    free = np.full((len(counts), max(counts, default=0)), -1, np.int64)
    for i, count in enumerate(counts):
        free[i, :count] = WHOLE_GPU
    for bound in snapshot.bound:
        for gpu, share in bound.gpus:
            free[bound.node, gpu] -= share
    return free
