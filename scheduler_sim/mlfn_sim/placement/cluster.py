"""Lay nodes and pods out as the columns that the placement kernel works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mlfn_policies.place import KINDS, WHOLE, Nodes, Pod, Shares
from mlfn_policies.place_openwhisk import probe_steps
from mlfn_sim.placement.kernel import DRAWS, Events, Ints, Known, Outcome, Shapes

__all__ = ["Host", "columns", "fresh_known", "fresh_outcome", "shapes_of", "shares", "smallest"]


@dataclass(frozen=True, slots=True)
class Host:
    """Describe a node. cpu in thousandths of a core, memory in MiB."""

    cpu: int
    memory: int
    gpus: int = 0
    model: int = 0
    """Bit of the GPU model."""
    edge: bool = False
    traits: int = 0
    pull_rate: int = 100
    data_rate: int = 0
    images: frozenset[int] = field(default_factory=frozenset)


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def columns(hosts: Sequence[Host], typical: Shares | None = None, images: int = 1) -> Nodes:
    """Return the columns of empty nodes."""
    count, most = len(hosts), max([host.gpus for host in hosts], default=0)
    cpu, memory, gpus = (_ints([getattr(host, name) for host in hosts]) for name in ("cpu", "memory", "gpus"))
    free = np.zeros((count, max(most, 1)), dtype=np.int64)
    present = np.zeros((count, max(images, 1)), dtype=np.int64)
    for i, host in enumerate(hosts):
        free[i, : host.gpus] = WHOLE
        present[i, list(host.images)] = 1
    return Nodes(
        cpu=cpu,
        memory=memory,
        gpus=gpus,
        model=_ints([host.model for host in hosts]),
        cpu_free=cpu.copy(),
        memory_free=memory.copy(),
        gpu_free=free,
        pods=np.zeros(count, dtype=np.int64),
        kinds=np.zeros((count, KINDS), dtype=np.int64),
        images=present,
        edge=_ints([int(host.edge) for host in hosts]),
        traits=_ints([host.traits for host in hosts]),
        pull_rate=_ints([host.pull_rate for host in hosts]),
        data_rate=_ints([host.data_rate for host in hosts]),
        steps=_ints(probe_steps(count) or [1]),
        typical=typical or shares({}),
        scratch=np.zeros(max(most, 1), dtype=np.int64),
    )


def shares(counts: Mapping[Pod, float]) -> Shares:
    """Return the typical pods of a workload from how often each comes, in the order given."""
    pods = list(counts)
    total = sum(counts.values())
    levels = sorted({pod.milli for pod in pods if pod.milli})
    return Shares(
        share=np.array([counts[pod] / total for pod in pods], dtype=np.float64),
        cpu=_ints([pod.cpu for pod in pods]),
        gpus=_ints([pod.gpus for pod in pods]),
        milli=_ints([pod.milli for pod in pods]),
        models=_ints([pod.models for pod in pods]),
        rank=_ints([levels.index(pod.milli) if pod.milli else 0 for pod in pods]),
        levels=_ints(levels),
        room=np.zeros(len(levels), dtype=np.int64),
        crumbs=np.zeros(len(levels), dtype=np.int64),
    )


def shapes_of(pods: Sequence[Pod]) -> tuple[Shapes, Ints]:
    """Return the different pods, and which of them each pod is."""
    known: dict[Pod, int] = {}
    which = _ints([known.setdefault(pod, len(known)) for pod in pods])
    table = np.array([list(pod) for pod in known], dtype=np.int64).reshape(len(known), len(Pod._fields))
    return Shapes(table), which


def fresh_known(shapes: int, nodes: int, events: int) -> Known:
    """Return room for what a policy says, with nothing said yet."""
    return Known(
        scores=np.zeros((shapes, nodes)),
        seen=np.full(shapes, -1, dtype=np.int64),
        changed=np.zeros(events, dtype=np.int64),
        changes=np.zeros(1, dtype=np.int64),
        memory=np.zeros(4, dtype=np.int64),
        candidates=np.zeros(nodes, dtype=np.int64),
        values=np.zeros(nodes),
        allowed=np.zeros(0, dtype=np.bool_),
    )


def fresh_outcome(events: int) -> Outcome:
    """Return room for what happens."""
    return Outcome(
        node=np.full(events, -1, dtype=np.int64),
        devices=np.zeros(events, dtype=np.int64),
        used=np.zeros(events, dtype=np.int64),
        fragments=np.zeros(events),
    )


def smallest() -> tuple[Shapes, Events, Nodes, Known, Outcome]:
    """Return arguments of the kernel's types in which nothing happens."""
    shapes, which = shapes_of([Pod()])
    none: npt.NDArray[np.int64] = which[:0]
    events = Events(none, none.copy(), np.zeros((0, DRAWS)))
    return shapes, events, columns([Host(1, 1)]), fresh_known(1, 1, 0), fresh_outcome(0)
