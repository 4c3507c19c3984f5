"""Lay out lanes for shapes: which nodes are alike for a shape before any pod comes, and how much room a lane needs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.lanes import BLOCK, MOST_CLASSES, Lane, Lanes
from mlfn_sim.kube.packing import PLUGINS, Rule
from mlfn_sim.kube.scanning import Cluster

__all__ = ["no_lanes", "pack_lanes"]

_ROOM = 16
"""Classes by counts of pods on the nodes themselves, for each group of nodes."""
_READING = (Rule.HARD, Rule.SOFT, Rule.NEAR, Rule.AWAY, Rule.KEPT_OUT, Rule.ATTRACTION)
_OWN = ("ImageLocality", "NodeResourcesBalancedAllocation", "NodeResourcesFit")
_HIGHEST = 100
"""Of an unweighted score."""


class _Groups:
    """Number the nodes' groups, equal questions once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._parts: dict[tuple[str, int], npt.NDArray[np.intp]] = {}
        self._rows: dict[tuple[tuple[str, int], ...], tuple[int, int]] = {}
        self.columns: list[npt.NDArray[np.uint8]] = []

    def row(self, s: int) -> tuple[int, int]:
        """Return the row of a shape's groups and their number; row -1: too many."""
        wanted = tuple(sorted(set(self._asked(s))))
        if wanted not in self._rows:
            found = np.zeros(len(self._cluster.nodes.order), np.intp)
            for part in wanted:
                ids = self._part(part)
                found = np.unique(found * (ids.max(initial=0) + 1) + ids, return_inverse=True)[1]
            count = int(found.max(initial=0)) + 1
            self._rows[wanted] = (len(self.columns), count) if count <= MOST_CLASSES else (-1, count)
            if count <= MOST_CLASSES:
                self.columns.append(found.astype(np.uint8))
        return self._rows[wanted]

    def _asked(self, s: int) -> Iterator[tuple[str, int]]:
        facts, (first, end) = self._cluster.shapes.facts[s], self._cluster.shapes.span[s, Rule.SOFT]
        yield from (("raw", int(facts[1])), ("raw", int(facts[2])))
        if end > first:
            yield "keyed", int(facts[4])
        single = self._cluster.tallies.single
        yield from (("value", topology) for _, topology in _topologies(self._cluster, s) if not single[topology])

    def _part(self, part: tuple[str, int]) -> npt.NDArray[np.intp]:
        if part not in self._parts:
            kind, row = part
            table = self._cluster.tallies.value if kind == "value" else getattr(self._cluster.shapes, kind)
            self._parts[part] = np.unique(table[row], return_inverse=True)[1]
        return self._parts[part]


def _topologies(cluster: Cluster, s: int) -> Iterator[tuple[int, int]]:
    """Yield (rule, topology) of everything about other pods that a shape's rules read."""
    for rule in _READING:
        first, end = cluster.shapes.span[s, rule]
        yield from ((rule, int(topology)) for topology in cluster.shapes.rows[first:end, 1])


def _fits(cluster: Cluster, s: int) -> bool:
    """Tell whether a lane can answer for a shape."""
    own = [rule for rule, topology in _topologies(cluster, s) if cluster.tallies.single[topology]]
    # A floor over all nodes, and nodes that lack their own company, would be looked for node by node.
    anywhere = bool(cluster.shapes.named_span[s, 0] < 0)
    return anywhere and Rule.HARD not in own and Rule.NEAR not in own and own.count(Rule.SOFT) <= 2


def no_lanes() -> Lanes:
    """Return lanes for nobody."""
    return _lanes(np.zeros((0, Lane.COUNT), np.int64), [], (0, 0))


def _lanes(table: npt.NDArray[np.int64], groups: list[npt.NDArray[np.uint8]], size: tuple[int, int]) -> Lanes:
    nodes, classes = size
    kept = int((table[:, Lane.SCORES] >= 0).sum())
    rows = max(len(groups), int(table[:, Lane.CLASSES].max(initial=-1)) + 1)
    member = np.zeros((rows, nodes), np.uint8)
    for i, group in enumerate(groups):
        member[i] = group
    blocks = -(-nodes // BLOCK)
    return Lanes(
        table,
        np.zeros((kept, nodes), np.int16),
        member,
        np.zeros(classes, np.int64),
        np.zeros(classes, np.int64),
        np.zeros(classes, np.int32),
        np.zeros(classes, np.int32),
        np.zeros((classes, blocks), np.int16),
        np.zeros((classes, blocks), np.uint8),
        np.zeros(nodes, np.int64),
        np.zeros(nodes, np.int32),
        np.zeros(nodes, np.int16),
    )


def pack_lanes(cluster: Cluster) -> Lanes:
    """Return empty lanes for all shapes that can have one; memory is taken when a shape first comes."""
    count, nodes = len(cluster.shapes.facts), len(cluster.nodes.order)
    table = np.full((count, Lane.COUNT), -1, np.int64)
    weights = [max(0, int(cluster.settings.weights[PLUGINS.index(name)])) for name in _OWN]
    if sum(weights) * _HIGHEST > np.iinfo(np.int16).max:
        return _lanes(table, [], (nodes, 0))
    groups, classes, lane = _Groups(cluster), 0, 0
    for s in range(count):
        row, groups_of_it = groups.row(s) if _fits(cluster, s) else (-1, 0)
        if row < 0:
            continue
        counted = any(
            rule in (Rule.SOFT, Rule.ATTRACTION) and cluster.tallies.single[topology]
            for rule, topology in _topologies(cluster, s)
        )
        room = min(MOST_CLASSES, max(32, groups_of_it * _ROOM)) if counted else groups_of_it
        steady = not any(True for _ in _topologies(cluster, s))
        table[s] = (lane, row, row, classes, room, 0 if counted else groups_of_it, -1, counted, steady, 0)
        lane, classes = lane + 1, classes + room
    own_rows = len(groups.columns)
    for s in np.flatnonzero(table[:, Lane.COUNTED] == 1).tolist():
        table[s, Lane.CLASSES] = own_rows
        own_rows += 1
    return _lanes(table, groups.columns, (nodes, classes))
