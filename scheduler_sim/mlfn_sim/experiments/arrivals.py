"""Draw when pods come, of which function they are, and how long they stay.

Each of the three has a stream of its own, and is drawn in the order of arrival: whatever else is changed in a scenario,
the k-th pod comes at the same time and stays as long.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mlfn_sim.experiments.scenario import Arrivals, Lifetime, Scenario
from mlfn_sim.experiments.trace import FOREVER, Coming, Ints, read_trace
from mlfn_sim.experiments.world import World
from mlfn_sim.kernel import SECOND_US
from mlfn_sim.streams import Streams

__all__ = ["draw_pods"]

_BLOCK = 4096


def draw_pods(scenario: Scenario, world: World, streams: Streams) -> Coming:
    """Return the pods of one seed."""
    work = scenario.workload
    end_us = round(scenario.run.duration_s * SECOND_US)
    if world.trace:
        return read_trace(world.trace, [each.name for each in world.kinds]).until(end_us, scenario.run.pods)
    times = _times(work.pods.arrivals, end_us, scenario.run.pods, streams)
    if len(world.given):
        kind = world.given[np.arange(len(times)) % len(world.given)]
    else:
        reached = np.cumsum([each.share for each in world.kinds])
        draws = streams.stream("functions").random(len(times))
        kind = np.minimum(np.searchsorted(reached, draws, side="right"), len(world.kinds) - 1)
    return Coming(times, kind.astype(np.int64), _lifetimes(work.pods.lifetime, len(times), streams))


def _times(arrivals: Arrivals, end_us: int, most: int, streams: Streams) -> Ints:
    """Return the times of arrival up to the end, and no more than ``most`` of them (0: no limit)."""
    limit = most or np.iinfo(np.int64).max
    if arrivals.process == "burst":
        count = min(limit, arrivals.burst_pods * (1 + math.floor(end_us / (arrivals.every_s * SECOND_US))))
        turns = np.arange(count) // arrivals.burst_pods
        return _whole(turns * arrivals.every_s * SECOND_US)
    gap_us = SECOND_US / arrivals.rate_per_s
    if arrivals.process == "constant":
        count = min(limit, 1 + math.floor(end_us / gap_us))
        return _whole(np.arange(count) * gap_us)
    generator = streams.stream("arrivals")
    blocks: list[npt.NDArray[np.float64]] = []
    reached, drawn = 0.0, 0
    while reached <= end_us and drawn < limit:
        block = reached + np.cumsum(generator.exponential(gap_us, _BLOCK))
        blocks.append(block)
        reached, drawn = float(block[-1]), drawn + _BLOCK
    times = np.concatenate(blocks)
    return _whole(times[times <= end_us][:limit])


def _lifetimes(lifetime: Lifetime, count: int, streams: Streams) -> Ints:
    generator = streams.stream("lifetimes")
    match lifetime.distribution:
        case "forever":
            return np.full(count, FOREVER, np.int64)
        case "constant":
            seconds = np.full(count, lifetime.mean_s)
        case "exponential":
            seconds = generator.exponential(lifetime.mean_s, count)
        case _:
            # The mean of a lognormal distribution is exp(mu + sigma^2 / 2).
            mu = math.log(lifetime.mean_s) - lifetime.sigma**2 / 2
            seconds = generator.lognormal(mu, lifetime.sigma, count)
    return np.maximum(_whole(seconds * SECOND_US), 1)


def _whole(times: npt.NDArray[np.floating]) -> Ints:
    rounded: Ints = np.rint(times).astype(np.int64)
    return rounded
