"""The search for feasible nodes over flat arrays. Compiled.

Positions to look at stand in a list; each filter is one loop over it. Arrays are taken out of their tuples before a
loop: reading a tuple inside it, or passing one to a function that is called there, copies the tuple, which costs a
hundred times all else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube import compiled as rules
from mlfn_sim.kube.compiled import compiled, inlined, inner
from mlfn_sim.kube.packing import PLUGINS, Nodes, Rule, Settings, Shapes, Tallies

__all__ = ["EVERYWHERE", "HERE", "OF_GROUPS", "Cluster", "Room", "filter_all", "filter_here", "filter_pods",
           "filter_spread", "find_floors", "make_room", "search"]  # fmt: skip

_HARD, _NEAR, _AWAY, _KEPT_OUT, _CONFLICT = Rule.HARD, Rule.NEAR, Rule.AWAY, Rule.KEPT_OUT, Rule.CONFLICT
_BARRED, _PORTS_CODE, _FIT_CODE, _NO_LABEL, _SPREAD_CODE, _NEAR_CODE, _AWAY_CODE, _KEPT_CODE = 9, 4, 5, 6, 7, 8, 10, 11
HERE, OF_GROUPS, EVERYWHERE = 1, 0, 2
"""Which rules about other pods: those that pods of the node itself decide, those that pods of its topology do, both."""


class Cluster(NamedTuple):
    """Everything that a decision reads."""

    nodes: Nodes
    shapes: Shapes
    tallies: Tallies
    settings: Settings


class Room(NamedTuple):
    """Room for the working of one decision."""

    looked: npt.NDArray[np.int32]
    """Positions to look at, in order."""
    code: npt.NDArray[np.int8]
    """Of each of them: why it is rejected, 0 where it is not."""
    found: npt.NDArray[np.int32]
    stands_for: npt.NDArray[np.int32]
    """How many nodes each of the found stands for."""
    columns: npt.NDArray[np.int64]
    """[plugin, place among the found]: unweighted, then weighted scores."""
    totals: npt.NDArray[np.int64]
    used: npt.NDArray[np.bool_]
    """By plugin: it scored."""
    floors: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    reals: npt.NDArray[np.float64]
    skews: npt.NDArray[np.int64]
    seen: npt.NDArray[np.int32]
    """By topology value: the last decision's mark."""
    mark: npt.NDArray[np.int32]


def make_room(nodes: int, values: int, rules_of_a_shape: int) -> Room:
    """Return room for decisions over so many nodes, topology values and rules."""
    most = max(8, rules_of_a_shape)
    return Room(
        np.zeros(nodes, np.int32),
        np.zeros(nodes, np.int8),
        np.zeros(nodes, np.int32),
        np.ones(nodes, np.int32),
        np.zeros((len(PLUGINS), nodes), np.int64),
        np.zeros(nodes, np.int64),
        np.zeros(len(PLUGINS), np.bool_),
        np.zeros(most, np.int64),
        np.zeros(most),
        np.zeros(most, np.int64),
        np.zeros(most),
        np.zeros(most, np.int64),
        np.zeros(max(1, values), np.int32),
        np.zeros(1, np.int32),
    )


@compiled
def find_floors(cluster: Cluster, s: int, floors: npt.NDArray[np.int64]) -> None:
    """Find the least count of each hard spread constraint."""
    tallies, shapes = cluster.tallies, cluster.shapes
    first, end = shapes.span[s, _HARD]
    for i in range(first, end):
        t = shapes.rows[i, 0]
        a, b = tallies.present_span[t], tallies.present_span[t + 1]
        least = 0
        if b > a and b - a >= shapes.rows[i, 4]:
            least = tallies.counts[tallies.offset[t] + tallies.present[a]]
            for j in range(a + 1, b):
                least = min(least, tallies.counts[tallies.offset[t] + tallies.present[j]])
        floors[i - first] = least


@inner
def _filter_others(cluster: Cluster, room: Room, s: int, first: int, end: int) -> None:
    """Reject where a resource other than cpu and memory is short."""
    asked, capacity, used = cluster.shapes.asked, cluster.nodes.capacity, cluster.nodes.used
    looked, code = room.looked, room.code
    for r in range(2, asked.shape[1]):
        amount = asked[s, r]
        if amount == 0:
            continue
        for i in range(first, end):
            if code[i] == 0 and amount > capacity[looked[i], r] - used[looked[i], r]:
                code[i] = _FIT_CODE


@inlined
def too_full(basic: npt.NDArray[np.int64], p: int, cpu: int, memory: int) -> bool:
    """Tell whether a position lacks cpu or memory, or has its number of pods."""
    return bool(
        basic[p, 6] + 1 > basic[p, 7]
        or (cpu > 0 and cpu > basic[p, 0] - basic[p, 2])
        or (memory > 0 and memory > basic[p, 1] - basic[p, 3])
    )


@inlined
def filter_here(cluster: Cluster, room: Room, s: int, first: int, end: int) -> None:
    """Run the filters that only a node itself decides over the positions from ``first`` to ``end``."""
    shapes, basic, barred, ports = cluster.shapes, cluster.nodes.basic, cluster.nodes.barred, cluster.nodes.ports
    verdict, row, rows = shapes.verdict, shapes.facts[s, 0], shapes.rows
    cpu, memory = shapes.facts[s, 5], shapes.facts[s, 6]
    conflict, last_conflict = shapes.span[s, _CONFLICT]
    looked, code = room.looked, room.code
    for i in range(first, end):
        p = looked[i]
        why = _BARRED if barred[p] else int(verdict[row, p])
        if why == 0:
            if too_full(basic, p, cpu, memory):
                why = _FIT_CODE
            for j in range(conflict, last_conflict):
                why = _PORTS_CODE if ports[p, rows[j, 0]] > 0 else why
        code[i] = why
    if shapes.asked.shape[1] > 2:
        _filter_others(cluster, room, s, first, end)


@inner
def filter_spread(cluster: Cluster, room: Room, s: int, first: int, end: int) -> None:
    """Run the hard spread constraints; ``room.floors`` holds their floors."""
    rows, floors, looked, code = cluster.shapes.rows, room.floors, room.looked, room.code
    value, counts, offset = cluster.tallies.value, cluster.tallies.counts, cluster.tallies.offset
    from_row, to_row = cluster.shapes.span[s, _HARD]
    for j in range(from_row, to_row):
        start, topology, most = offset[rows[j, 0]], rows[j, 1], rows[j, 2] + floors[j - from_row] - rows[j, 3]
        for i in range(first, end):
            if code[i] == 0:
                v = value[topology, looked[i]]
                if v < 0:
                    code[i] = _NO_LABEL
                elif counts[start + v] > most:
                    code[i] = _SPREAD_CODE


@inner
def _filter_near(cluster: Cluster, room: Room, s: int, first: int, end: int) -> None:
    rows, total, looked, code = cluster.shapes.rows, cluster.tallies.total, room.looked, room.code
    value, counts, offset = cluster.tallies.value, cluster.tallies.counts, cluster.tallies.offset
    from_row, to_row = cluster.shapes.span[s, _NEAR]
    nobody = cluster.shapes.facts[s, 11] != 0
    for j in range(from_row, to_row):
        nobody = nobody and total[rows[j, 0]] == 0
    for j in range(from_row, to_row):
        start, topology = offset[rows[j, 0]], rows[j, 1]
        for i in range(first, end):
            if code[i] == 0:
                v = value[topology, looked[i]]
                if v < 0 or not (nobody or counts[start + v] > 0):
                    code[i] = _NEAR_CODE


@inner
def filter_pods(cluster: Cluster, room: Room, s: int, span: tuple[int, int], which: int) -> None:
    """Run the required rules about other pods that ``which`` names over the positions of ``span``."""
    first, end = span
    if which != HERE:
        _filter_near(cluster, room, s, first, end)
    rows, single, looked, code = cluster.shapes.rows, cluster.tallies.single, room.looked, room.code
    value, counts, offset = cluster.tallies.value, cluster.tallies.counts, cluster.tallies.offset
    for rule, word in ((_AWAY, _AWAY_CODE), (_KEPT_OUT, _KEPT_CODE)):
        for j in range(cluster.shapes.span[s, rule, 0], cluster.shapes.span[s, rule, 1]):
            start, topology = offset[rows[j, 0]], rows[j, 1]
            if which not in (EVERYWHERE, int(single[topology])):
                continue
            for i in range(first, end):
                if code[i] == 0:
                    v = value[topology, looked[i]]
                    if v >= 0 and counts[start + v] > 0:
                        code[i] = word


@compiled
def filter_all(cluster: Cluster, room: Room, s: int, first: int, end: int) -> None:
    """Run all filters; the first that rejects counts."""
    filter_here(cluster, room, s, first, end)
    span = cluster.shapes.span
    if span[s, _HARD, 1] > span[s, _HARD, 0]:
        filter_spread(cluster, room, s, first, end)
    if span[s, _KEPT_OUT, 1] > span[s, _NEAR, 0]:  # the rows of the rules from the one to the other stand together
        filter_pods(cluster, room, s, (first, end), EVERYWHERE)


@compiled
def search(cluster: Cluster, room: Room, s: int, start: int) -> tuple[int, int]:
    """Find feasible positions from ``start`` on; return how many, and how many were looked at."""
    looked, code, into, named = room.looked, room.code, room.found, cluster.shapes.named
    from_named, to_named = cluster.shapes.named_span[s]
    total = to_named - from_named if from_named >= 0 else len(cluster.nodes.order)
    wanted = rules.nodes_to_find(total, cluster.settings.percentage)
    find_floors(cluster, s, room.floors)
    found = first = 0
    at = start % total if total > 0 else 0
    while first < total:
        # One more than wanted ends the search and is not kept.
        end = min(total, first + wanted - found + 1 + (wanted - found) // 8)
        for i in range(first, end):
            looked[i] = named[from_named + at] if from_named >= 0 else at
            at = at + 1 if at + 1 < total else 0
        filter_all(cluster, room, s, first, end)
        for i in range(first, end):
            if code[i] == 0:
                if found == wanted:
                    return found, i
                into[found] = looked[i]
                found += 1
        first = end
    return found, total
