"""Work out one point of the grid: real placements by the fast engine, in the simulated time of a queueing system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mlfn_policies.kube_scores import least_allocated
from mlfn_sim.kernel import SECOND_US
from mlfn_sim.kube.calls import ApiSettings
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.engine import Batch, Engine, make_engine
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.ties import Draws
from mlfn_sim.scaling.copies import Ended, Work, run_copies
from mlfn_sim.scaling.quality import quality
from mlfn_sim.scaling.values import BURST, DESIGNS, Design, Point
from mlfn_sim.scaling.world import functions, nodes_of, sequence
from mlfn_sim.streams import Streams

__all__ = ["MOST_PODS_PER_NODE", "run_point"]

MOST_PODS_PER_NODE = 3
_MEASURED = 0.95
"""Of the placements, the share whose time counts for throughput: the last few may wait for a back-off."""
_TRIES = 20
"""Times that nodes are drawn anew when none of them fits."""
_Ints = npt.NDArray[np.int64]


@lru_cache(maxsize=1)
def _nodes(count: int, seed: int) -> tuple[NodeSpec, ...]:
    return nodes_of(count, Streams(seed))


def run_point(point: Point) -> dict[str, Any]:
    """Return the figures of a point, at each rate and for a burst."""
    design = next(each for each in DESIGNS if each.name == point.design)
    nodes, shapes = _nodes(point.nodes, point.seed), functions(point.constraints)
    pods = min(point.pods, MOST_PODS_PER_NODE * point.nodes)
    function = sequence(pods, Streams(point.seed))
    cycle_us = max(1, round(design.cycle_us(point.nodes, point.constraints, point.speed)))
    bind_us = ApiSettings().latency_us
    engine = make_engine("fast", Catalog(nodes), Profile(percentage=design.percentage), Draws(point.seed))
    for shape in shapes:
        engine.catalog.plan(shape)
    alone = _chosen(engine, design, (shapes, function), point.seed) if design.copies == 1 else None
    rates = []
    for rate in (*point.rates, BURST):
        arrival_us = _arrivals(rate, pods, point.seed)
        work = Work(shapes, function, arrival_us, cycle_us, bind_us)
        ended = run_copies(engine, work, design.copies) if alone is None else _serial(work, alone)
        measures = asdict(quality(nodes, shapes, function, ended.chosen))
        rates.append({"rate": rate} | _times(ended, arrival_us) | measures)
    return {
        "nodes": point.nodes,
        "constraints": point.constraints,
        "design": point.design,
        "pods": pods,
        "cycle_us": cycle_us,
        "rates": rates,
    }


def _arrivals(rate: float, pods: int, seed: int) -> _Ints:
    """Return when pods come: by a Poisson process whose gaps are the same at every rate but for their scale."""
    if rate == BURST:
        return np.zeros(pods, np.int64)
    gaps = Streams(seed).stream("scale arrivals").exponential(SECOND_US / rate, pods)
    return np.cumsum(gaps).astype(np.int64)


def _chosen(engine: Engine, design: Design, pods: tuple[Sequence[PodShape], _Ints], seed: int) -> _Ints:
    """Return the nodes that one scheduler chooses: whatever the rate, it sees all that it did before."""
    shapes, function = pods
    if not design.choices:
        return engine.run(Batch(shapes, function.astype(np.int32))).chosen.astype(np.int64)
    draws = Streams(seed).stream("scale choices")
    used = np.zeros(len(engine.catalog.nodes), np.int64)
    cpu = [node.allocatable["cpu"] for node in engine.catalog.nodes]
    chosen = np.full(len(function), -1, np.int64)
    for pod, f in enumerate(function.tolist()):
        for _ in range(_TRIES):
            drawn = draws.integers(0, len(used), design.choices).tolist()
            fitting = [node for node in drawn if engine.rejection(shapes[f], node) is None]
            if fitting:
                node = max(fitting, key=lambda each: least_allocated(int(used[each]), cpu[each]))
                engine.place(shapes[f], node)
                used[node] += shapes[f].assumed_cpu
                chosen[pod] = node
                break
    return chosen


def _serial(work: Work, chosen: _Ints) -> Ended:
    """Return the times of one scheduler, which takes the pods in their order."""
    # The pod k starts at max(arrival k, end k-1): with equal cycles c, k c + the largest (arrival j - j c), j <= k.
    steps = np.arange(len(chosen), dtype=np.int64) * work.cycle_us
    started = np.maximum.accumulate(work.arrival_us - steps) + steps
    return Ended(chosen, started, started + work.cycle_us + work.bind_us, 0)


def _times(ended: Ended, arrival_us: _Ints) -> dict[str, Any]:
    placed = ended.chosen >= 0
    count = int(placed.sum())
    delay_s = (ended.started_us - arrival_us)[placed] / SECOND_US
    latency_s = (ended.bound_us - arrival_us)[placed] / SECOND_US
    ends = np.sort(ended.bound_us[placed])
    counted = int(_MEASURED * count)
    took_us = int(ends[counted - 1]) - int(arrival_us[0]) if counted else 0
    return {
        "placed": count,
        "refused": len(arrival_us) - count,
        "conflicts": ended.conflicts,
        "throughput_per_s": round(counted * SECOND_US / took_us, 3) if took_us else 0.0,
        "queueing_mean_s": _rounded(delay_s.mean() if count else 0.0),
        "queueing_p99_s": _rounded(np.quantile(delay_s, 0.99) if count else 0.0),
        "latency_p50_s": _rounded(np.quantile(latency_s, 0.5) if count else 0.0),
        "latency_p99_s": _rounded(np.quantile(latency_s, 0.99) if count else 0.0),
    }


def _rounded(value: float) -> float:
    return round(float(value), 6)
