"""The timing rules of kube-scheduler's queue, over whole microseconds.

Source: kubernetes v1.34, ``pkg/scheduler/backend/queue/backoff_queue.go`` and ``scheduling_queue.go``. Before 1.33
(no popping from the back-off queue) nothing is aligned: pass a window of 1.
"""

from __future__ import annotations

__all__ = [
    "FLUSH_US",
    "LEFTOVER_CHECK_US",
    "LEFTOVER_US",
    "WINDOW_US",
    "aligned",
    "backoff_us",
    "expiry_us",
    "is_backing_off",
    "is_left_over",
    "next_flush_us",
]

WINDOW_US = 1_000_000
"""Ends of back-offs are cut to this, so that pods of one window are ordered by priority."""
FLUSH_US = 1_000_000
"""How often pods whose back-off ended are moved to the active queue."""
LEFTOVER_US = 300_000_000
"""A pod that has been unschedulable for longer is tried again without an event."""
LEFTOVER_CHECK_US = 30_000_000
"""How often that is looked at."""


def backoff_us(failures: int, initial_us: int, most_us: int) -> int:
    """Return the wait after the k-th failure: initial, doubled each time, cut at the most."""
    if failures <= 0:
        return 0
    wait = initial_us
    for _ in range(failures - 1):
        if wait >= most_us:
            break
        wait *= 2
    return min(wait, most_us)


def aligned(time_us: int, window_us: int) -> int:
    """Return the start of the window that a time lies in."""
    return time_us - time_us % window_us


def expiry_us(since_us: int, failures: int, errors: int, initial_us: int, most_us: int) -> int:
    """Return when a back-off ends, not aligned; -1 = there is none.

    Errors in a row have a count of their own, which is used while there are any.
    """
    count = errors if errors > 0 else failures
    if count <= 0 or most_us <= 0:
        return -1
    return since_us + backoff_us(count, initial_us, most_us)


def is_backing_off(ends_us: int, now_us: int, window_us: int) -> bool:
    """Tell whether a back-off that ends in the window at ``ends_us`` (aligned; -1 = none) still holds.

    It holds through the whole window in which it ends.
    """
    return ends_us >= 0 and ends_us >= aligned(now_us, window_us)


def next_flush_us(now_us: int, window_us: int) -> int:
    """Return the next flush of the back-off queue, which is at the edge of a window."""
    step = max(window_us, FLUSH_US)
    return aligned(now_us, step) + step


def is_left_over(since_us: int, now_us: int) -> bool:
    """Tell whether an unschedulable pod has waited long enough to be tried again without an event."""
    return now_us - since_us > LEFTOVER_US
