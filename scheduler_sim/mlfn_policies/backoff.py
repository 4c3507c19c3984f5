"""Space the restarts of an instance that keeps failing, and tell when it is a crash loop.

The shape is the kubelet's CrashLoopBackOff: the first restart comes soon, each next one waits twice as long up to a
cap, and a run that stayed up long enough starts the count anew. The figures are smaller than the kubelet's (10 s, cap
300 s, reset after 600 s) because a person is waiting at the same machine.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BASE_S", "CAP_S", "CRASH_LOOP_FAILURES", "HEALTHY_S", "delay_s", "failures_after", "is_crash_loop"]

BASE_S: Final = 0.5
"""Wait before the second start; the first restart is immediate."""
CAP_S: Final = 60.0
"""The longest wait."""
HEALTHY_S: Final = 60.0
"""A run that lasted this long was not a failed start: the count begins anew."""
CRASH_LOOP_FAILURES: Final = 3
"""Failures in a row from which on it is called a crash loop."""


def delay_s(failures: int, base: float = BASE_S, factor: float = 2.0, cap: float = CAP_S) -> float:
    """Return the seconds to wait before the next start: 0, base, base*factor, ... after 1, 2, 3 ... failures in a row.

    The first failure is repaired at once: a single ``kill -9`` should cost a request nothing but a start.
    """
    if failures <= 1:
        return 0.0
    wait = base
    for _ in range(failures - 2):
        wait *= factor
        if wait >= cap:
            break
    return min(wait, cap)


def failures_after(failures: int, lived_s: float, healthy: float = HEALTHY_S) -> int:
    """Return the failures in a row, now that an instance has died ``lived_s`` seconds after its start."""
    return 1 if lived_s >= healthy else failures + 1


def is_crash_loop(failures: int, limit: int = CRASH_LOOP_FAILURES) -> bool:
    """Tell whether so many failures in a row are a crash loop."""
    return failures >= limit
