"""Place and remove pods, and work through a batch, over flat arrays. Compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.compiled import compiled, inlined
from mlfn_sim.kube.lanes import Lanes, place_by_lane
from mlfn_sim.kube.packing import Rule
from mlfn_sim.kube.scanning import Cluster, Room, search
from mlfn_sim.kube.scoring import choose, score

__all__ = ["Work", "change", "work"]

_CHANGE, _PORT = Rule.CHANGE, Rule.PORT


class Work(NamedTuple):
    """Hold a batch and its outcome."""

    steps: npt.NDArray[np.int32]
    draws: npt.NDArray[np.float64]
    chosen: npt.NDArray[np.int32]
    """By pod of the batch: position."""
    shape: npt.NDArray[np.int32]
    ties: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    gone: npt.NDArray[np.bool_]


@compiled
def change(cluster: Cluster, s: int, p: int, sign: int) -> None:
    """Put a pod onto a position, or take it off."""
    _change(cluster, s, p, sign)


@inlined
def _change(cluster: Cluster, s: int, p: int, sign: int) -> None:
    nodes, shapes, tallies = cluster.nodes, cluster.shapes, cluster.tallies
    node, facts, rows = nodes.basic[p], shapes.facts[s], shapes.rows
    node[2] += sign * facts[5]
    node[3] += sign * facts[6]
    node[4] += sign * facts[7]
    node[5] += sign * facts[8]
    node[6] += sign
    nodes.log[nodes.changes[0] % len(nodes.log)] = p
    nodes.changes[0] += 1
    for r in range(2, shapes.asked.shape[1]):
        nodes.used[p, r] += sign * shapes.asked[s, r]
    for i in range(shapes.span[s, _PORT, 0], shapes.span[s, _PORT, 1]):
        nodes.ports[p, rows[i, 0]] += sign
    for i in range(shapes.span[s, _CHANGE, 0], shapes.span[s, _CHANGE, 1]):
        t = rows[i, 0]
        value = tallies.value[tallies.topology[t], p]
        if value >= 0 and tallies.admitted[tallies.nodes[t], p]:
            tallies.counts[tallies.offset[t] + value] += sign * rows[i, 1]
            tallies.total[t] += sign * rows[i, 1]


@compiled
def work(cluster: Cluster, room: Room, lanes: Lanes, batch: Work, start: int) -> tuple[int, int]:
    """Decide and place one pod after another; return the start of the next search and how many draws were used.

    A lane looks at all nodes, which leaves the start where it is.
    """
    total = len(cluster.nodes.order)
    pod = drawn = 0
    for step in batch.steps:
        if step < 0:
            k = -1 - step
            if batch.chosen[k] >= 0 and not batch.gone[k]:
                batch.gone[k] = True
                _change(cluster, batch.shape[k], batch.chosen[k], -1)
            continue
        draw = batch.draws[drawn] if len(batch.draws) else -1.0
        chosen, ties = -1, -1
        if len(lanes.table) > 0 and lanes.table[step, 0] >= 0:
            chosen, ties = place_by_lane(cluster, room, lanes, step, draw)
            start = start % total if total else start
        if ties < 0:
            ties = 0
            n, evaluated = search(cluster, room, step, start)
            if n > 0:
                score(cluster, room, step, n)
                chosen, ties = choose(cluster, room, n, draw)
            start = (start + evaluated) % total if total else start
        if chosen >= 0:
            drawn += 1
            _change(cluster, step, chosen, 1)
        batch.chosen[pod], batch.shape[pod], batch.ties[pod], batch.starts[pod] = chosen, step, ties, start
        pod += 1
    return start, drawn
