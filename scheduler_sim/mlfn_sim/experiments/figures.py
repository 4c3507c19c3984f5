"""Work out the figures of one run from its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlfn_sim.experiments.running import Simulation
from mlfn_sim.experiments.sampling import Samples
from mlfn_sim.kernel import SECOND_US
from mlfn_sim.kube.journal import NEVER, Outcome

__all__ = ["FIGURES", "figures_of", "latencies_of"]

FIGURES: Mapping[str, tuple[str, str]] = {
    "arrivals": ("pods", "pods that came in the time measured"),
    "bound": ("pods", "pods that were bound in the time measured"),
    "throughput": ("pods/s", "pods bound, by the length of the time measured"),
    "waiting_at_end": ("pods", "pods without a node when the run ended"),
    "queueing_delay_p50": ("ms", "median time from a pod's arrival to the start of its first scheduling cycle"),
    "queueing_delay_p95": ("ms", "its 95th percentile"),
    "queueing_delay_p99": ("ms", "its 99th percentile"),
    "placement_latency_p50": ("ms", "median time from a pod's arrival to its binding, of the pods that were bound"),
    "placement_latency_p95": ("ms", "its 95th percentile"),
    "placement_latency_p99": ("ms", "its 99th percentile"),
    "attempts": ("cycles/pod", "scheduling cycles for each pod that was tried"),
    "failed_cycles": ("share", "scheduling cycles that found no node"),
    "scheduler_busy": ("share", "of the whole run that scheduling cycles took"),
    "cpu_utilisation": ("share", "cpu that pods on nodes ask for, of what the nodes have; mean over time"),
    "memory_utilisation": ("share", "memory, likewise"),
    "gpu_utilisation": ("share", "GPUs, likewise"),
    "imbalance": ("share", "standard deviation of the nodes' cpu utilisation; mean over time"),
    "zone_skew": ("share", "pods in the fullest zone less those in the emptiest, of all; mean over time"),
    "fragmentation": ("share", "free cpu on nodes that cannot take a pod of the workload; mean over time"),
    "image_hits": ("share", "pods with an image that went to a node which had it"),
    "preempted": ("pods", "pods that had to end for others"),
    "lost": ("pods", "pods that ended with their node"),
}
"""Name -> unit and meaning."""
_Times = npt.NDArray[np.int64]


def figures_of(simulation: Simulation, samples: Samples) -> dict[str, float | None]:
    """Return every figure of a run that has ended; None where there is nothing to count."""
    outcome = simulation.scheduler.outcome()
    found: dict[str, float | None] = dict.fromkeys(FIGURES)
    found.update(_flow(simulation, outcome))
    found.update(_cycles(simulation, outcome))
    found.update(_state(simulation, samples))
    preempted = int((outcome.preempted_by != NEVER).sum())
    found.update(preempted=float(preempted), lost=float(simulation.lost_pods - preempted))
    return found


def latencies_of(simulation: Simulation) -> list[float]:
    """Return the placement latency, in milliseconds, at each percent of the pods bound; empty when none was."""
    times_us = _latencies(simulation, simulation.scheduler.outcome())
    if not len(times_us):
        return []
    found: list[float] = (np.percentile(times_us, range(101), method="inverted_cdf") / 1000).tolist()
    return found


def _latencies(simulation: Simulation, outcome: Outcome) -> _Times:
    ready = _measured(simulation, outcome) & (outcome.bound_us != NEVER)
    times_us: _Times = (outcome.bound_us - outcome.arrival_us)[ready]
    return times_us


def _measured(simulation: Simulation, outcome: Outcome) -> npt.NDArray[np.bool_]:
    """Tell which pods came in the time measured; pods of the cluster's file did not come."""
    own = np.arange(len(outcome.arrival_us)) >= len(simulation.world.bound)
    measured: npt.NDArray[np.bool_] = own & (outcome.arrival_us >= _begin_us(simulation))
    return measured


def _begin_us(simulation: Simulation) -> int:
    return round(simulation.scenario.run.warm_up_s * SECOND_US)


def _flow(simulation: Simulation, outcome: Outcome) -> Iterator[tuple[str, float | None]]:
    begin_us, end_us = _begin_us(simulation), simulation.kernel.now_us
    came = _measured(simulation, outcome)
    bound = outcome.bound_us >= begin_us
    bound[: len(simulation.world.bound)] = False
    yield "arrivals", float(came.sum())
    yield "bound", float(bound.sum())
    yield "throughput", float(bound.sum()) * SECOND_US / (end_us - begin_us) if end_us > begin_us else None
    yield "waiting_at_end", float(simulation.waiting)
    popped = came & (outcome.popped_us != NEVER)
    yield from _percentiles("queueing_delay", (outcome.popped_us - outcome.arrival_us)[popped])
    yield from _percentiles("placement_latency", _latencies(simulation, outcome))
    yield "attempts", float(outcome.attempts[popped].mean()) if popped.any() else None


def _percentiles(name: str, times_us: _Times) -> Iterator[tuple[str, float | None]]:
    for percent in (50, 95, 99):
        # A percentile is a time that occurred, so that it does not depend on how one would interpolate.
        at = float(np.percentile(times_us, percent, method="inverted_cdf")) / 1000 if len(times_us) else None
        yield f"{name}_p{percent}", at


def _cycles(simulation: Simulation, outcome: Outcome) -> Iterator[tuple[str, float | None]]:
    seen = simulation.decisions
    cycles = len(outcome.cycle_node)
    hits = np.frombuffer(seen.image, np.int8) if len(seen.image) else np.zeros(0, np.int8)
    asked = hits >= 0
    yield "failed_cycles", float((outcome.cycle_node == NEVER).mean()) if cycles else None
    yield "scheduler_busy", sum(seen.length_us) / simulation.kernel.now_us if simulation.kernel.now_us else None
    yield "image_hits", float(hits[asked].mean()) if asked.any() else None


def _state(simulation: Simulation, samples: Samples) -> Iterator[tuple[str, float | None]]:
    times = np.array(samples.series["time_s"])
    measured = times > simulation.scenario.run.warm_up_s

    def mean(name: str) -> float | None:
        values = np.array(samples.series[name])[measured]
        return float(values.mean()) if len(values) else None

    for name in ("cpu", "memory", "gpu"):
        yield f"{name}_utilisation", mean(name)
    for name in ("imbalance", "zone_skew", "fragmentation"):
        yield name, mean(name)
    has_gpus: Any = simulation.cluster.capacity[:, 2].any()
    if not has_gpus:
        yield "gpu_utilisation", None
