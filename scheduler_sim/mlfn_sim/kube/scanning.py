"""The scheduling cycle over flat arrays: search for feasible nodes, score them, choose. Compiled.

Every rule of a score is one of :mod:`mlfn_policies.kube_scores`; here is only where its numbers come from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube import compiled as rules
from mlfn_sim.kube.compiled import compiled
from mlfn_sim.kube.packing import Nodes, Settings, Shapes, Tallies

__all__ = ["Cluster", "Room", "choose", "make_room", "score", "search"]

_REQUEST, _HARD, _SOFT, _NEAR, _AWAY, _KEPT_OUT, _ATTRACTION, _CHANGE, _PORT, _CONFLICT = range(10)
_IMAGE, _INTERPOD, _AFFINITY, _BALANCED, _FIT, _SPREAD, _TAINT = range(7)
_BARRED, _PORTS_CODE, _FIT_CODE, _NO_LABEL, _SPREAD_CODE, _NEAR_CODE, _AWAY_CODE, _KEPT_CODE = 9, 4, 5, 6, 7, 8, 10, 11


class Cluster(NamedTuple):
    """Everything that a decision reads."""

    nodes: Nodes
    shapes: Shapes
    tallies: Tallies
    settings: Settings


class Room(NamedTuple):
    """Room for the working of one decision."""

    found: npt.NDArray[np.int32]
    code: npt.NDArray[np.int8]
    """By position: why it was rejected, 0 where it was not."""
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
        np.zeros((7, nodes), np.int64),
        np.zeros(nodes, np.int64),
        np.zeros(7, np.bool_),
        np.zeros(most, np.int64),
        np.zeros(most),
        np.zeros(most, np.int64),
        np.zeros(most),
        np.zeros(most, np.int64),
        np.zeros(max(1, values), np.int32),
        np.zeros(1, np.int32),
    )


@compiled
def _count(tallies: Tallies, tally: int, topology: int, p: int) -> int:
    value = tallies.value[topology, p]
    return tallies.counts[tallies.offset[tally] + value] if value >= 0 else 0


@compiled
def _find_floors(cluster: Cluster, s: int, floors: npt.NDArray[np.int64]) -> None:
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


@compiled
def _port_taken(cluster: Cluster, s: int, p: int) -> bool:
    taken = False
    for i in range(cluster.shapes.span[s, _CONFLICT, 0], cluster.shapes.span[s, _CONFLICT, 1]):
        taken = taken or cluster.nodes.ports[p, cluster.shapes.rows[i, 0]] > 0
    return taken


@compiled
def _lacks_others(cluster: Cluster, s: int, p: int) -> bool:
    """Tell whether a resource other than cpu and memory is short."""
    asked = cluster.shapes.asked
    for r in range(2, asked.shape[1]):
        amount = asked[s, r]
        if amount > 0 and amount > cluster.nodes.capacity[p, r] - cluster.nodes.used[p, r]:
            return True
    return False


@compiled
def _spread_code(cluster: Cluster, s: int, p: int, floors: npt.NDArray[np.int64]) -> int:
    tallies, rows = cluster.tallies, cluster.shapes.rows
    first, end = cluster.shapes.span[s, _HARD]
    for i in range(first, end):
        value = tallies.value[rows[i, 1], p]
        if value < 0:
            return _NO_LABEL
        if tallies.counts[tallies.offset[rows[i, 0]] + value] + rows[i, 3] - floors[i - first] > rows[i, 2]:
            return _SPREAD_CODE
    return 0


@compiled
def _pod_code(cluster: Cluster, s: int, p: int) -> int:
    tallies, shapes = cluster.tallies, cluster.shapes
    rows = shapes.rows
    first, end = shapes.span[s, _NEAR]
    if end > first:
        met, nobody = True, True
        for i in range(first, end):
            if tallies.value[rows[i, 1], p] < 0:
                return _NEAR_CODE
            met = met and _count(tallies, rows[i, 0], rows[i, 1], p) > 0
            nobody = nobody and tallies.total[rows[i, 0]] == 0
        if not met and not (nobody and shapes.facts[s, 11] != 0):
            return _NEAR_CODE
    for i in range(shapes.span[s, _AWAY, 0], shapes.span[s, _AWAY, 1]):
        if _count(tallies, rows[i, 0], rows[i, 1], p) > 0:
            return _AWAY_CODE
    for i in range(shapes.span[s, _KEPT_OUT, 0], shapes.span[s, _KEPT_OUT, 1]):
        if _count(tallies, rows[i, 0], rows[i, 1], p) > 0:
            return _KEPT_CODE
    return 0


@compiled
def _rare_code(cluster: Cluster, s: int, p: int, floors: npt.NDArray[np.int64]) -> int:
    """Return what the rules say that few shapes have."""
    if _lacks_others(cluster, s, p):
        return _FIT_CODE
    code = _spread_code(cluster, s, p, floors)
    return code if code != 0 else _pod_code(cluster, s, p)


@compiled
def _has_rare_rules(shapes: Shapes, s: int) -> bool:
    rare = False
    for rule in (_HARD, _NEAR, _AWAY, _KEPT_OUT):
        rare = rare or shapes.span[s, rule, 1] > shapes.span[s, rule, 0]
    for r in range(2, shapes.asked.shape[1]):
        rare = rare or shapes.asked[s, r] > 0
    return rare


@compiled
def search(cluster: Cluster, room: Room, s: int, start: int) -> tuple[int, int]:
    """Find feasible positions from ``start`` on; return how many, and how many were looked at.

    Arrays are taken out before the loop: reading a tuple inside it copies the tuple, which costs 200 times all else.
    """
    shapes, basic, barred = cluster.shapes, cluster.nodes.basic, cluster.nodes.barred
    verdict, row = shapes.verdict, shapes.facts[s, 0]
    cpu, memory = shapes.facts[s, 5], shapes.facts[s, 6]
    has_ports, has_rare = shapes.span[s, _CONFLICT, 1] > shapes.span[s, _CONFLICT, 0], _has_rare_rules(shapes, s)
    total, into, codes, floors = len(cluster.nodes.order), room.found, room.code, room.floors
    wanted = rules.nodes_to_find(total, cluster.settings.percentage)
    _find_floors(cluster, s, floors)
    found = rejected = 0
    p = start
    for _ in range(total):
        code = _BARRED if barred[p] else int(verdict[row, p])
        if code == 0 and has_ports and _port_taken(cluster, s, p):
            code = _PORTS_CODE
        if code == 0 and (
            basic[p, 6] + 1 > basic[p, 7]
            or (cpu > 0 and cpu > basic[p, 0] - basic[p, 2])
            or (memory > 0 and memory > basic[p, 1] - basic[p, 3])
        ):
            code = _FIT_CODE
        if code == 0 and has_rare:
            code = _rare_code(cluster, s, p, floors)
        if code != 0:
            rejected += 1
        elif found == wanted:
            break  # one more than wanted ends the search and is not kept
        else:
            into[found] = p
            found += 1
        codes[p] = code
        p += 1
        if p == total:
            p = 0
    return found, found + rejected


@compiled
def _fit_use(cluster: Cluster, s: int, p: int, resource: int) -> tuple[int, int]:
    """Return use with the pod, and capacity; capacity 0 leaves the resource out."""
    node, shapes = cluster.nodes.basic[p], cluster.shapes
    if resource < 2:
        return node[4 + resource] + shapes.facts[s, 7 + resource], node[resource]
    asked = shapes.asked[s, resource]
    if asked == 0:
        return 0, 0
    return cluster.nodes.used[p, resource] + asked, cluster.nodes.capacity[p, resource]


@compiled
def fit_score(cluster: Cluster, s: int, p: int) -> int:
    """Return NodeResourcesFit."""
    settings = cluster.settings
    total = weights = 0
    for i in range(len(settings.fit)):
        used, capacity = _fit_use(cluster, s, p, settings.fit[i, 0])
        if capacity == 0:
            continue
        if settings.strategy == 0:
            value = rules.least_allocated(used, capacity)
        elif settings.strategy == 1:
            value = rules.most_allocated(used, capacity)
        else:
            value = rules.ratio_score(used, capacity, settings.utilizations, settings.scores)
            if value == 0:
                continue
        total += value * settings.fit[i, 1]
        weights += settings.fit[i, 1]
    if weights == 0:
        return 0
    return rules.rounded_half_up(total, weights) if settings.strategy == 2 else total // weights


@compiled
def balanced_score(cluster: Cluster, s: int, p: int, shares: npt.NDArray[np.float64]) -> int:
    """Return NodeResourcesBalancedAllocation."""
    node, shapes = cluster.nodes.basic[p], cluster.shapes
    count = 0
    for resource in cluster.settings.balanced:
        asked = shapes.asked[s, resource]
        if resource < 2:
            capacity, used = node[resource], node[2 + resource]
        else:
            capacity, used = cluster.nodes.capacity[p, resource], cluster.nodes.used[p, resource]
            if asked == 0:
                continue
        if capacity != 0:
            shares[count] = min(1.0, (used + asked) / capacity)
            count += 1
    if count == 2:
        return int(rules.balanced2(shares[0], shares[1]))
    return int(rules.balanced_many(shares[:count]))


@compiled
def _score_static(cluster: Cluster, room: Room, s: int, n: int) -> None:
    shapes, columns, found = cluster.shapes, room.columns, room.found
    facts, image, raw = shapes.facts[s], shapes.image, shapes.raw
    taint_row, affinity_row, image_row = facts[1], facts[2], facts[3]
    most_taint = most_affinity = 0
    for i in range(n):
        p = found[i]
        columns[_IMAGE, i] = image[image_row, p]
        columns[_TAINT, i] = raw[taint_row, p]
        columns[_AFFINITY, i] = raw[affinity_row, p]
        most_taint = max(most_taint, columns[_TAINT, i])
        most_affinity = max(most_affinity, columns[_AFFINITY, i])
    for i in range(n):
        columns[_TAINT, i] = rules.reversed_normalised(columns[_TAINT, i], most_taint)
    if facts[9] != 0:
        for i in range(n):
            columns[_AFFINITY, i] = rules.normalised(columns[_AFFINITY, i], most_affinity)


@compiled
def _score_use(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score use: the common case (cpu and memory, least allocated) in one loop, any other node by node."""
    settings, facts = cluster.settings, cluster.shapes.facts
    basic, columns, found = cluster.nodes.basic, room.columns, room.found
    fit, balanced = settings.fit, settings.balanced
    plain = settings.strategy == 0 and len(fit) == 2 and fit[0, 0] == 0 and fit[1, 0] == 1
    plain = plain and len(balanced) == 2 and balanced[0] == 0 and balanced[1] == 1
    cpu, memory, assumed_cpu, assumed_memory = facts[s, 5], facts[s, 6], facts[s, 7], facts[s, 8]
    for_cpu, for_memory = fit[0, 1], fit[min(1, len(fit) - 1), 1]
    for i in range(n):
        p = found[i]
        most_cpu, most_memory = basic[p, 0], basic[p, 1]
        if plain and most_cpu > 0 and most_memory > 0:
            free = for_cpu * rules.least_allocated(basic[p, 4] + assumed_cpu, most_cpu)
            free += for_memory * rules.least_allocated(basic[p, 5] + assumed_memory, most_memory)
            columns[_FIT, i] = free // (for_cpu + for_memory)
            share = min(1.0, (basic[p, 2] + cpu) / most_cpu)
            columns[_BALANCED, i] = rules.balanced2(share, min(1.0, (basic[p, 3] + memory) / most_memory))
        else:
            columns[_FIT, i] = fit_score(cluster, s, p)
            columns[_BALANCED, i] = balanced_score(cluster, s, p, room.reals)


@compiled
def _find_weights(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Find the weight of each soft spread constraint."""
    shapes, value = cluster.shapes, cluster.tallies.value
    keyed, rows, seen, found = shapes.keyed[shapes.facts[s, 4]], shapes.rows, room.seen, room.found
    first, end = shapes.span[s, _SOFT]
    for i in range(first, end):
        room.mark[0] += 1
        mark = room.mark[0]
        topology, hostname, domains, without = rows[i, 1], rows[i, 3] != 0, 0, 0
        for j in range(n):
            p = found[j]
            if not keyed[p]:
                continue
            v = value[topology, p]
            if hostname:
                domains += 1
            elif v < 0:
                without = 1  # only default constraints keep nodes without the key: for those it is one more value
            elif seen[v] != mark:
                seen[v] = mark
                domains += 1
        room.weights[i - first] = rules.spread_weight(domains + without)


@compiled
def _score_spread(cluster: Cluster, room: Room, s: int, n: int) -> None:
    _find_weights(cluster, room, s, n)
    shapes, found, column = cluster.shapes, room.found, room.columns[_SPREAD]
    value, tally_counts, offset = cluster.tallies.value, cluster.tallies.counts, cluster.tallies.offset
    keyed, rows, weights = shapes.keyed[shapes.facts[s, 4]], shapes.rows, room.weights
    counts, reals, skews = room.counts, room.reals, room.skews
    first, end = shapes.span[s, _SOFT]
    any_keyed, least, most = False, 0, 0
    for j in range(n):
        p, k = found[j], 0
        if not keyed[p]:
            continue
        for i in range(first, end):
            v = value[rows[i, 1], p]
            if v >= 0:
                counts[k] = tally_counts[offset[rows[i, 0]] + v]
                reals[k], skews[k] = weights[i - first], rows[i, 2]
                k += 1
        raw = rules.spread_raw(counts[:k], reals[:k], skews[:k])
        column[j] = raw
        least = min(least, raw) if any_keyed else raw
        most = max(most, raw) if any_keyed else raw
        any_keyed = True
    for j in range(n):
        column[j] = rules.spread_score(column[j], least, most) if keyed[found[j]] else 0


@compiled
def _score_pods(cluster: Cluster, room: Room, s: int, n: int) -> bool:
    """Score InterPodAffinity; return whether any term hits any node."""
    tallies, rows = cluster.tallies, cluster.shapes.rows
    first, end = cluster.shapes.span[s, _ATTRACTION]
    hits = False
    for i in range(first, end):
        hits = hits or tallies.total[rows[i, 0]] > 0
    if not hits:
        return False
    column, least, most = room.columns[_INTERPOD], 0, 0
    for j in range(n):
        raw = 0
        for i in range(first, end):
            raw += rows[i, 2] * _count(tallies, rows[i, 0], rows[i, 1], room.found[j])
        column[j] = raw
        least = min(least, raw) if j else raw
        most = max(most, raw) if j else raw
    for j in range(n):
        column[j] = rules.interpod_score(column[j], least, most)
    return True


@compiled
def score(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score the ``n`` found positions: weighted columns, which of them count, and totals."""
    shapes, weights = cluster.shapes, cluster.settings.weights
    _score_static(cluster, room, s, n)
    _score_use(cluster, room, s, n)
    room.used[:] = True
    room.used[_AFFINITY] = shapes.facts[s, 9] != 0
    room.used[_BALANCED] = shapes.facts[s, 10] != 0
    room.used[_SPREAD] = shapes.span[s, _SOFT, 1] > shapes.span[s, _SOFT, 0]
    if room.used[_SPREAD]:
        _score_spread(cluster, room, s, n)
    room.used[_INTERPOD] = _score_pods(cluster, room, s, n)
    columns, totals = room.columns, room.totals
    totals[:n] = 0
    for plugin in range(7):
        room.used[plugin] = room.used[plugin] and weights[plugin] >= 0
        if room.used[plugin]:
            weight = weights[plugin]
            for i in range(n):
                columns[plugin, i] *= weight
                totals[i] += columns[plugin, i]


@compiled
def choose(cluster: Cluster, room: Room, n: int, start: int, draw: float) -> tuple[int, int]:
    """Return the chosen position and how many tie; a negative draw takes the first node in the order of addition."""
    totals, found, order = room.totals, room.found, cluster.nodes.order
    best, ties = totals[0], 0
    for i in range(n):
        best = max(best, totals[i])
    for i in range(n):
        ties += totals[i] == best
    if draw < 0:
        chosen = -1
        for i in range(n):
            p = found[i]
            if totals[i] == best and (chosen < 0 or order[p] < order[chosen]):
                chosen = p
        return chosen, ties
    # The found positions rise from ``start`` and then again from 0: the second part comes first in the snapshot.
    turn = n
    while turn > 0 and found[turn - 1] < start:
        turn -= 1
    wanted = int(draw * ties)
    for i in range(n):
        j = turn + i if turn + i < n else turn + i - n
        if totals[j] == best:
            if wanted == 0:
                return found[j], ties
            wanted -= 1
    return -1, ties
