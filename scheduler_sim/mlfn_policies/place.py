"""What a placement policy sees and is: one pod, the nodes as columns, and two plain functions.

``feasible(pod, nodes, i)`` tells whether node ``i`` can take the pod, ``score(pod, nodes, i)`` how good it is there.
The highest wins, ties are broken by chance, evenly. Both look at row ``i`` of the columns only, so that an engine may
keep their answers until that node changes. What compares nodes with each other goes into the optional
``choose(pod, nodes, offer)``, which returns a *position* among the candidates offered; the optional
``device(pod, nodes, i, draw)`` picks the GPU for a pod that shares one. All of it is in the subset of Python that Numba
compiles, and runs uncompiled just as well. Chance is an argument: numbers from [0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

__all__ = [
    "KINDS",
    "WHOLE",
    "Column",
    "Nodes",
    "Numbers",
    "Offer",
    "Pod",
    "Policy",
    "Shares",
    "Table",
    "best_scored",
    "fits",
    "fullest_device",
    "idle_devices",
    "room_on_devices",
]

WHOLE = 1000
"""One GPU, in thousandths."""
KINDS = 10
"""Kinds of pods by GPU: 0 shares one, 1 to 8 take so many, 9 takes more."""


class Column(Protocol):
    """Hold a whole number for each node."""

    def __getitem__(self, at: int, /) -> int:
        """Return one of them."""

    def __setitem__(self, at: int, value: int, /) -> None:
        """Change one of them."""

    def __len__(self) -> int:
        """Return how many there are."""


class Numbers(Protocol):
    """Hold floating-point numbers."""

    def __getitem__(self, at: int, /) -> float:
        """Return one of them."""

    def __len__(self) -> int:
        """Return how many there are."""


class Table(Protocol):
    """Hold whole numbers for each node and something else."""

    def __getitem__(self, at: tuple[int, int], /) -> int:
        """Return one of them."""

    def __setitem__(self, at: tuple[int, int], value: int, /) -> None:
        """Change one of them."""


class Pod(NamedTuple):
    """Describe what is to be placed. cpu in thousandths of a core, memory in MiB, GPUs in thousandths of each."""

    cpu: int = 0
    memory: int = 0
    gpus: int = 0
    """GPUs asked for."""
    milli: int = 0
    """Of each of them; 1,000 is a whole one."""
    models: int = 0
    """Bits of the GPU models that will do; 0: any."""
    image: int = -1
    """Column of ``nodes.images``; -1: none."""
    image_mib: int = 0
    edge_traits: int = 0
    """Bits of the capabilities asked for."""
    receives_mib: int = 0
    """Data read from the storage."""
    sends_mib: int = 0
    """Data written to the storage."""
    function: int = 0
    """A number that stays with the function (OpenWhisk's hash of its name)."""


class Shares(NamedTuple):
    """Hold the typical pods of a workload, the common ones first, for the measure of fragmentation."""

    share: Numbers
    """Of all pods; sums to 1."""
    cpu: Column
    gpus: Column
    milli: Column
    models: Column
    rank: Column
    """Index of ``milli`` among the different values in ``levels``."""
    levels: Column
    room: Column
    """Scratch: GPUs that have so much left, by level."""
    crumbs: Column
    """Scratch: what is left on the others, by level."""


class Nodes(NamedTuple):
    """Hold the nodes as columns: what they have, what is free, and what else a policy may ask."""

    cpu: Column
    memory: Column
    gpus: Column
    model: Column
    """Bit of the GPU model; 0: no GPU."""
    cpu_free: Column
    memory_free: Column
    gpu_free: Table
    """Thousandths left, by node and GPU."""
    pods: Column
    """Pods on the node."""
    kinds: Table
    """Pods on the node by kind: see ``KINDS``."""
    images: Table
    """1 where the node has the image."""
    edge: Column
    """1 at the edge, 0 in the cloud."""
    traits: Column
    """Bits of its capabilities."""
    pull_rate: Column
    """MiB/s from the registry."""
    data_rate: Column
    """MiB/s between the node and the storage; 0: the storage is here."""
    steps: Column
    """Steps of OpenWhisk's probing for this many nodes."""
    typical: Shares
    scratch: Column
    """Room for a copy of one node's GPUs."""


class Offer(NamedTuple):
    """Hold what a decision is between."""

    nodes: Column
    """The feasible ones, in their order."""
    scores: Numbers
    """Theirs."""
    draws: Numbers
    """Numbers from [0, 1): the first for ties, the last for the GPU, six between for the policy."""
    memory: Column
    """Four numbers that stay from one decision to the next; 0 at first."""


class Policy(NamedTuple):
    """Name the functions that decide a placement."""

    feasible: Callable[[Pod, Nodes, int], bool]
    score: Callable[[Pod, Nodes, int], float]
    choose: Callable[[Pod, Nodes, Offer], int] | None = None
    device: Callable[[Pod, Nodes, int, float], int] | None = None


def idle_devices(nodes: Nodes, i: int) -> int:
    """Return how many GPUs of a node nobody uses."""
    idle = 0
    for g in range(nodes.gpus[i]):
        if nodes.gpu_free[i, g] == WHOLE:
            idle += 1
    return idle


def room_on_devices(pod: Pod, nodes: Nodes, i: int) -> int:
    """Return how many GPUs of a node have what the pod asks of each."""
    room = 0
    for g in range(nodes.gpus[i]):
        if nodes.gpu_free[i, g] >= pod.milli:
            room += 1
    return room


def fits(pod: Pod, nodes: Nodes, i: int) -> bool:
    """Tell whether cpu, memory and the GPUs of a node suffice."""
    if pod.cpu > nodes.cpu_free[i] or pod.memory > nodes.memory_free[i]:
        return False
    if pod.gpus == 0:
        return True
    if pod.gpus > nodes.gpus[i] or (pod.models != 0 and (pod.models & nodes.model[i]) == 0):
        return False
    return room_on_devices(pod, nodes, i) >= pod.gpus


def fullest_device(pod: Pod, nodes: Nodes, i: int, draw: float) -> int:
    """Return the GPU with the least left that still suffices, the first of equals."""
    best = -1
    for g in range(nodes.gpus[i]):
        left = nodes.gpu_free[i, g]
        if left >= pod.milli and (best < 0 or left < nodes.gpu_free[i, best]):
            best = g
    return best


def best_scored(pod: Pod, nodes: Nodes, offer: Offer) -> int:
    """Return the position of the best score; of n equal ones that of the floor(u*n)-th, u being the first draw."""
    best = offer.scores[0]
    ties = 0
    for k in range(len(offer.scores)):
        if offer.scores[k] > best:
            best = offer.scores[k]
            ties = 1
        elif offer.scores[k] == best:
            ties += 1
    wanted = int(offer.draws[0] * ties)
    for k in range(len(offer.scores)):
        if offer.scores[k] == best:
            if wanted == 0:
                return k
            wanted -= 1
    return 0
