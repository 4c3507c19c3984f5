"""Full scoring without looking at every node: per shape, every node's own score is kept, and blocks know their best.

A *lane* holds a shape's own score of every position, -1 where the node itself rejects. The log of changed positions
tells which of them to work out again when the shape comes next. What other nodes have a say in (normalised scores,
spread, pods nearby) is equal for all nodes of a *class*: same raw scores, same values of the topologies that the
shape's rules read, same counts of pods on the node itself. So a decision asks the filters and scores of the scan about
one node of each class, and adds the best own score of the class. Ties are counted exactly, in the snapshot's order.

Best scores by block are bounds: where the last node with a block's best has gone, ``tied`` is 0 until the bound matters
and is worked out again. Compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.compiled import inlined, inner
from mlfn_sim.kube.packing import PLUGINS, Rule
from mlfn_sim.kube.scanning import (
    HERE,
    OF_GROUPS,
    Cluster,
    Room,
    filter_here,
    filter_pods,
    filter_spread,
    find_floors,
    too_full,
)
from mlfn_sim.kube.scoring import cpu_and_memory, is_default, score_own, score_shared

__all__ = ["BLOCK", "COUNTS_LIMIT", "MOST_CLASSES", "Lane", "Lanes", "place_by_lane"]

BLOCK = 64
"""Positions."""
MOST_CLASSES = 250
COUNTS_LIMIT = 4096
"""More pods of one selector than this on one node are not told apart: the shape is scanned for then."""
_SOFT, _ATTRACTION = Rule.SOFT, Rule.ATTRACTION
_SELDOM = (Rule.CONFLICT, Rule.AWAY, Rule.KEPT_OUT)
_PULL_LIMIT = 1 << 20
_IMAGE, _FREE, _EVEN = (
    PLUGINS.index(name) for name in ("ImageLocality", "NodeResourcesFit", "NodeResourcesBalancedAllocation")
)


class Lane:
    """Number the columns of a shape's lane."""

    SCORES, GROUPS, CLASSES, FIRST, ROOM, IN_USE, SEEN, COUNTED, STEADY, WEIGHED = range(10)
    """Row of ``own`` (-1: the shape is scanned for); row of groups; row of classes; first class, most, those in use;
    changes that the lane has followed (-1: it is to be made); whether pods on the node itself divide classes; whether
    only which classes have nodes decides what they share; whether ``shared`` holds that."""
    COUNT = 10


class Lanes(NamedTuple):
    """Everything that is kept."""

    table: npt.NDArray[np.int64]
    """[shape, column of Lane]"""
    own: npt.NDArray[np.int16]
    """[lane, position]"""
    member: npt.NDArray[np.uint8]
    """[row, position]: group, or class."""
    shared: npt.NDArray[np.int64]
    """By class: what its nodes score besides their own, of steady shapes."""
    key: npt.NDArray[np.int64]
    """By class: what its nodes have in common."""
    nodes: npt.NDArray[np.int32]
    """By class: nodes that do not reject by themselves."""
    example: npt.NDArray[np.int32]
    """By class: one of its nodes, if it has not left."""
    best: npt.NDArray[np.int16]
    """[class, block]: no node of the class there has more; -1: none is there."""
    tied: npt.NDArray[np.uint8]
    """[class, block]: how many have the best; 0: it is out of date."""
    keys: npt.NDArray[np.int64]
    """By place among the found: working room."""
    classes: npt.NDArray[np.int32]
    """Of each of the found: class, counted from the shape's first."""
    tops: npt.NDArray[np.int16]
    """Of each of the found: the best own score."""


@inner
def _find_keys(cluster: Cluster, room: Room, lanes: Lanes, s: int, n: int) -> bool:
    """Find what class the looked-at positions belong to; return whether the counts can be told apart."""
    rows, single, looked = cluster.shapes.rows, cluster.tallies.single, room.looked
    value, counts, offset = cluster.tallies.value, cluster.tallies.counts, cluster.tallies.offset
    keys, group = lanes.keys, lanes.member[lanes.table[s, 1]]
    for i in range(n):
        keys[i] = group[looked[i]]
    fine = True
    for j in range(cluster.shapes.span[s, _SOFT, 0], cluster.shapes.span[s, _SOFT, 1]):
        start, topology = offset[rows[j, 0]], rows[j, 1]
        if single[topology]:
            for i in range(n):
                v = value[topology, looked[i]]
                count = counts[start + v] + 1 if v >= 0 else 0
                fine = fine and count < COUNTS_LIMIT
                keys[i] = keys[i] * COUNTS_LIMIT + count
    for i in range(n):
        p, pull = looked[i], 0
        for j in range(cluster.shapes.span[s, _ATTRACTION, 0], cluster.shapes.span[s, _ATTRACTION, 1]):
            if single[rows[j, 1]]:
                v = value[rows[j, 1], p]
                pull += rows[j, 2] * counts[offset[rows[j, 0]] + v] if v >= 0 else 0
        fine = fine and -_PULL_LIMIT < pull < _PULL_LIMIT
        keys[i] = keys[i] * (2 * _PULL_LIMIT) + pull + _PULL_LIMIT
    return fine


@inner
def _class_of(lanes: Lanes, s: int, wanted: int) -> int:
    """Return the class with a key, a new or an empty one where there is none; -1: no room."""
    table, key, nodes = lanes.table, lanes.key, lanes.nodes
    first, room, in_use = table[s, 3], table[s, 4], table[s, 5]
    empty = -1
    for c in range(in_use):
        if key[first + c] == wanted:
            return c
        if nodes[first + c] == 0:
            empty = c
    if in_use < room:
        table[s, 5] += 1
        empty = in_use
    if empty >= 0:
        key[first + empty] = wanted
        lanes.best[first + empty] = -1
        lanes.tied[first + empty] = 0
    return empty


@inlined
def _settle(room: Room, lanes: Lanes, s: int, n: int) -> bool:
    """Put new own scores (``room.totals``, -1: rejected) of looked-at positions into a lane; False: no room."""
    table, looked, totals, keys, key = lanes.table, room.looked, room.totals, lanes.keys, lanes.key
    first, counted = table[s, 3], table[s, 7] != 0
    own, member = lanes.own[table[s, 0]], lanes.member[table[s, 2]]
    nodes, example, best, tied = lanes.nodes, lanes.example, lanes.best, lanes.tied
    for i in range(n):
        p, after = looked[i], totals[i]
        before, was = own[p], first + member[p]
        now = was
        if counted and after >= 0 and key[was] != keys[i]:
            c = _class_of(lanes, s, keys[i])
            if c < 0:
                return False
            member[p] = c
            now = first + c
        if after == before and now == was:
            continue
        block = p // BLOCK
        own[p] = after
        if before >= 0:
            nodes[was] -= 1
            table[s, 9] *= nodes[was] > 0
            if before == best[was, block]:
                tied[was, block] -= 1
        if after >= 0:
            table[s, 9] *= nodes[now] > 0
            nodes[now] += 1
            example[now] = p
            if after > best[now, block]:
                best[now, block] = after
                tied[now, block] = 1
            elif after == best[now, block]:
                tied[now, block] += 1
    return True


@inner
def _clear(lanes: Lanes, s: int) -> None:
    table = lanes.table
    first, end = table[s, 3], table[s, 3] + table[s, 4]
    lanes.own[table[s, 0]] = -1
    lanes.nodes[first:end] = 0
    lanes.best[first:end] = -1
    lanes.tied[first:end] = 0
    lanes.key[first:end] = -1
    lanes.table[s, 9] = 0
    if table[s, 7] != 0:
        table[s, 5] = 0
        lanes.member[table[s, 2]] = 0


@inner
def _rate(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Work out the own scores of looked-at positions into ``room.totals``, -1 where the node rejects."""
    filter_here(cluster, room, s, 0, n)
    filter_pods(cluster, room, s, (0, n), HERE)
    # Rejected nodes are scored as the others: that costs less than to sort them out.
    room.found[:n] = room.looked[:n]
    score_own(cluster, room, s, n)
    for i in range(n):
        if room.code[i] != 0:
            room.totals[i] = -1


@inner
def _is_plain(cluster: Cluster, s: int) -> bool:
    """Tell whether a shape asks cpu and memory of a node, tolerations and affinity, and nothing else."""
    plain, shapes = is_default(cluster.settings), cluster.shapes
    for rule in _SELDOM:
        plain = plain and shapes.span[s, rule, 0] == shapes.span[s, rule, 1]
    for r in range(2, shapes.asked.shape[1]):
        plain = plain and shapes.asked[s, r] == 0
    return plain


@inlined
def _rate_plain(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Do the same for a plain shape in one loop: most of a decision's time is spent here."""
    shapes, weights, fit, basic = cluster.shapes, cluster.settings.weights, cluster.settings.fit, cluster.nodes.basic
    facts, looked, totals = shapes.facts[s], room.looked, room.totals
    verdict, image, cpu, memory = shapes.verdict[facts[0]], shapes.image[facts[3]], facts[5], facts[6]
    for_image, for_free = max(0, weights[_IMAGE]), max(0, weights[_FREE])
    for_even = max(0, weights[_EVEN]) * facts[10]
    for i in range(n):
        p, total = looked[i], -1
        if verdict[p] == 0 and not too_full(basic, p, cpu, memory):
            free, even = cpu_and_memory(basic, p, facts, fit)
            total = for_image * image[p] + for_free * free + for_even * even
        totals[i] = total


@inlined
def _follow(cluster: Cluster, room: Room, lanes: Lanes, s: int) -> bool:
    """Bring a shape's lane up to date; False: it cannot be kept, the shape is scanned for from now on."""
    log, changes, looked = cluster.nodes.log, cluster.nodes.changes[0], room.looked
    total, seen = len(cluster.nodes.order), lanes.table[s, 6]
    if seen < 0 or changes - seen > total // 4:
        _clear(lanes, s)
        n = total
        for p in range(total):
            looked[p] = p
    else:
        n = changes - seen
        at = seen % len(log)
        for i in range(n):
            looked[i] = log[at]
            at = at + 1 if at + 1 < len(log) else 0
    lanes.table[s, 6] = changes
    if n == 0:
        return True
    if _is_plain(cluster, s):
        _rate_plain(cluster, room, s, n)
    else:
        _rate(cluster, room, s, n)
    fine = lanes.table[s, 7] == 0 or _find_keys(cluster, room, lanes, s, n)
    fine = fine and _settle(room, lanes, s, n)
    if not fine:
        lanes.table[s, 0] = -1
    return bool(fine)


@inner
def _refresh(lanes: Lanes, s: int, c: int, block: int) -> None:
    """Work out the best of a class in a block again."""
    own, member = lanes.own[lanes.table[s, 0]], lanes.member[lanes.table[s, 2]]
    top, tied = -1, 0
    for p in range(block * BLOCK, min(len(own), (block + 1) * BLOCK)):
        if member[p] == c and own[p] >= top:
            tied = tied + 1 if own[p] == top else 1
            top = own[p]
    lanes.best[lanes.table[s, 3] + c, block] = top
    lanes.tied[lanes.table[s, 3] + c, block] = tied if top >= 0 else 0


@inner
def _example(lanes: Lanes, s: int, c: int) -> int:
    """Return one node of a class that has some."""
    own, member = lanes.own[lanes.table[s, 0]], lanes.member[lanes.table[s, 2]]
    where = lanes.table[s, 3] + c
    p = int(lanes.example[where])
    if member[p] == c and own[p] >= 0:
        return p
    best = lanes.best[where]
    for block in range(len(best)):
        if best[block] < 0:
            continue
        for q in range(block * BLOCK, min(len(own), (block + 1) * BLOCK)):
            if member[q] == c and own[q] >= 0:
                lanes.example[where] = q
                return q
    return -1


@inner
def _weigh_classes(cluster: Cluster, room: Room, lanes: Lanes, s: int) -> int:
    """Find the classes that hold feasible nodes, with what their nodes score besides their own; return how many."""
    first, in_use, m = lanes.table[s, 3], lanes.table[s, 5], 0
    looked, code, found, classes, nodes = room.looked, room.code, room.found, lanes.classes, lanes.nodes
    for c in range(in_use):
        if nodes[first + c] > 0:
            looked[m] = _example(lanes, s, c)
            classes[m] = c
            code[m] = 0
            m += 1
    find_floors(cluster, s, room.floors)
    filter_spread(cluster, room, s, 0, m)
    filter_pods(cluster, room, s, (0, m), OF_GROUPS)
    n = 0
    for i in range(m):
        if code[i] == 0:
            found[n], classes[n] = looked[i], classes[i]
            room.stands_for[n] = nodes[first + classes[n]]
            n += 1
    room.totals[:n] = 0
    if n > 0:
        score_shared(cluster, room, s, n)
    room.stands_for[:n] = 1
    for j in range(n):
        lanes.shared[first + classes[j]] = room.totals[j]
    lanes.table[s, 9] = lanes.table[s, 8]
    return n


@inlined
def _recall(room: Room, lanes: Lanes, s: int) -> int:
    """Do the same for a steady shape that was weighed before."""
    first, n = lanes.table[s, 3], 0
    nodes, classes, shared, totals = lanes.nodes, lanes.classes, lanes.shared, room.totals
    for c in range(lanes.table[s, 5]):
        if nodes[first + c] > 0:
            classes[n], totals[n] = c, shared[first + c]
            n += 1
    return n


@inlined
def _highest(best: npt.NDArray[np.int16]) -> np.int16:
    """Return the highest of all blocks."""
    top = np.int16(-1)
    for block in range(len(best)):
        top = max(top, best[block])
    return top


@inlined
def _ties(
    best: npt.NDArray[np.int16], tied: npt.NDArray[np.uint8], top: np.int16, span: tuple[int, int]
) -> tuple[np.int32, np.int32]:
    """Return how many nodes of the blocks of a span have the best own score, and how many blocks are out of date."""
    ties = stale = np.int32(0)
    for block in range(span[0], span[1]):
        equal = best[block] == top
        ties += tied[block] if equal else np.uint8(0)
        stale += np.int32(equal & (tied[block] == 0))
    return ties, stale


@inlined
def _find_best(room: Room, lanes: Lanes, s: int, n: int) -> int:
    """Find the highest total; bounds that could pass it are worked out again first."""
    first, tops, classes, totals = lanes.table[s, 3], lanes.tops, lanes.classes, room.totals
    best, tied = lanes.best, lanes.tied
    for j in range(n):
        tops[j] = _highest(best[first + classes[j]])
    highest, sure = 0, False
    while not sure:
        highest, sure = totals[0] + tops[0], True
        for j in range(n):
            highest = max(highest, totals[j] + tops[j])
        for j in range(n):
            row = first + classes[j]
            if totals[j] + tops[j] != highest or _ties(best[row], tied[row], tops[j], (0, best.shape[1]))[1] == 0:
                continue
            for block in range(best.shape[1]):
                if best[row, block] == tops[j] and tied[row, block] == 0:
                    _refresh(lanes, s, classes[j], block)
            tops[j] = _highest(best[row])
            sure = False
    return highest


@inlined
def _ties_of_all(lanes: Lanes, first: int, kept: int, span: tuple[int, int]) -> int:
    """Return how many nodes of the blocks of a span have the highest total."""
    ties, tops, classes = 0, lanes.tops, lanes.classes
    for j in range(kept):
        row = first + classes[j]
        ties += int(_ties(lanes.best[row], lanes.tied[row], tops[j], span)[0])
    return ties


@inlined
def _pick(cluster: Cluster, room: Room, lanes: Lanes, s: int, span: tuple[int, int, float]) -> tuple[int, int]:
    """Return the position that the draw takes among the nodes with the highest total, and how many they are."""
    n, highest, draw = span
    first, tops, classes, totals = lanes.table[s, 3], lanes.tops, lanes.classes, room.totals
    own, member = lanes.own[lanes.table[s, 0]], lanes.member[lanes.table[s, 2]]
    blocks, order, kept = lanes.best.shape[1], cluster.nodes.order, 0
    for j in range(n):
        if totals[j] + tops[j] == highest:
            classes[kept], tops[kept] = classes[j], tops[j]
            kept += 1
    ties = _ties_of_all(lanes, first, kept, (0, blocks))
    wanted, chosen = int(draw * ties), -1
    for stretch in range(0, blocks, BLOCK):
        here = _ties_of_all(lanes, first, kept, (stretch, min(blocks, stretch + BLOCK)))
        if here == 0 or (draw >= 0 and wanted >= here):
            wanted -= here
            continue
        for block in range(stretch, min(blocks, stretch + BLOCK)):
            here = _ties_of_all(lanes, first, kept, (block, block + 1))
            if here == 0 or (draw >= 0 and wanted >= here):
                wanted -= here
                continue
            for p in range(block * BLOCK, min(len(own), (block + 1) * BLOCK)):
                for j in range(kept):
                    if member[p] == classes[j] and own[p] == tops[j]:
                        if draw >= 0 and wanted == 0:
                            return p, ties
                        wanted -= 1
                        if chosen < 0 or order[p] < order[chosen]:
                            chosen = p
    return chosen, ties


@inlined
def place_by_lane(cluster: Cluster, room: Room, lanes: Lanes, s: int, draw: float) -> tuple[int, int]:
    """Return the chosen position, -1 for none, and how many tie; -1 ties: the shape has to be scanned for."""
    if not _follow(cluster, room, lanes, s):
        return -1, -1
    n = _recall(room, lanes, s) if lanes.table[s, 9] != 0 else _weigh_classes(cluster, room, lanes, s)
    if n == 0:
        return -1, 0
    return _pick(cluster, room, lanes, s, (n, _find_best(room, lanes, s, n), draw))
