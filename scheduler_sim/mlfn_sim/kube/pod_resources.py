"""Add up what a pod asks, as the scheduler does: containers, sidecars, init containers, the pod itself, overhead.

Source: kubernetes v1.34, ``component-helpers/resource/helpers.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlfn_policies.kube_scores import DEFAULT_CPU_MILLIS, DEFAULT_MEMORY_BYTES

__all__ = ["ASSUMED", "Asked", "pod_requests"]

ASSUMED: Mapping[str, int] = {"cpu": DEFAULT_CPU_MILLIS, "memory": DEFAULT_MEMORY_BYTES}
"""What scores count for a container that asks none."""
_OF_A_POD = ("cpu", "memory")
_HUGE = "hugepages-"


@dataclass(frozen=True, slots=True)
class Asked:
    """Hold what the parts of a pod ask."""

    containers: Sequence[Mapping[str, int]]
    init: Sequence[tuple[bool, Mapping[str, int]]]
    """In their order; True: a sidecar, which goes on running."""
    pod: Mapping[str, int]
    """``spec.resources.requests``, which wins over the containers'."""
    overhead: Mapping[str, int]


def pod_requests(asked: Asked, missing: Mapping[str, int]) -> dict[str, int]:
    """Return the pod's requests; ``missing`` stands in for what a container does not ask."""
    total: dict[str, int] = {}
    for each in asked.containers:
        _add(total, {**missing, **each})
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for stays, each in asked.init:
        need = {**missing, **each}
        if stays:
            _add(total, need)
            _add(sidecars, need)
            need = sidecars
        else:
            # An init container runs alone but for the sidecars that started before it.
            _add(need, sidecars)
        for name, amount in need.items():
            peak[name] = max(peak.get(name, 0), amount)
    for name, amount in peak.items():
        total[name] = max(total.get(name, 0), amount)
    total |= {name: amount for name, amount in asked.pod.items() if name in _OF_A_POD or name.startswith(_HUGE)}
    _add(total, asked.overhead)
    return total


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount
