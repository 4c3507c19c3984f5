"""The scores of feasible nodes over flat arrays, and the choice among them. Compiled.

Every rule of a score is one of :mod:`mlfn_policies.kube_scores`; here is only where its numbers come from. Image,
resources and balance depend on a node and the pod alone (*own* scores); the others depend on which nodes are feasible
besides (*shared* scores).
"""

from __future__ import annotations

from mlfn_sim.kube import compiled as rules
from mlfn_sim.kube.compiled import compiled
from mlfn_sim.kube.packing import PLUGINS, Rule
from mlfn_sim.kube.scanning import Cluster, Room

__all__ = ["choose", "score", "score_own", "score_shared"]

_SOFT, _ATTRACTION = Rule.SOFT, Rule.ATTRACTION
_IMAGE, _INTERPOD, _AFFINITY, _BALANCED, _FIT, _SPREAD, _TAINT = range(len(PLUGINS))


@compiled
def _score_fit(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score NodeResourcesFit for any resources and strategy."""
    settings, found, column = cluster.settings, room.found, room.columns[_FIT]
    fit, strategy, utilizations, marks = settings.fit, settings.strategy, settings.utilizations, settings.scores
    basic, capacity, used = cluster.nodes.basic, cluster.nodes.capacity, cluster.nodes.used
    facts, asked = cluster.shapes.facts[s], cluster.shapes.asked[s]
    for i in range(n):
        p, total, weights = found[i], 0, 0
        for j in range(len(fit)):
            r, weight, value = fit[j, 0], fit[j, 1], 0
            there = basic[p, 4 + r] + facts[7 + r] if r < 2 else used[p, r] + asked[r]
            whole = basic[p, r] if r < 2 else (capacity[p, r] if asked[r] > 0 else 0)
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


@compiled
def _score_balance(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score NodeResourcesBalancedAllocation for any resources."""
    basic, capacity, used = cluster.nodes.basic, cluster.nodes.capacity, cluster.nodes.used
    balanced, asked, shares = cluster.settings.balanced, cluster.shapes.asked[s], room.reals
    found, column = room.found, room.columns[_BALANCED]
    for i in range(n):
        p, count = found[i], 0
        for r in balanced:
            whole = basic[p, r] if r < 2 else (capacity[p, r] if asked[r] > 0 else 0)
            if whole != 0:
                there = basic[p, 2 + r] if r < 2 else used[p, r]
                shares[count] = min(1.0, (there + asked[r]) / whole)
                count += 1
        column[i] = rules.balanced2(shares[0], shares[1]) if count == 2 else rules.balanced_many(shares[:count])


@compiled
def _score_cpu_and_memory(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score both for the default profile: cpu and memory, least allocated."""
    fit, facts = cluster.settings.fit, cluster.shapes.facts
    basic, found = cluster.nodes.basic, room.found
    free, even = room.columns[_FIT], room.columns[_BALANCED]
    cpu, memory, assumed_cpu, assumed_memory = facts[s, 5], facts[s, 6], facts[s, 7], facts[s, 8]
    for i in range(n):
        p = found[i]
        most_cpu, most_memory = basic[p, 0], basic[p, 1]
        value = weights = 0
        if most_cpu > 0:
            value += fit[0, 1] * rules.least_allocated(basic[p, 4] + assumed_cpu, most_cpu)
            weights += fit[0, 1]
        if most_memory > 0:
            value += fit[1, 1] * rules.least_allocated(basic[p, 5] + assumed_memory, most_memory)
            weights += fit[1, 1]
        free[i] = value // weights if weights else 0
        even[i] = 100
        if most_cpu > 0 and most_memory > 0:
            share = min(1.0, (basic[p, 2] + cpu) / most_cpu)
            even[i] = rules.balanced2(share, min(1.0, (basic[p, 3] + memory) / most_memory))


@compiled
def score_own(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score what a node and the pod decide alone, weighted; totals begin with them."""
    settings, facts, image, found = cluster.settings, cluster.shapes.facts, cluster.shapes.image, room.found
    row, column = facts[s, 3], room.columns[_IMAGE]
    for i in range(n):
        column[i] = image[row, found[i]]
    fit, balanced = settings.fit, settings.balanced
    plain = settings.strategy == 0 and len(fit) == 2 and fit[0, 0] == 0 and fit[1, 0] == 1
    if plain and len(balanced) == 2 and balanced[0] == 0 and balanced[1] == 1:
        _score_cpu_and_memory(cluster, room, s, n)
    else:
        _score_fit(cluster, room, s, n)
        _score_balance(cluster, room, s, n)
    room.used[_IMAGE] = room.used[_FIT] = True
    room.used[_BALANCED] = facts[s, 10] != 0
    room.totals[:n] = 0
    _add(cluster, room, n, _IMAGE)
    _add(cluster, room, n, _BALANCED)
    _add(cluster, room, n, _FIT)


@compiled
def _add(cluster: Cluster, room: Room, n: int, plugin: int) -> None:
    """Weigh a column and add it to the totals, where the plugin scores."""
    weight, column, totals = cluster.settings.weights[plugin], room.columns[plugin], room.totals
    room.used[plugin] = room.used[plugin] and weight >= 0
    if room.used[plugin]:
        for i in range(n):
            column[i] *= weight
            totals[i] += column[i]


@compiled
def _score_static(cluster: Cluster, room: Room, s: int, n: int) -> None:
    facts, raw, found = cluster.shapes.facts, cluster.shapes.raw, room.found
    taint, affinity, taint_row, affinity_row = room.columns[_TAINT], room.columns[_AFFINITY], facts[s, 1], facts[s, 2]
    most_taint = most_affinity = 0
    for i in range(n):
        p = found[i]
        taint[i], affinity[i] = raw[taint_row, p], raw[affinity_row, p]
        most_taint = max(most_taint, taint[i])
        most_affinity = max(most_affinity, affinity[i])
    for i in range(n):
        taint[i] = rules.reversed_normalised(taint[i], most_taint)
    if facts[s, 9] != 0:
        for i in range(n):
            affinity[i] = rules.normalised(affinity[i], most_affinity)


@compiled
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


@compiled
def score_shared(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score what the other feasible nodes decide too, weighted, and add it to the totals."""
    shapes, used = cluster.shapes, room.used
    _score_static(cluster, room, s, n)
    used[_TAINT] = True
    used[_AFFINITY] = shapes.facts[s, 9] != 0
    used[_SPREAD] = shapes.span[s, _SOFT, 1] > shapes.span[s, _SOFT, 0]
    if used[_SPREAD]:
        _score_spread(cluster, room, s, n)
    used[_INTERPOD] = _score_pods(cluster, room, s, n)
    _add(cluster, room, n, _INTERPOD)
    _add(cluster, room, n, _AFFINITY)
    _add(cluster, room, n, _SPREAD)
    _add(cluster, room, n, _TAINT)


@compiled
def score(cluster: Cluster, room: Room, s: int, n: int) -> None:
    """Score the ``n`` found positions: weighted columns, which of them count, and totals."""
    score_own(cluster, room, s, n)
    score_shared(cluster, room, s, n)


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
