"""Place by what is free: first, best and worst fit, least loaded, by chance, in turn, the best of a few, dot product.

Every policy is a :class:`~mlfn_policies.place.Policy`. How loaded a node is: the larger of the used shares of cpu,
memory and GPU.
"""

from __future__ import annotations

from mlfn_policies.place import WHOLE, Nodes, Offer, Pod, Policy, fits

__all__ = [
    "CHOICES",
    "LARGEST_CPU",
    "LARGEST_GPU",
    "best_fit",
    "dot_product",
    "first_fit",
    "least_loaded",
    "power_of_d",
    "random",
    "round_robin",
    "worst_fit",
]

LARGEST_CPU = 128_000
"""Thousandths of a core of the largest node of the openb cluster: the unit of best fit and dot product."""
LARGEST_GPU = 8_000
"""Thousandths of a GPU of its largest node."""
CHOICES = 2
"""How many nodes power-of-d looks at."""


def gpu_left(nodes: Nodes, i: int) -> int:
    """Return what is left on all GPUs of a node, in thousandths."""
    left = 0
    for g in range(nodes.gpus[i]):
        left += nodes.gpu_free[i, g]
    return left


def load(nodes: Nodes, i: int) -> float:
    """Return the larger of the used shares of cpu, memory and GPU."""
    most = 0.0
    if nodes.cpu[i] > 0:
        most = (nodes.cpu[i] - nodes.cpu_free[i]) / nodes.cpu[i]
    if nodes.memory[i] > 0:
        most = max(most, (nodes.memory[i] - nodes.memory_free[i]) / nodes.memory[i])
    if nodes.gpus[i] > 0:
        most = max(most, 1.0 - gpu_left(nodes, i) / (nodes.gpus[i] * WHOLE))
    return most


def equal(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score every node alike."""
    return 0.0


def random_device(pod: Pod, nodes: Nodes, i: int, draw: float) -> int:
    """Return any GPU that suffices."""
    room = 0
    for g in range(nodes.gpus[i]):
        if nodes.gpu_free[i, g] >= pod.milli:
            room += 1
    wanted = int(draw * room)
    for g in range(nodes.gpus[i]):
        if nodes.gpu_free[i, g] >= pod.milli:
            if wanted == 0:
                return g
            wanted -= 1
    return -1


def by_order(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score the earlier node higher."""
    return -float(i)


def leftover(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score by how little cpu and GPU stays free, each in units of the largest node, in whole percent."""
    spare = (nodes.cpu_free[i] - pod.cpu) / LARGEST_CPU * 0.5
    spare += (gpu_left(nodes, i) - pod.gpus * pod.milli) / LARGEST_GPU * 0.5
    return float(int((1.0 - spare) * 100.0))


def most_left(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score by how much stays free."""
    return -leftover(pod, nodes, i)


def idleness(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score by how little is used."""
    return -load(nodes, i)


def anywhere(pod: Pod, nodes: Nodes, offer: Offer) -> int:
    """Return any candidate."""
    return int(offer.draws[1] * len(offer.nodes))


def in_turn(pod: Pod, nodes: Nodes, offer: Offer) -> int:
    """Return the first candidate after the node taken last."""
    position = 0
    for k in range(len(offer.nodes)):
        if offer.nodes[k] >= offer.memory[0]:
            position = k
            break
    offer.memory[0] = offer.nodes[position] + 1
    return position


def best_of_few(pod: Pod, nodes: Nodes, offer: Offer) -> int:
    """Return the best of a few candidates drawn at random (with replacement); the first drawn of equals."""
    best = int(offer.draws[1] * len(offer.nodes))
    for d in range(1, CHOICES):
        other = int(offer.draws[1 + d] * len(offer.nodes))
        if offer.scores[other] > offer.scores[best]:
            best = other
    return best


def alignment(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score by how small the dot product of what is free and what is asked is, in whole percent."""
    product = (nodes.cpu_free[i] / LARGEST_CPU) * (pod.cpu / LARGEST_CPU)
    product += (gpu_left(nodes, i) / LARGEST_GPU) * (pod.gpus * pod.milli / LARGEST_GPU)
    return float(int(100.0 * (1.0 - product / 2.0)))


random = Policy(fits, equal, anywhere, random_device)
round_robin = Policy(fits, equal, choose=in_turn)
least_loaded = Policy(fits, idleness)
power_of_d = Policy(fits, idleness, choose=best_of_few)
first_fit = Policy(fits, by_order)
best_fit = Policy(fits, leftover)
worst_fit = Policy(fits, most_left)
dot_product = Policy(fits, alignment)
