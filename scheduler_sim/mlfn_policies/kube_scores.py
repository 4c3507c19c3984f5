"""The integer scores of kube-scheduler 1.34, one plain function a rule.

Everything here is what the scheduler's plugins compute for one pod on one node, before weights. All results are whole
numbers from 0 to 100 unless said otherwise, and all divisions truncate as Go's do. Numba compiles these functions as
they stand. The rules that every pod meets (use of resources, normalisation by the largest) also take columns of many
nodes at once: a condition on a node is a factor of 0 or 1 there.
Source: kubernetes v1.34, ``pkg/scheduler/framework/plugins``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "DEFAULT_CPU_MILLIS",
    "DEFAULT_MEMORY_BYTES",
    "balance",
    "balanced2",
    "balanced_many",
    "image_score",
    "interpod_score",
    "least_allocated",
    "most_allocated",
    "nodes_to_find",
    "normalised",
    "percent",
    "ratio_score",
    "reversed_normalised",
    "rounded_half_up",
    "spread_raw",
    "spread_score",
    "spread_weight",
]

DEFAULT_CPU_MILLIS = 100
"""What a container without a cpu request counts for in LeastAllocated and MostAllocated, thousandths of a core."""
DEFAULT_MEMORY_BYTES = 209_715_200
"""What a container without a memory request counts for there: 200 MiB."""
_MIB = 1_048_576
_LEAST_IMAGE_BYTES = 23 * _MIB
_MOST_IMAGE_BYTES = 1000 * _MIB


def nodes_to_find(nodes: int, percentage: int) -> int:
    """Return how many feasible nodes end the search among ``nodes``; ``percentage`` 0 is the adaptive default.

    Source: ``schedule_one.go``, numFeasibleNodesToFind.
    """
    if nodes < 100 or percentage >= 100:
        return nodes
    share = percentage if percentage > 0 else max(5, 50 - nodes // 125)
    return min(nodes, max(100, nodes * share // 100))


def percent(part: int, whole: int) -> int:
    """Return how many whole hundredths of ``whole`` there are in ``part``."""
    return part * 100 // whole


def least_allocated(used: int, capacity: int) -> int:
    """Return the free share of one resource once the pod is there (``used`` includes it).

    It is 0 without capacity, and where more is used than there is.
    """
    return percent((used <= capacity) * (capacity - used), capacity + (capacity == 0))


def most_allocated(used: int, capacity: int) -> int:
    """Return the used share of one resource once the pod is there (``used`` includes it), at most 100."""
    excess = (used > capacity) * (used - capacity)
    return percent(used - excess, capacity + (capacity == 0))


def ratio_score(used: int, capacity: int, utilizations: Sequence[int], scores: Sequence[int]) -> int:
    """Return where the utilisation of one resource lies on a piecewise-linear shape.

    ``utilizations`` rise from 0 to 100, ``scores`` belong to them and are 0 to 100 (the configuration's times ten).
    """
    reached = 100 if capacity == 0 or used > capacity else percent(used, capacity)
    for i in range(len(utilizations)):
        if reached <= utilizations[i]:
            if i == 0:
                return scores[0]
            rise, run = scores[i] - scores[i - 1], utilizations[i] - utilizations[i - 1]
            climbed = rise * (reached - utilizations[i - 1])
            # Go truncates toward zero where Python rounds down.
            return scores[i - 1] + (climbed // run if climbed >= 0 else -((-climbed) // run))
    return scores[len(scores) - 1]


def rounded_half_up(total: int, weights: int) -> int:
    """Return the weighted mean of RequestedToCapacityRatio."""
    return math.floor(total / weights + 0.5)


def balanced2(first: float, second: float) -> int:
    """Return how evenly two resources are used; each is a share of its capacity, cut at 1."""
    return int(balance(first, second))


def balance(first: float, second: float) -> float:
    """Return the same before it is cut to a whole number."""
    return (1.0 - abs(first - second) / 2.0) * 100.0


def balanced_many(shares: Sequence[float]) -> int:
    """Return how evenly any number of resources is used: from the standard deviation of the shares, each cut at 1."""
    count = len(shares)
    if count == 2:
        return balanced2(shares[0], shares[1])
    if count < 2:
        return 100
    mean = 0.0
    for share in shares:
        mean += share
    mean /= count
    spread = 0.0
    for share in shares:
        spread += (share - mean) * (share - mean)
    return int((1.0 - math.sqrt(spread / count)) * 100.0)


def image_score(present_bytes: int, containers: int) -> int:
    """Return ImageLocality: ``present_bytes`` sums, over the images on the node, size x share of all nodes."""
    most = _MOST_IMAGE_BYTES * containers
    clamped = min(max(present_bytes, _LEAST_IMAGE_BYTES), most)
    return 100 * (clamped - _LEAST_IMAGE_BYTES) // (most - _LEAST_IMAGE_BYTES)


def normalised(raw: int, largest: int) -> int:
    """Return DefaultNormalizeScore, the largest raw score of all feasible nodes becoming 100."""
    return 0 if largest == 0 else 100 * raw // largest


def reversed_normalised(raw: int, largest: int) -> int:
    """Return DefaultNormalizeScore reversed: the largest raw score becomes 0."""
    return 100 if largest == 0 else 100 - 100 * raw // largest


def spread_weight(domains: int) -> float:
    """Return the weight of a soft spread constraint whose key has ``domains`` values among the feasible nodes."""
    return math.log(domains + 2)


def spread_raw(counts: Sequence[int], weights: Sequence[float], max_skews: Sequence[int]) -> int:
    """Return the raw PodTopologySpread score of a node: matching pods in its domains, weighted; rounded half up."""
    total = 0.0
    for i in range(len(counts)):
        total += counts[i] * weights[i] + (max_skews[i] - 1)
    return math.floor(total + 0.5)


def spread_score(raw: int, least: int, largest: int) -> int:
    """Return PodTopologySpread's own normalisation: the node with the fewest matching pods is best."""
    return 100 if largest == 0 else 100 * (largest + least - raw) // largest


def interpod_score(raw: int, least: int, largest: int) -> int:
    """Return InterPodAffinity's own normalisation: from the least raw score (0) to the largest (100)."""
    if largest == least:
        return 0
    return int(100.0 * ((raw - least) / (largest - least)))
