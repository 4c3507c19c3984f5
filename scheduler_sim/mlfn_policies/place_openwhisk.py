"""Place as OpenWhisk's sharding balancer does: at a function's home, else on from there in steps of its own.

Where OpenWhisk overloads a random invoker when none has room, nothing is placed here: no node ever goes over its
capacity. ``pod.function`` is the hash of :func:`function_hash`, ``nodes.steps`` what :func:`probe_steps` returns.
"""

from __future__ import annotations

from math import gcd

from mlfn_policies.place import Nodes, Offer, Pod, Policy, fits
from mlfn_policies.place_fit import equal

__all__ = ["function_hash", "hashing", "probe_steps"]


def probe_steps(count: int) -> list[int]:
    """Return the step widths for ``count`` nodes: each coprime with the count and with all before it."""
    steps: list[int] = []
    for width in range(1, count + 1):
        if gcd(width, count) == 1 and all(gcd(width, other) == 1 for other in steps):
            steps.append(width)
    return steps


def java_hash(text: str) -> int:
    """Return what ``String.hashCode`` of Java returns."""
    value = 0
    for unit in memoryview(text.encode("utf-16-le")).cast("H"):
        value = (31 * value + unit) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def function_hash(namespace: str, action: str) -> int:
    """Return the hash that an action's probing starts from; ``action`` is its full name, ``ns/package/name``."""
    return abs(java_hash(namespace) ^ java_hash(action))


def probe(pod: Pod, nodes: Nodes, offer: Offer) -> int:
    """Return the candidate that the probing meets first."""
    count = len(nodes.cpu)
    node = pod.function % count
    step = nodes.steps[pod.function % len(nodes.steps)]
    for _ in range(count):
        low, high = 0, len(offer.nodes)
        while low < high:
            middle = (low + high) // 2
            if offer.nodes[middle] < node:
                low = middle + 1
            else:
                high = middle
        if low < len(offer.nodes) and offer.nodes[low] == node:
            return low
        node = (node + step) % count
    return 0


hashing = Policy(fits, equal, choose=probe)
