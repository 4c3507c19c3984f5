"""The scores of feasible nodes over flat arrays, and the choice among them. Compiled.

Every rule of a score is one of :mod:`mlfn_policies.kube_scores`; here is only where its numbers come from. Image,
resources and balance depend on a node and the pod alone (*own* scores); the others depend on which nodes are feasible
besides (*shared* scores).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube import compiled as rules
from mlfn_sim.kube.compiled import compiled, inlined, inner
from mlfn_sim.kube.packing import PLUGINS, Rule, Settings
from mlfn_sim.kube.scanning import Cluster, Room

__all__ = ["choose", "cpu_and_memory", "is_default", "score", "score_own", "score_shared"]

_SOFT, _ATTRACTION = Rule.SOFT, Rule.ATTRACTION
_IMAGE, _INTERPOD, _AFFINITY, _BALANCED, _FIT, _SPREAD, _TAINT = range(len(PLUGINS))


@inner
def _score_fit(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score NodeResourcesFit for any resources and strategy."""
    settings, found, column = cluster.settings, room.found, room.columns[_FIT]
    fit, strategy, utilizations, marks = settings.fit, settings.strategy, settings.utilizations, settings.scores
    basic, capacity, used = cluster.nodes.basic, cluster.nodes.capacity, cluster.nodes.used
    facts, asked, storage = cluster.shapes.facts[s], cluster.shapes.asked[s], settings.storage
    for i in range(n):
        p, total, weights = found[i], 0, 0
        for j in range(len(fit)):
            r, weight, value = fit[j, 0], fit[j, 1], 0
            there = basic[p, 4 + r] + facts[7 + r] if r < 2 else used[p, r] + asked[r]
            whole = basic[p, r] if r < 2 else (capacity[p, r] if asked[r] > 0 or r == storage else 0)
            if whole == 0:
                continue  # the resource is left out
            if strategy == 0:
                value = rules.least_allocated(there, whole)
            elif strategy == 1:
                value = rules.most_allocated(there, whole)
            else:
                value = rules.ratio_score(there, whole, utilizations, marks)
                if value == 0:
                    continue
            total += value * weight
            weights += weight
        if weights == 0:
            column[i] = 0
        else:
            column[i] = rules.rounded_half_up(total, weights) if strategy == 2 else total // weights


@inner
def _score_balance(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score NodeResourcesBalancedAllocation for any resources."""
    basic, capacity, used = cluster.nodes.basic, cluster.nodes.capacity, cluster.nodes.used
    balanced, asked, shares = cluster.settings.balanced, cluster.shapes.asked[s], room.reals
    found, column, storage = room.found, room.columns[_BALANCED], cluster.settings.storage
    for i in range(n):
        p, count = found[i], 0
        for r in balanced:
            whole = basic[p, r] if r < 2 else (capacity[p, r] if asked[r] > 0 or r == storage else 0)
            if whole != 0:
                there = basic[p, 2 + r] if r < 2 else used[p, r]
                shares[count] = min(1.0, (there + asked[r]) / whole)
                count += 1
        column[i] = rules.balanced2(shares[0], shares[1]) if count == 2 else rules.balanced_many(shares[:count])


@inlined
def cpu_and_memory(
    basic: npt.NDArray[np.int64], p: int, facts: npt.NDArray[np.int64], fit: npt.NDArray[np.int64]
) -> tuple[int, int]:
    """Return NodeResourcesFit and NodeResourcesBalancedAllocation of a position in the default profile."""
    most_cpu, most_memory = basic[p, 0], basic[p, 1]
    free_cpu = rules.least_allocated(basic[p, 4] + facts[7], most_cpu)
    free_memory = rules.least_allocated(basic[p, 5] + facts[8], most_memory)
    value = weights = 0
    if most_cpu > 0 and most_memory > 0:
        value, weights = fit[0, 1] * free_cpu + fit[1, 1] * free_memory, fit[0, 1] + fit[1, 1]
        share = min(1.0, (basic[p, 2] + facts[5]) / most_cpu)
        even = rules.balanced2(share, min(1.0, (basic[p, 3] + facts[6]) / most_memory))
        return value >> 1 if weights == 2 else value // weights, even
    return free_cpu if most_cpu > 0 else free_memory, 100


@inlined
def is_default(settings: Settings) -> bool:
    """Tell whether the profile scores cpu and memory, least allocated, and nothing else."""
    fit, balanced = settings.fit, settings.balanced
    plain = settings.strategy == 0 and len(fit) == 2 and fit[0, 0] == 0 and fit[1, 0] == 1
    return plain and len(balanced) == 2 and balanced[0] == 0 and balanced[1] == 1


@inlined
def _score_default(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score image, resources and balance of the default profile, weighted, with the totals, in one loop."""
    settings, facts, basic, found = cluster.settings, cluster.shapes.facts[s], cluster.nodes.basic, room.found
    fit, image, used, totals = settings.fit, cluster.shapes.image[facts[3]], room.used, room.totals
    for_image = settings.weights[_IMAGE] * used[_IMAGE]
    for_free, for_even = settings.weights[_FIT] * used[_FIT], settings.weights[_BALANCED] * used[_BALANCED]
    images, free, even = room.columns[_IMAGE], room.columns[_FIT], room.columns[_BALANCED]
    for i in range(n):
        p = found[i]
        first, second = cpu_and_memory(basic, p, facts, fit)
        images[i], free[i], even[i] = for_image * image[p], for_free * first, for_even * second
        totals[i] = images[i] + free[i] + even[i]


@inlined
def score_own(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score what a node and the pod decide alone, weighted; totals begin with them."""
    facts, image, found, weights = cluster.shapes.facts, cluster.shapes.image, room.found, cluster.settings.weights
    room.used[_IMAGE], room.used[_FIT] = weights[_IMAGE] >= 0, weights[_FIT] >= 0
    room.used[_BALANCED] = facts[s, 10] != 0 and weights[_BALANCED] >= 0
    if is_default(cluster.settings):
        _score_default(cluster, room, s, n)
        return
    row, column = facts[s, 3], room.columns[_IMAGE]
    for i in range(n):
        column[i] = image[row, found[i]]
    _score_fit(cluster, room, s, n)
    _score_balance(cluster, room, s, n)
    room.totals[:n] = 0
    _add(cluster, room, n, _IMAGE)
    _add(cluster, room, n, _BALANCED)
    _add(cluster, room, n, _FIT)


@inlined
def _add(cluster: Cluster, room: Room, n: int, plugin: int) -> None:
    """Weigh a column and add it to the totals, where the plugin scores."""
    weight, column, totals = cluster.settings.weights[plugin], room.columns[plugin], room.totals
    if room.used[plugin]:
        for i in range(n):
            column[i] *= weight
            totals[i] += column[i]


@inlined
def _score_static(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score TaintToleration and NodeAffinity, weighted, and add them to the totals."""
    facts, raw, found, totals = cluster.shapes.facts, cluster.shapes.raw, room.found, room.totals
    taint, affinity, weights = raw[facts[s, 1]], raw[facts[s, 2]], cluster.settings.weights
    most_taint = most_affinity = 0
    if room.used[_TAINT]:
        for i in range(n):
            most_taint = max(most_taint, taint[found[i]])
        column, weight = room.columns[_TAINT], weights[_TAINT]
        for i in range(n):
            column[i] = weight * rules.reversed_normalised(taint[found[i]], most_taint)
            totals[i] += column[i]
    if room.used[_AFFINITY]:
        for i in range(n):
            most_affinity = max(most_affinity, affinity[found[i]])
        column, weight = room.columns[_AFFINITY], weights[_AFFINITY]
        for i in range(n):
            column[i] = weight * rules.normalised(affinity[found[i]], most_affinity)
            totals[i] += column[i]


@inner
def _find_weights(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Find the weight of each soft spread constraint."""
    shapes, value = cluster.shapes, cluster.tallies.value
    keyed, rows, seen = shapes.keyed[shapes.facts[s, 4]], shapes.rows, room.seen
    found, stands_for, single = room.found, room.stands_for, cluster.tallies.single
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
            if hostname or (single[topology] and v >= 0):
                domains += stands_for[j]
            elif v < 0:
                without = 1  # only default constraints keep nodes without the key: for those it is one more value
            elif seen[v] != mark:
                seen[v] = mark
                domains += 1
        room.weights[i - first] = rules.spread_weight(domains + without)


@inner
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


@inner
def _score_pods(cluster: Cluster, room: Room, s: int, n: int) -> bool:
    """Score InterPodAffinity; return whether any term hits any node."""
    tallies, rows = cluster.tallies, cluster.shapes.rows
    first, end = cluster.shapes.span[s, _ATTRACTION]
    hits = False
    for i in range(first, end):
        hits = hits or tallies.total[rows[i, 0]] > 0
    if not hits:
        return False
    column, found, least, most = room.columns[_INTERPOD], room.found, 0, 0
    value, counts, offset = tallies.value, tallies.counts, tallies.offset
    for j in range(n):
        raw, p = 0, found[j]
        for i in range(first, end):
            v = value[rows[i, 1], p]
            if v >= 0:
                raw += rows[i, 2] * counts[offset[rows[i, 0]] + v]
        column[j] = raw
        least = min(least, raw) if j else raw
        most = max(most, raw) if j else raw
    for j in range(n):
        column[j] = rules.interpod_score(column[j], least, most)
    return True


@inlined
def score_shared(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score what the other feasible nodes decide too, weighted, and add it to the totals."""
    shapes, used, weights = cluster.shapes, room.used, cluster.settings.weights
    used[_TAINT] = weights[_TAINT] >= 0
    used[_AFFINITY] = shapes.facts[s, 9] != 0 and weights[_AFFINITY] >= 0
    used[_SPREAD] = shapes.span[s, _SOFT, 1] > shapes.span[s, _SOFT, 0] and weights[_SPREAD] >= 0
    _score_static(cluster, room, s, n)
    if used[_SPREAD]:
        _score_spread(cluster, room, s, n)
        _add(cluster, room, n, _SPREAD)
    used[_INTERPOD] = _score_pods(cluster, room, s, n) and weights[_INTERPOD] >= 0
    _add(cluster, room, n, _INTERPOD)


@compiled
def score(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score the ``n`` found positions: weighted columns, which of them count, and totals."""
    score_own(cluster, room, s, n)
    score_shared(cluster, room, s, n)


@compiled
def choose(cluster: Cluster, room: Room, n: int, draw: float) -> tuple[int, int]:
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
    # The found positions rise from where the search began and then again from 0: the second part comes first.
    turn = n
    while turn > 0 and found[turn - 1] < found[0]:
        turn -= 1
    wanted = int(draw * ties)
    for i in range(n):
        j = turn + i if turn + i < n else turn + i - n
        if totals[j] == best:
            if wanted == 0:
                return found[j], ties
            wanted -= 1
    return -1, ties
