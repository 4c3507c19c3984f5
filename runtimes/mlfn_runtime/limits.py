"""How many cores and how much memory this process may use: its affinity and its control groups, version 1 and 2.

Pure functions over a ``read`` that gives a file's text or None, so that a test holds a whole file tree in a dictionary.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[str], str | None]

__all__ = ["allowed_cores", "cores_here", "memory_limit_bytes", "read_text"]

_ROOT = "/sys/fs/cgroup"
_UNLIMITED_BYTES = 1 << 60
"""Version 1 says "no limit" as the largest multiple of a page below 2**63."""


def read_text(path: str) -> str | None:
    """Return a small file's text, or None where it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123  # pathlib costs 4 ms of a start
            return file.read()
    except OSError:
        return None


def cores_here() -> int:
    """Return how many cores this process may keep busy."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return allowed_cores(read_text, len(affinity))


def allowed_cores(read: Read, affinity: int) -> int:
    """Return the whole cores that affinity and every enclosing CPU quota allow, at least 1.

    A part of a core is left out: a thread more than the quota holds is stopped for the rest of each period, which
    costs more at the 99th percentile than it gains.
    """
    cores = affinity
    for folder in _folders(read, "cpu"):
        quota = _quota_v2(read(f"{folder}/cpu.max"))
        if quota is None:
            quota = _quota_v1(read(f"{folder}/cpu.cfs_quota_us"), read(f"{folder}/cpu.cfs_period_us"))
        if quota is not None:
            cores = min(cores, int(quota))
    return max(1, cores)


def memory_limit_bytes(read: Read) -> int | None:
    """Return the smallest memory limit that encloses this process, or None where there is none."""
    limits = []
    for folder in _folders(read, "memory"):
        for file in ("memory.max", "memory.limit_in_bytes"):
            text = (read(f"{folder}/{file}") or "").strip()
            if text.isdigit() and int(text) < _UNLIMITED_BYTES:
                limits.append(int(text))
    return min(limits, default=None)


def _folders(read: Read, controller: str) -> Iterator[str]:
    """Give the folder of this process's group and of each group around it, for both versions.

    Inside a container the path in /proc may be the host's, and the group is mounted at the root: the root is
    always among the folders, so that both cases are met.
    """
    for line in (read("/proc/self/cgroup") or "0::/").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        number, controllers, path = parts
        if number == "0" and not controllers:
            mounts = [_ROOT, f"{_ROOT}/unified"]
        elif controller in controllers.split(","):
            mounts = [f"{_ROOT}/{controllers}", f"{_ROOT}/{controller}"]
        else:
            continue
        steps = [step for step in path.split("/") if step and step != ".."]
        for mount in mounts:
            for depth in range(len(steps), -1, -1):
                yield "/".join((mount, *steps[:depth]))


def _quota_v2(text: str | None) -> float | None:
    fields = (text or "").split()
    if len(fields) != 2 or not fields[0].isdigit() or not fields[1].isdigit() or fields[1] == "0":
        return None
    return int(fields[0]) / int(fields[1])


def _quota_v1(quota: str | None, period: str | None) -> float | None:
    quota, period = (quota or "").strip(), (period or "").strip()
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:  # -1 is no quota
        return None
    return int(quota) / int(period)
