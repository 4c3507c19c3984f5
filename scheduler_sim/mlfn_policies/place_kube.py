"""Place as kube-scheduler's scores of used resources say: the part of its rules that one pod and one row suffice for.

What of the real scheduler is more than this (taints, affinities, spread, images, sampling) is the exact engine,
:mod:`mlfn_sim.kube`; the names ``kube-default``, ``most-allocated`` and ``requested-to-capacity`` stand for it wherever
nodes are Kubernetes nodes.
"""

from __future__ import annotations

from mlfn_policies.kube_scores import balanced2, least_allocated, most_allocated, ratio_score, rounded_half_up
from mlfn_policies.place import Nodes, Pod, Policy, fits

__all__ = ["RATIO_REACHED", "RATIO_SCORES", "default", "most", "ratio"]

RATIO_REACHED = (0, 100)
"""Utilisations of the shape of requested-to-capacity, in percent."""
RATIO_SCORES = (0, 100)
"""Scores at them: the fuller the better."""


def evenness(pod: Pod, nodes: Nodes, i: int) -> int:
    """Return how evenly cpu and memory are used once the pod is there."""
    cpu, memory = nodes.cpu[i], nodes.memory[i]
    if cpu == 0 or memory == 0:
        return 100
    used_cpu = min(1.0, (cpu - nodes.cpu_free[i] + pod.cpu) / cpu)
    used_memory = min(1.0, (memory - nodes.memory_free[i] + pod.memory) / memory)
    return balanced2(used_cpu, used_memory)


def least(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score by free cpu and memory, and by how evenly they are used."""
    cpu = least_allocated(nodes.cpu[i] - nodes.cpu_free[i] + pod.cpu, nodes.cpu[i])
    memory = least_allocated(nodes.memory[i] - nodes.memory_free[i] + pod.memory, nodes.memory[i])
    return float((cpu + memory) // 2 + evenness(pod, nodes, i))


def fullest(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score by used cpu and memory, and by how evenly they are used."""
    cpu = most_allocated(nodes.cpu[i] - nodes.cpu_free[i] + pod.cpu, nodes.cpu[i])
    memory = most_allocated(nodes.memory[i] - nodes.memory_free[i] + pod.memory, nodes.memory[i])
    return float((cpu + memory) // 2 + evenness(pod, nodes, i))


def by_ratio(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score where the use of cpu and memory lies on a shape, and how evenly they are used."""
    cpu = ratio_score(nodes.cpu[i] - nodes.cpu_free[i] + pod.cpu, nodes.cpu[i], RATIO_REACHED, RATIO_SCORES)
    used = nodes.memory[i] - nodes.memory_free[i] + pod.memory
    memory = ratio_score(used, nodes.memory[i], RATIO_REACHED, RATIO_SCORES)
    return float(rounded_half_up(cpu + memory, 2) + evenness(pod, nodes, i))


default = Policy(fits, least)
most = Policy(fits, fullest)
ratio = Policy(fits, by_ratio)
