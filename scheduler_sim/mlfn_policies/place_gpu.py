"""Place pods that share GPUs: clustering, packing, and fragmentation gradient descent (FGD).

The rules are those of "Beware of Fragmentation" (Weng et al., USENIX ATC 2023) as its authors' public simulator applies
them, whole-percent scores included.
"""

from __future__ import annotations

import math

from mlfn_policies.place import KINDS, WHOLE, Nodes, Pod, Policy, fits, idle_devices
from mlfn_policies.place_fit import LARGEST_GPU, gpu_left

__all__ = ["fragment", "gpu_clustering", "gpu_kind", "gpu_packing", "gradient", "least_fragmenting"]


def gpu_kind(pod: Pod) -> int:
    """Return the kind of a pod by its GPUs: -1 none, 0 a share, else how many."""
    if pod.gpus == 0:
        return -1
    if pod.gpus == 1 and pod.milli < WHOLE:
        return 0
    return min(pod.gpus, KINDS - 1)


def likeness(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score nodes that already run pods of the same kind, and no other, above the rest; then the fuller ones."""
    kind = gpu_kind(pod)
    if kind < 0:
        return 0.0
    kinds = 0
    for k in range(KINDS):
        if nodes.kinds[i, k] > 0:
            kinds += 1
    base = 0
    if nodes.kinds[i, kind] > 0:
        base = 75 if kinds == 1 else 50
    elif kinds == 0:
        base = 25
    return float(25 * (LARGEST_GPU - gpu_left(nodes, i)) // LARGEST_GPU + base)


def packing(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score shared GPUs that are in use above idle GPUs of a used node above idle nodes."""
    if pod.gpus == 0:
        return 0.0
    idle = idle_devices(nodes, i)
    if idle == nodes.gpus[i]:
        return float(max(33 - idle, idle))
    if pod.milli == WHOLE:
        return float(max(50 - pod.gpus, 33))
    left = WHOLE
    for g in range(nodes.gpus[i]):
        free = nodes.gpu_free[i, g]
        if free >= pod.milli:
            left = min(left, free)
    if left == WHOLE:
        return 49.0
    return float(max(100 - left * 100 // WHOLE // 10, 50))


def fragment(nodes: Nodes, i: int, cpu: int) -> float:
    """Return how much of a node's free GPU (``nodes.scratch``) a typical pod could not use, with ``cpu`` free there.

    In thousandths of a GPU, on average over the workload's typical pods. The sums are kept apart by cause, and added in
    the order of the causes, so that equal states give equal numbers.
    """
    typical = nodes.typical
    count = nodes.gpus[i]
    left = 0
    for g in range(count):
        left += nodes.scratch[g]
    for level in range(len(typical.levels)):
        room = 0
        crumbs = 0
        for g in range(count):
            free = nodes.scratch[g]
            if free >= typical.levels[level]:
                room += 1
            else:
                crumbs += free
        typical.room[level] = room
        typical.crumbs[level] = crumbs
    lack_both, lack_gpu, lack_cpu, no_gpu_asked, lack_cpu_only, barred = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(len(typical.share)):
        share = typical.share[t]
        enough = cpu >= typical.cpu[t]
        if typical.milli[t] == 0:
            if enough:
                no_gpu_asked += share * left
            else:
                lack_cpu_only += share * left
        elif typical.models[t] != 0 and (typical.models[t] & nodes.model[i]) == 0:
            barred += share * left
        elif typical.room[typical.rank[t]] >= typical.gpus[t]:
            if enough:
                lack_gpu += share * typical.crumbs[typical.rank[t]]
            else:
                lack_cpu += share * left
        elif enough:
            lack_gpu += share * left
        else:
            lack_both += share * left
    return lack_both + lack_gpu + lack_cpu + no_gpu_asked + lack_cpu_only + barred


def copied(nodes: Nodes, i: int) -> None:
    """Copy what is left on a node's GPUs to the scratch room."""
    for g in range(nodes.gpus[i]):
        nodes.scratch[g] = nodes.gpu_free[i, g]


def descent(before: float, after: float) -> int:
    """Return how much less fragmented a node gets, squeezed into whole percent; 50 is no change.

    What rounding leaves of no change is no change: else the last bit of a sum would decide.
    """
    gain = before - after
    if abs(gain) < 1e-6:
        return 50
    return int(1.0 / (1.0 + math.exp(-gain / 1000.0)) * 100.0)


def shared_gradient(pod: Pod, nodes: Nodes, i: int) -> tuple[int, int]:
    """Return the best score of a pod that shares a GPU, and the GPU; the first of equals."""
    copied(nodes, i)
    before = fragment(nodes, i, nodes.cpu_free[i])
    best, device = 0, -1
    for g in range(nodes.gpus[i]):
        free = nodes.gpu_free[i, g]
        if free < pod.milli:
            continue
        seen = False
        for other in range(g):
            if nodes.gpu_free[i, other] == free:
                seen = True
                break
        if seen:
            continue
        nodes.scratch[g] = free - pod.milli
        value = descent(before, fragment(nodes, i, nodes.cpu_free[i] - pod.cpu))
        nodes.scratch[g] = free
        if device < 0 or value > best:
            best, device = value, g
    return best, device


def gradient(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score by how little the pod fragments the node's GPUs."""
    if pod.gpus == 1 and pod.milli < WHOLE:
        return float(shared_gradient(pod, nodes, i)[0])
    copied(nodes, i)
    before = fragment(nodes, i, nodes.cpu_free[i])
    wanted = pod.gpus
    for g in range(nodes.gpus[i]):
        if wanted > 0 and nodes.scratch[g] == WHOLE:
            nodes.scratch[g] = 0
            wanted -= 1
    return float(descent(before, fragment(nodes, i, nodes.cpu_free[i] - pod.cpu)))


def gradient_device(pod: Pod, nodes: Nodes, i: int, draw: float) -> int:
    """Return the GPU that fragments the node least."""
    return shared_gradient(pod, nodes, i)[1]


gpu_clustering = Policy(fits, likeness)
gpu_packing = Policy(fits, packing)
least_fragmenting = Policy(fits, gradient, device=gradient_device)
