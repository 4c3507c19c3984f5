"""Look at the cluster of a run at moments that are evenly apart: how full, how even, how fragmented it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mlfn_sim.cluster.model import GPU
from mlfn_sim.experiments.running import Simulation
from mlfn_sim.experiments.watching import RESOURCES
from mlfn_sim.kernel import SECOND_US

__all__ = ["SERIES", "Samples", "run_sampled"]

SERIES = (
    "time_s",
    "nodes",
    "running",
    "waiting",
    "cpu",
    "memory",
    "gpu",
    "imbalance",
    "zone_skew",
    "fragmentation",
)
_FINEST = 1024
"""A run that may end early begins with steps so much shorter; they double when there are too many samples."""


@dataclass(slots=True)
class Samples:
    """Hold the series, by name."""

    series: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SERIES})

    def __len__(self) -> int:
        """Return how many moments there are."""
        return len(self.series["time_s"])

    def thin(self) -> None:
        """Keep every other moment."""
        for values in self.series.values():
            del values[::2]


def run_sampled(simulation: Simulation) -> Samples:
    """Let a run happen and return its samples; with a limit of pods it ends once none of them waits."""
    run = simulation.scenario.run
    end_us = round(run.duration_s * SECOND_US)
    step_us = max(1, end_us // run.samples)
    if run.pods:
        step_us = max(1, step_us // _FINEST)
    look, samples = _Look(simulation), Samples()
    for now_us in _moments(step_us, end_us, run.samples, samples):
        simulation.kernel.run(now_us)
        look.at(samples)
        if run.pods and simulation.settled:
            break
    return samples


def _moments(step_us: int, end_us: int, wanted: int, samples: Samples) -> Iterator[int]:
    now_us = 0
    while now_us < end_us:
        now_us = min(now_us + step_us, end_us)
        yield now_us
        if len(samples) >= 2 * wanted:
            samples.thin()
            step_us *= 2


class _Look:
    """Look at a cluster's columns."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        asked: dict[tuple[int, ...], float] = {}
        for kind in simulation.world.kinds:
            requests = dict(kind.shape.requests)
            row = (*(requests.get(name, 0) for name in RESOURCES[:3]), 1)
            asked[row] = asked.get(row, 0.0) + kind.share
        self._asked = [(np.array(row, np.int64), share) for row, share in asked.items()]

    def at(self, samples: Samples) -> None:
        """Add a moment."""
        simulation, cluster = self._simulation, self._simulation.cluster
        there = np.flatnonzero(cluster.present)
        capacity, used = cluster.capacity[there], cluster.used[there]
        free = capacity - used
        total = capacity.sum(axis=0)
        share = np.divide(used.sum(axis=0), total, out=np.zeros(len(total)), where=total > 0)
        loads = np.divide(used[:, 0], capacity[:, 0], out=np.zeros(len(there)), where=capacity[:, 0] > 0)
        values = {
            "time_s": simulation.kernel.now_us / SECOND_US,
            "nodes": len(there),
            "running": int(used[:, 3].sum()),
            "waiting": simulation.waiting,
            "cpu": float(share[0]),
            "memory": float(share[1]),
            "gpu": float(share[RESOURCES.index(GPU)]),
            "imbalance": float(loads.std()) if len(there) else 0.0,
            "zone_skew": self._zone_skew(used[:, 3], there),
            "fragmentation": self._fragmentation(free),
        }
        for name, value in values.items():
            samples.series[name].append(value)

    def _fragmentation(self, free: npt.NDArray[np.int64]) -> float:
        """Return the share of the free cpu on nodes that cannot take a pod, averaged over the pods that come.

        It is the measure of Weng et al. (USENIX ATC 2023), with cpu in the place of GPUs.
        """
        total = int(free[:, 0].sum())
        if total <= 0:
            return 0.0
        lost = sum(
            share * float(free[(free < row).any(axis=1) & (free[:, 0] > 0), 0].sum()) for row, share in self._asked
        )
        return lost / total

    def _zone_skew(self, pods: npt.NDArray[np.int64], there: npt.NDArray[np.intp]) -> float:
        """Return the pods in the fullest zone less those in the emptiest, as a share of all."""
        zones = self._simulation.cluster.zone[there]
        counts = np.bincount(zones, weights=pods)[np.unique(zones)]
        return float((counts.max() - counts.min()) / counts.sum()) if len(counts) > 1 and counts.sum() else 0.0
