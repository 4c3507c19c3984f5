"""Make one seed's arrivals from a workload: shuffled, then cut or filled up to a multiple of the cluster's GPUs.

As the authors of the study did: the pods come in random order and stay; pods drawn from the workload follow until what
was asked of the GPUs is 130 % of what the cluster has, or as many are taken away where the workload asks more. Then the
nodes are put into an order, which decides between equals. All of it is drawn from Go's generator in the order in which
the authors' simulator draws, so that a seed gives the very arrivals and nodes that it gave them. The
typical pods, for the measure of fragmentation, are the most common ones that make up 95 % of the workload as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mlfn_policies.place import Pod
from mlfn_sim.openb.go_random import GoRandom

__all__ = ["RATIO", "Drawn", "drawn", "typical_pods"]

RATIO = 1.3
"""GPU asked for in the end, as a multiple of what the cluster has."""
_POPULAR = 0.95
_WATCHES = 10
"""Numbers taken between the last arrival and the first node: most likely by Kubernetes' client, which takes one
for each kind of object it begins to watch. With ten the published curves come out, with nine or eleven they do not."""


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


@dataclass(frozen=True, slots=True)
class Drawn:
    """Hold what a seed decides."""

    pods: list[int]
    """By index, in the order in which they come."""
    nodes: list[int]
    """By index; of equal ones the earlier is taken."""


def drawn(pods: Sequence[Pod], nodes: int, cluster_milli: int, seed: int) -> Drawn:
    """Return the arrivals and the order of the nodes of a seed."""
    chance = GoRandom(seed)
    chance.int63()  # for a line of their log
    order = list(range(len(pods)))
    chance.shuffle(order)
    _tune(order, [pod.gpus * pod.milli for pod in pods], [pod.milli for pod in pods], (RATIO * cluster_milli, chance))
    for _ in range(_WATCHES):
        chance.int63()
    ranks = chance.permutation(nodes)
    return Drawn(order, sorted(range(nodes), key=ranks.__getitem__))


def _tune(order: list[int], asked: Sequence[int], each: Sequence[int], to: tuple[float, GoRandom]) -> None:
    """Take pods away, or add some, until what they ask for is as much as wanted."""
    total, (wanted, chance) = sum(asked), to
    if total > wanted:
        while total > wanted:
            total -= asked[order.pop(chance.intn(len(order)))]
        return
    while any(asked):
        more = chance.intn(len(asked))
        # The authors' stop looks at one GPU of the pod, not at all of them.
        if total + each[more] > wanted:
            return
        total += asked[more]
        order.append(more)
