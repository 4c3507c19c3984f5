"""Place as Skippy does: near images, data and the edge, on nodes with the capabilities asked for.

The priorities of Rausch et al., "Optimized container scheduling for data-intensive serverless edge computing" (2021),
each 0 to 10 with weight 1: balance of what is asked, time to pull the image, edge before cloud, time to move the data,
and capabilities. The first of the best wins, and the next search starts behind the last feasible node.
"""

from __future__ import annotations

from mlfn_policies.place import Nodes, Offer, Pod, Policy, fits

__all__ = ["skippy"]

_TOP = 10


def balance(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score how alike the asked shares of free cpu and free memory are, and whether the node is at the edge."""
    score = _TOP if nodes.edge[i] == 1 else 0
    cpu = pod.cpu / max(nodes.cpu_free[i], 1)
    memory = pod.memory / max(nodes.memory_free[i], 1)
    if cpu < 1.0 and memory < 1.0:
        score += int((1.0 - abs(cpu - memory)) * _TOP)
    return float(score)


def pull_time(pod: Pod, nodes: Nodes, i: int) -> int:
    """Return the whole seconds until the image is there."""
    if pod.image < 0 or nodes.images[i, pod.image] == 1:
        return 0
    return pod.image_mib // max(nodes.pull_rate[i], 1)


def data_time(pod: Pod, nodes: Nodes, i: int) -> int:
    """Return the whole seconds that the data is under way."""
    if nodes.data_rate[i] == 0:
        return 0
    return pod.receives_mib // nodes.data_rate[i] + pod.sends_mib // nodes.data_rate[i]


def matches(pod: Pod, nodes: Nodes, i: int) -> int:
    """Return how many of the capabilities asked for the node has."""
    both = pod.edge_traits & nodes.traits[i]
    count = 0
    while both > 0:
        count += both & 1
        both >>= 1
    return count


def total(pod: Pod, nodes: Nodes, i: int, score: float, ranges: tuple[int, int, int, int, int, int]) -> float:
    """Return the sum of all priorities, the times and capabilities scaled by their ranges over the candidates."""
    least_pull, most_pull, least_data, most_data, least_match, most_match = ranges
    if most_pull > 0:
        score += int(_TOP * (most_pull - pull_time(pod, nodes, i) + least_pull) / most_pull)
    if most_data > least_data:
        score += int((most_data - data_time(pod, nodes, i)) / (most_data - least_data) * _TOP)
    if most_match > least_match:
        score += int((matches(pod, nodes, i) - least_match) / (most_match - least_match) * _TOP)
    return score


def by_priorities(pod: Pod, nodes: Nodes, offer: Offer) -> int:
    """Return the first of the best candidates, seen from where the last search ended."""
    first = offer.nodes[0]
    least_pull = most_pull = pull_time(pod, nodes, first)
    least_data = most_data = data_time(pod, nodes, first)
    least_match = most_match = matches(pod, nodes, first)
    start = -1
    for k in range(len(offer.nodes)):
        i = offer.nodes[k]
        pull, data, match = pull_time(pod, nodes, i), data_time(pod, nodes, i), matches(pod, nodes, i)
        least_pull, most_pull = min(least_pull, pull), max(most_pull, pull)
        least_data, most_data = min(least_data, data), max(most_data, data)
        least_match, most_match = min(least_match, match), max(most_match, match)
        if start < 0 and i >= offer.memory[0]:
            start = k
    ranges = (least_pull, most_pull, least_data, most_data, least_match, most_match)
    start = max(start, 0)
    best, position, last = -1.0, 0, start
    for step in range(len(offer.nodes)):
        k = (start + step) % len(offer.nodes)
        value = total(pod, nodes, offer.nodes[k], offer.scores[k], ranges)
        if value > best:
            best, position = value, k
        last = k
    offer.memory[0] = (offer.nodes[last] + 1) % len(nodes.cpu)
    return position


skippy = Policy(fits, balance, choose=by_priorities)
