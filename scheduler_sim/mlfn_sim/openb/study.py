"""Run the openb study: one run for each workload, policy and seed, and what it says at every percent of arrival."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlfn_policies.place import WHOLE, Pod
from mlfn_sim.kube.hashing import decision_hash
from mlfn_sim.openb.trace import Models, digest, read_hosts, read_pods
from mlfn_sim.openb.workload import drawn, typical_pods
from mlfn_sim.placement.cluster import Host, columns, fresh_known, fresh_outcome, shapes_of, shares
from mlfn_sim.placement.kernel import DRAWS, Events, Ints, Shapes
from mlfn_sim.placement.names import policy_named
from mlfn_sim.placement.programs import fingerprint, program
from mlfn_sim.streams import Streams
from mlfn_sim.sweeps import Where, sweep

__all__ = ["FIRST_SEED", "STEPS", "Curve", "Run", "Study", "run_one", "study"]

FIRST_SEED = 42
"""The published runs have the seeds 42 to 51."""
STEPS = 131
"""Percent of the cluster's GPUs asked for, 0 to 130."""
_Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """Ask for one run."""

    workload: str
    policy: str
    seed: int
    folder: Path
    """Where the trace is."""
    fast: bool = True
    """Whether to compile the policy."""
    inputs: str = ""
    """Digest of the trace's files and of the policy's code: a result that is kept was made from them."""

    @property
    def key(self) -> str:
        """Name the run."""
        return f"{self.workload},{self.policy},{self.seed}"


@dataclass(frozen=True, slots=True)
class Study:
    """Say which runs, and where the trace is."""

    folder: Path
    workloads: Sequence[str]
    policies: Sequence[str]
    seeds: int = 10
    fast: bool = True


@dataclass(frozen=True, slots=True)
class Curve:
    """Hold what one run gave at each percent of arrival."""

    workload: str
    policy: str
    seed: int
    allocation: Sequence[float]
    """Percent of the cluster's GPUs in use."""
    fragmentation: Sequence[float]
    """Percent of them that is free but of no use to typical pods."""
    placed: int
    refused: int
    seconds: float
    """Of the placements alone."""
    decision_hash: str


@dataclass(frozen=True, slots=True)
class _Work:
    """Hold what all runs of a workload share."""

    hosts: Sequence[Host]
    gpus: int
    pods: Sequence[Pod]
    shapes: Shapes
    which: Ints
    typical: dict[Pod, float]


@lru_cache(maxsize=20)
def _work(folder: Path, workload: str) -> _Work:
    models = Models()
    hosts = read_hosts(folder, models)
    pods = read_pods(folder, workload, models)
    shapes, which = shapes_of(pods)
    return _Work(hosts, sum(host.gpus for host in hosts), pods, shapes, which, typical_pods(pods))


def study(plan: Study, where: Where, told: _Told, progress: _Told) -> list[Curve]:
    """Return the curve of every run: by workload, then policy, then seed. ``told`` hears what one should know.

    Raises RecordingError for a trace, UnknownPolicy for a policy, and what :func:`~mlfn_sim.sweeps.sweep` raises.
    """
    policies = {name: policy_named(name) for name in plan.policies}
    traces = {}
    for workload in plan.workloads:  # a broken file is told now, not when its turn comes
        _work(plan.folder, workload)
        traces[workload] = digest(plan.folder, workload)
    for name, policy in policies.items():
        progress(f"preparing {name}")
        ready = program(policy, fast=plan.fast)  # compiled once for all processes
        if ready.fallback:
            told(f"{name} runs as it stands, not compiled: {ready.fallback}")
    codes = {name: fingerprint(policy) for name, policy in policies.items()}
    runs = [
        Run(workload, policy, FIRST_SEED + k, plan.folder, plan.fast, f"{traces[workload]} {codes[policy]}")
        for workload in plan.workloads
        for policy in policies
        for k in range(plan.seeds)
    ]
    documents = sweep(runs, run_one, where=where, progress=progress)
    return [Curve(run.workload, run.policy, run.seed, **said) for run, said in zip(runs, documents, strict=True)]


def run_one(run: Run) -> Mapping[str, Any]:
    """Return the fields of a run's curve."""
    work = _work(run.folder, run.workload)
    seed = drawn(work.pods, len(work.hosts), work.gpus * WHOLE, run.seed)
    ready = program(policy_named(run.policy), fast=run.fast)
    draws = Streams(run.seed).stream("ties").random((len(seed.pods), DRAWS))
    draws[:, 0] = 0.0  # of equals the first, in the seed's order of nodes: how the authors' scheduler breaks ties
    events = Events(work.which[seed.pods], np.full(len(seed.pods), -1, dtype=np.int64), draws)
    known = fresh_known(len(work.shapes.columns), len(work.hosts), len(seed.pods))
    outcome = fresh_outcome(len(seed.pods))
    nodes = columns([work.hosts[i] for i in seed.nodes], shares(work.typical))
    began = time.perf_counter()
    ready.run(work.shapes, events, nodes, known, outcome)
    seconds = time.perf_counter() - began
    asked = np.cumsum([work.pods[i].gpus * work.pods[i].milli for i in seed.pods])
    percent = work.gpus * WHOLE / 100
    step = np.round(asked / percent)
    placed = int(np.count_nonzero(outcome.node >= 0))
    return {
        "allocation": _by_step(step, np.round(outcome.used / percent, 2)),
        "fragmentation": _by_step(step, outcome.fragments / percent),
        "placed": placed,
        "refused": len(seed.pods) - placed,
        "seconds": round(seconds, 4),
        "decision_hash": decision_hash(outcome.node),
    }


def _by_step(step: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> list[float]:
    """Return the mean of the values at each percent; where none is, of those within a percent; else the last."""
    means: list[float] = []
    for percent in range(STEPS):
        off = np.abs(step - percent)
        near = values[off == 0] if (off == 0).any() else values[off <= 1]
        means.append(round(float(near.mean()), 2) if len(near) else means[-1] if means else 0.0)
    return means
