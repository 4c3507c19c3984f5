"""Run the openb study: one run for each workload, policy and seed, and what it says at every percent of arrival."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlfn_policies.place import WHOLE, Pod, Policy
from mlfn_sim.openb.trace import Models, read_hosts, read_pods
from mlfn_sim.openb.workload import arrivals, typical_pods
from mlfn_sim.placement.cluster import Host, columns, fresh_known, fresh_outcome, shapes_of, shares
from mlfn_sim.placement.kernel import DRAWS, Events, Ints, Shapes
from mlfn_sim.placement.names import policy_named
from mlfn_sim.placement.programs import program
from mlfn_sim.streams import Streams

__all__ = ["FIRST_SEED", "STEPS", "Curve", "Run", "Study", "run_one", "study"]

FIRST_SEED = 42
"""The published runs have the seeds 42 to 51."""
STEPS = 131
"""Percent of the cluster's GPUs asked for, 0 to 130."""


@dataclass(frozen=True, slots=True)
class Run:
    """Name one run."""

    workload: str
    policy: str
    seed: int


@dataclass(frozen=True, slots=True)
class Study:
    """Say where the trace is and how to run."""

    folder: Path
    fast: bool = True
    """Whether to compile the policies."""
    jobs: int | None = None
    """Processes; None: one for each core."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Hold what one run gave at each percent of arrival."""

    run: Run
    allocation: tuple[float, ...]
    """Percent of the cluster's GPUs in use."""
    fragmentation: tuple[float, ...]
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


def run_one(run: Run, policy: Policy, folder: Path, *, fast: bool = True) -> Curve:
    """Run one workload under one policy with one seed."""
    work = _work(folder, run.workload)
    streams = Streams(run.seed)
    order = arrivals(work.pods, work.gpus * WHOLE, streams.stream("arrivals"))
    hosts = [work.hosts[i] for i in streams.stream("nodes").permutation(len(work.hosts))]
    ready = program(policy, fast=fast)
    draws = streams.stream("ties").random((len(order), DRAWS))
    draws[:, 0] = 0.0  # the first of equals, of nodes in random order: how the authors' scheduler breaks ties
    events = Events(work.which[order], np.full(len(order), -1, dtype=np.int64), draws)
    known = fresh_known(len(work.shapes.columns), len(hosts), len(order))
    outcome = fresh_outcome(len(order))
    began = time.perf_counter()
    ready.run(work.shapes, events, columns(hosts, shares(work.typical)), known, outcome)
    seconds = time.perf_counter() - began
    arrived = np.cumsum([work.pods[i].gpus * work.pods[i].milli for i in order])
    capacity = work.gpus * WHOLE
    step = np.round(arrived / capacity * 100.0)
    placed = int(np.count_nonzero(outcome.node >= 0))
    return Curve(
        run,
        _by_step(step, np.round(outcome.used / capacity * 100.0, 2)),
        _by_step(step, outcome.fragments / capacity * 100.0),
        placed,
        len(order) - placed,
        seconds,
        _hash(outcome.node),
    )


def _hash(nodes: Ints) -> str:
    """Return the digest of (step, node) pairs that every engine prints."""
    pairs = np.stack([np.arange(len(nodes), dtype="<i8"), nodes.astype("<i8")], axis=1)
    return hashlib.blake2b(pairs.tobytes(), digest_size=8).hexdigest()


def study(plan: Study, runs: Sequence[Run], told: Callable[[str], None]) -> Iterator[Curve]:
    """Yield the curve of every run, in order; runs are spread over processes. ``told`` hears of what takes long."""
    policies = {run.policy: policy_named(run.policy) for run in runs}
    for name, policy in policies.items():
        if plan.fast:
            told(f"preparing {name}")
            ready = program(policy)
            if ready.fallback:
                told(f"{name} runs uncompiled: {ready.fallback}")
    for workload in {run.workload: None for run in runs}:
        _work(plan.folder, workload)
    jobs = min(plan.jobs or os.cpu_count() or 1, len(runs))
    if jobs == 1:
        for run in runs:
            yield run_one(run, policies[run.policy], plan.folder, fast=plan.fast)
        return
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_same_path, initargs=(sys.path,)
    ) as pool:
        yield from pool.map(_named_run, runs, [plan] * len(runs))


def _same_path(path: list[str]) -> None:
    """Import policies from where the first process does."""
    sys.path[:] = path


def _named_run(run: Run, plan: Study) -> Curve:
    return run_one(run, policy_named(run.policy), plan.folder, fast=plan.fast)


def _by_step(step: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Return the mean of the values at each percent; where none fell on one, of those within a percent of it."""
    means = []
    for percent in range(STEPS):
        for within in (0, 1):
            near = values[np.abs(step - percent) <= within]
            if len(near):
                means.append(round(float(near.mean()), 2))
                break
    return tuple(means)
