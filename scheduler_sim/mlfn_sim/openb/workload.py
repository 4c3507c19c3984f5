"""Make one seed's arrivals from a workload: shuffled, then cut or filled up to a multiple of the cluster's GPUs.

As the authors of the study did: the pods come in random order and stay; pods drawn from the workload follow until what
was asked of the GPUs is 130 % of what the cluster has, or as many are taken away where the workload asks more. The
typical pods, for the measure of fragmentation, are the most common ones that make up 95 % of the workload as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mlfn_policies.place import Pod

__all__ = ["RATIO", "arrivals", "typical_pods"]

RATIO = 1.3
"""GPU asked for in the end, as a multiple of what the cluster has."""
_POPULAR = 0.95


def typical_pods(pods: Sequence[Pod]) -> dict[Pod, float]:
    """Return the most common requests and how often each comes; memory does not tell requests apart here."""
    counts = Counter(pod._replace(memory=0, function=0) for pod in pods)
    order = sorted(counts, key=lambda pod: (counts[pod], pod.cpu, pod.milli, pod.gpus, pod.models), reverse=True)
    typical: dict[Pod, float] = {}
    total = 0
    for pod in order:
        if total >= _POPULAR * len(pods):
            break
        typical[pod] = counts[pod]
        total += counts[pod]
    return typical


def arrivals(pods: Sequence[Pod], cluster_milli: int, stream: np.random.Generator) -> list[int]:
    """Return the pods, by index, in the order in which they come."""
    asked = [pod.gpus * pod.milli for pod in pods]
    order = [int(each) for each in stream.permutation(len(pods))]
    total, wanted = sum(asked), RATIO * cluster_milli
    if total > wanted:
        while total > wanted:
            total -= asked[order.pop(int(stream.integers(len(order))))]
        return order
    if not any(asked):
        return order
    while True:
        drawn = int(stream.integers(len(pods)))
        # The authors' stop looks at one GPU of the pod, not at all of them.
        if total + pods[drawn].milli > wanted:
            return order
        total += asked[drawn]
        order.append(drawn)
