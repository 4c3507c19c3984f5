"""Ping in the foreground, until told to stop: for places that can send pings by nothing else.

The clock, the waiting and the sending are given. A ping that fails is tried again sooner than the next is due, with
growing pauses: the instance may still be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mlfn.errors import MlfnError

__all__ = ["FIRST_RETRY_S", "Ping", "Waiting", "pings"]

FIRST_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Hold how time passes."""

    clock: Callable[[], float]
    wait: Callable[[float], bool]
    """Wait so many seconds; True when it is time to stop."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Tell the outcome of one ping."""

    number: int
    seconds: float
    error: str = ""
    """"" for a good one."""
    next_s: float = 0.0
    """When the next one comes."""


def pings(send: Callable[[int], None], period_s: float, waiting: Waiting) -> Iterator[Ping]:
    """Send a ping each period and yield what came of it, until the waiting says stop.

    ``send`` raises MlfnError when a ping fails. What was missed (a laptop that slept) is not made up for.
    """
    number = failures = 0
    due_s = waiting.clock()
    while True:
        number += 1
        began_s = waiting.clock()
        error = ""
        try:
            send(number)
        except MlfnError as failure:
            error = failure.message
        now_s = waiting.clock()
        if error:
            due_s = now_s + min(period_s, FIRST_RETRY_S * 2.0 ** min(failures, 12))
            failures += 1
        else:
            due_s = max(due_s + period_s, now_s)
            failures = 0
        yield Ping(number, now_s - began_s, error, due_s - now_s)
        if waiting.wait(due_s - now_s):
            return
