"""Run several schedulers over the same nodes, each on its share of the pods, with conflicts found at the bind.

A copy decides on the bound pods as they are when its cycle starts, and on the pods that it has assumed itself: what
the others have assumed it does not see. When a bind arrives, the node is asked once more by all filters; a pod that no
longer fits is given back and tried again after kube-scheduler's back-off (1 s, doubled up to 10 s). This is optimistic
concurrency on shared state; the check is that of a store with transactions, stricter than the kubelet's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mlfn_policies.kube_queue import backoff_us
from mlfn_sim.kernel import SECOND_US, Kernel, Priority
from mlfn_sim.kube.engine import Batch, Engine
from mlfn_sim.kube.objects import PodShape

__all__ = ["Ended", "Work", "run_copies"]

_LONGEST_US = 10 * SECOND_US
_FIRST = np.zeros(1, np.int32)


@dataclass(frozen=True, slots=True)
class Work:
    """Hold what the copies have to do."""

    shapes: Sequence[PodShape]
    function: npt.NDArray[np.int64]
    arrival_us: npt.NDArray[np.int64]
    cycle_us: int
    bind_us: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Tell what became of the pods."""

    chosen: npt.NDArray[np.int64]
    """Node, -1: none fits."""
    started_us: npt.NDArray[np.int64]
    """When the pod's first cycle began."""
    bound_us: npt.NDArray[np.int64]
    """When it was bound, or found to fit nowhere."""
    conflicts: int


@dataclass(eq=False, slots=True)
class _Copy:
    waiting: deque[int] = field(default_factory=deque)
    busy: bool = False
    assumed: list[tuple[PodShape, int]] = field(default_factory=list)


class _Run:
    """Hold the state of one run."""

    def __init__(self, engine: Engine, work: Work, copies: int) -> None:
        self.engine, self.work, self.kernel = engine, work, Kernel()
        self.copies = [_Copy() for _ in range(copies)]
        self.chosen = np.full(len(work.function), -1, np.int64)
        self.started = np.full(len(work.function), -1, np.int64)
        self.bound = np.zeros(len(work.function), np.int64)
        self.attempts = np.zeros(len(work.function), np.int64)
        self.conflicts = 0
        for pod, at_us in enumerate(work.arrival_us.tolist()):
            self.kernel.at(at_us, lambda pod=pod: self._comes(pod), Priority.ARRIVAL)  # type: ignore[misc]

    def _comes(self, pod: int) -> None:
        copy = self.copies[pod % len(self.copies)]
        copy.waiting.append(pod)
        self._start(copy)

    def _start(self, copy: _Copy) -> None:
        if copy.busy or not copy.waiting:
            return
        pod = copy.waiting.popleft()
        copy.busy = True
        if self.started[pod] < 0:
            self.started[pod] = self.kernel.now_us
        shape = self.work.shapes[self.work.function[pod]]
        for assumed, node in copy.assumed:
            self.engine.place(assumed, node)
        # A batch of one, taken off again: ten times as fast on 100,000 nodes as decide(), which tells why.
        chosen = int(self.engine.run(Batch((shape,), _FIRST)).chosen[0])
        if chosen >= 0:
            self.engine.remove(shape, chosen)
        for assumed, node in copy.assumed:
            self.engine.remove(assumed, node)
        self.kernel.after(self.work.cycle_us, lambda: self._decided(copy, pod, chosen))

    def _decided(self, copy: _Copy, pod: int, node: int) -> None:
        copy.busy = False
        if node < 0:
            self.bound[pod] = self.kernel.now_us  # nothing leaves in this experiment: it never fits
        else:
            shape = self.work.shapes[self.work.function[pod]]
            copy.assumed.append((shape, node))
            self.kernel.after(self.work.bind_us, lambda: self._binds(copy, pod, (shape, node)))
        self._start(copy)

    def _binds(self, copy: _Copy, pod: int, place: tuple[PodShape, int]) -> None:
        copy.assumed.remove(place)
        if self.engine.rejection(*place) is None:
            self.engine.place(*place)
            self.chosen[pod] = place[1]
            self.bound[pod] = self.kernel.now_us
            return
        self.conflicts += 1
        self.attempts[pod] += 1
        wait_us = backoff_us(int(self.attempts[pod]), SECOND_US, _LONGEST_US)
        self.kernel.after(wait_us, lambda: self._comes(pod))


def run_copies(engine: Engine, work: Work, copies: int) -> Ended:
    """Run all pods to their end, and take them off the engine's nodes again."""
    run = _Run(engine, work, copies)
    run.kernel.run()
    for pod in np.flatnonzero(run.chosen >= 0).tolist():
        engine.remove(work.shapes[work.function[pod]], int(run.chosen[pod]))
    return Ended(run.chosen, run.started, run.bound, run.conflicts)
