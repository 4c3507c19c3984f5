"""Decide in which container of an OpenWhisk invoker an activation runs.

Source: Apache OpenWhisk, ``ContainerPool.scala``. The rules are plain functions over columns, one entry a container in
the order in which the containers came, so that a compiler for numbers can take them as they are; actions (with their
version) and namespaces are interned numbers. Memory is in MB, time in whole microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BUFFER",
    "BUSY_START",
    "COLD",
    "LEAVING",
    "PREWARM",
    "STARTING",
    "WARM",
    "find_prewarm",
    "find_warm",
    "fits",
    "to_evict",
]

PREWARM = 0
"""Started for a kind, holds no action yet."""
STARTING = 1
"""Created for an action, not initialised (OpenWhisk: warming cold)."""
BUSY_START = 2
"""A former prewarm container that is being initialised (OpenWhisk: warming)."""
WARM = 3
"""Initialised; idle or running."""
LEAVING = 4
"""Takes nothing new: it is being destroyed, or will be when its last activation has ended."""

COLD = -1
"""No container: create one."""
BUFFER = -2
"""No container and no room: wait, and hold back what comes later."""


def find_warm(
    stage: Sequence[int],
    action: Sequence[int],
    namespace: Sequence[int],
    room: Sequence[int],
    wanted: tuple[int, int],
) -> int:
    """Return the container that takes an activation without a start of its own, or :data:`COLD`.

    ``wanted`` is (action, namespace). ``room`` is how many more activations a container takes: its concurrency limit
    less those it has. Warm ones come before those that are being initialised, those before ones being created; among
    equals the oldest.
    """
    wanted_action, wanted_namespace = wanted
    for stage_wanted in (WARM, BUSY_START, STARTING):
        for i in range(len(stage)):
            if (
                stage[i] == stage_wanted
                and room[i] > 0
                and action[i] == wanted_action
                and namespace[i] == wanted_namespace
            ):
                return i
    return COLD


def find_prewarm(
    stage: Sequence[int], kind: Sequence[int], memory_mb: Sequence[int], wanted_kind: int, wanted_mb: int
) -> int:
    """Return a prewarmed container of exactly this kind and memory, or :data:`COLD`."""
    for i in range(len(stage)):
        if stage[i] == PREWARM and kind[i] == wanted_kind and memory_mb[i] == wanted_mb:
            return i
    return COLD


def fits(used_mb: int, wanted_mb: int, pool_mb: int) -> bool:
    """Tell whether one more container of this memory has room; paused and prewarmed ones count as used."""
    return used_mb + wanted_mb <= pool_mb


def to_evict(
    stage: Sequence[int], active: Sequence[int], memory_mb: Sequence[int], last_used_us: Sequence[int], wanted_mb: int
) -> list[int]:
    """Return the containers to destroy for ``wanted_mb``: warm idle ones, longest unused first.

    All or nothing: an empty list when all the idle ones together free too little. Prewarmed ones are never evicted.
    """
    idle = [i for i in range(len(stage)) if stage[i] == WARM and active[i] == 0]
    free_mb = 0
    for i in idle:
        free_mb += memory_mb[i]
    chosen: list[int] = []
    if free_mb < wanted_mb:
        return chosen
    left_mb = wanted_mb
    while left_mb > 0:
        oldest = -1
        for i in idle:
            if i not in chosen and (oldest < 0 or last_used_us[i] < last_used_us[oldest]):
                oldest = i
        chosen.append(oldest)
        left_mb -= memory_mb[oldest]
    return chosen
