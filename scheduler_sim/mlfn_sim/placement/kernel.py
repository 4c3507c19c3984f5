"""The loop that places: keeps what a policy said of each shape and node until the node changes, then picks the best.

Written once. :mod:`mlfn_sim.placement.programs` binds the policy's functions to the names ``feasible``, ``score``,
``choose`` and ``device``, and either calls the result as it stands or has Numba compile it. Nothing here may use what
Numba cannot compile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlfn_policies.place import KINDS, WHOLE, Nodes, Offer, Pod, best_scored, fits, fullest_device
from mlfn_policies.place_fit import equal
from mlfn_policies.place_gpu import fragment, gpu_kind

__all__ = ["DRAWS", "Bools", "Events", "Floats", "Ints", "Known", "Nodes", "Outcome", "Shapes", "run"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DRAWS = 8
"""Random numbers a decision may use: the first for ties, the last for the GPU."""

feasible = fits
score = equal
choose = best_scored
device = fullest_device


class Shapes(NamedTuple):
    """Hold the different pods as columns, in the order of the fields of a pod."""

    columns: Ints
    """By shape and field."""


class Events(NamedTuple):
    """Say what happens, in order: pods that come, and pods that go."""

    shape: Ints
    """Shape of each event's pod."""
    ends: Ints
    """-1: the pod comes; else the event at which the pod came that goes now."""
    draws: Floats
    """By event and number."""


class Known(NamedTuple):
    """Keep what the policy said; ``seen`` counts the changes that a shape's row has followed."""

    scores: Floats
    """By shape and node; minus infinity: not feasible."""
    seen: Ints
    changed: Ints
    """Nodes in the order of their changes."""
    changes: Ints
    """How many there are, in one cell."""
    memory: Ints
    """The policy's own."""
    candidates: Ints
    values: Floats
    allowed: Bools
    """By node: whether it may be offered at all; of length 0: every one. Whoever runs single events may change it."""


class Outcome(NamedTuple):
    """Take what happened at each event."""

    node: Ints
    """-1: nowhere."""
    devices: Ints
    """Bits of the GPUs."""
    used: Ints
    """Thousandths of GPU in use after it, in the whole cluster."""
    fragments: Floats
    """Thousandths of GPU that typical pods could not use after it; all 0 when nobody asked."""


def pod_of(shapes: Shapes, s: int) -> Pod:
    """Return a shape as a pod."""
    c = shapes.columns
    return Pod(c[s, 0], c[s, 1], c[s, 2], c[s, 3], c[s, 4], c[s, 5], c[s, 6], c[s, 7], c[s, 8], c[s, 9], c[s, 10])


def said(pod: Pod, nodes: Nodes, i: int) -> float:
    """Return what the policy says of one node."""
    if not feasible(pod, nodes, i):
        return -np.inf
    return score(pod, nodes, i)


def refreshed(pod: Pod, s: int, nodes: Nodes, known: Known) -> None:
    """Ask the policy again about the nodes that changed since a shape was last placed."""
    count = len(nodes.cpu)
    changes = known.changes[0]
    if known.seen[s] < 0 or changes - known.seen[s] > count:
        for i in range(count):
            known.scores[s, i] = said(pod, nodes, i)
    else:
        for k in range(known.seen[s], changes):
            i = known.changed[k]
            known.scores[s, i] = said(pod, nodes, i)
    known.seen[s] = changes


def decide(pod: Pod, s: int, nodes: Nodes, known: Known, draws: Floats) -> int:
    """Return the node for a pod, or -1."""
    refreshed(pod, s, nodes, known)
    row = known.scores[s]
    limited = len(known.allowed) > 0
    count = 0
    for i in range(len(row)):
        if row[i] > -np.inf and not (limited and not known.allowed[i]):
            known.candidates[count] = i
            known.values[count] = row[i]
            count += 1
    if count == 0:
        return -1
    position = choose(pod, nodes, Offer(known.candidates[:count], known.values[:count], draws, known.memory))
    return int(known.candidates[position])


def devices_for(pod: Pod, nodes: Nodes, i: int, draw: float) -> int:
    """Return the bits of the GPUs that a pod gets on a node."""
    if pod.gpus == 0:
        return 0
    if pod.gpus == 1 and pod.milli < WHOLE:
        return 1 << device(pod, nodes, i, draw)
    bits = 0
    wanted = pod.gpus
    for g in range(nodes.gpus[i]):
        if wanted > 0 and nodes.gpu_free[i, g] >= pod.milli:
            bits |= 1 << g
            wanted -= 1
    return bits


def moved(pod: Pod, nodes: Nodes, i: int, bits: int, sign: int) -> None:
    """Take what a pod needs from a node (1), or give it back (-1)."""
    nodes.cpu_free[i] -= sign * pod.cpu
    nodes.memory_free[i] -= sign * pod.memory
    nodes.pods[i] += sign
    for g in range(nodes.gpus[i]):
        if bits >> g & 1:
            nodes.gpu_free[i, g] -= sign * pod.milli
    kind = gpu_kind(pod)
    if kind >= 0:
        nodes.kinds[i, kind] += sign


def noted(known: Known, i: int) -> None:
    """Note that a node changed."""
    known.changed[known.changes[0]] = i
    known.changes[0] += 1


def measured(nodes: Nodes, i: int) -> float:
    """Return how much of a node's free GPU typical pods could not use."""
    for g in range(nodes.gpus[i]):
        nodes.scratch[g] = nodes.gpu_free[i, g]
    return fragment(nodes, i, nodes.cpu_free[i])


def run(shapes: Shapes, events: Events, nodes: Nodes, known: Known, outcome: Outcome) -> None:
    """Let all events happen."""
    count = len(nodes.cpu)
    measuring = len(nodes.typical.share) > 0
    by_node = np.zeros(count)
    fragments = 0.0
    used = 0
    if measuring:
        for i in range(count):
            by_node[i] = measured(nodes, i)
            fragments += by_node[i]
    for e in range(len(events.shape)):
        s = events.shape[e]
        pod = pod_of(shapes, s)
        came = events.ends[e]
        if came < 0:
            i = decide(pod, s, nodes, known, events.draws[e])
            bits = devices_for(pod, nodes, i, events.draws[e, DRAWS - 1]) if i >= 0 else 0
        else:
            i = outcome.node[came]
            bits = outcome.devices[came]
        if i >= 0:
            sign = 1 if came < 0 else -1
            moved(pod, nodes, i, bits, sign)
            noted(known, i)
            used += sign * pod.gpus * pod.milli
            if measuring:
                now = measured(nodes, i)
                fragments += now - by_node[i]
                by_node[i] = now
        outcome.node[e] = i
        outcome.devices[e] = bits
        outcome.used[e] = used
        outcome.fragments[e] = fragments


assert KINDS == 10  # as many as the columns of nodes.kinds that gpu_kind may name
