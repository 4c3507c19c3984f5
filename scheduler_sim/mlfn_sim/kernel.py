"""Run events in the order of (time, priority, sequence).

Time is a whole number of microseconds, so that sums are exact on every machine and windows of a second have sharp
edges. It is simulated time only: nothing here, and nothing that is scheduled here, reads a clock. Events of the same
time run by priority, lower first, then in the order in which they were planned.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum

__all__ = ["SECOND_US", "Kernel", "Priority", "Ticket"]

SECOND_US = 1_000_000
"""Microseconds in a second."""


class Priority(IntEnum):
    """Order what happens at the same microsecond: first the world changes, then those who look at it act."""

    CLUSTER = 0
    """Nodes come, go and change; pods end."""
    ARRIVAL = 1
    """New pods and requests."""
    CONTROL = 2
    """Controllers and queues: flushes, ticks, ends of calls."""
    DECISION = 3
    """A scheduling cycle starts: it sees all of its instant."""


class Ticket:
    """Stand for one planned event; :meth:`cancel` takes it back."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        """Take the event back; harmless when it has run."""
        self.action = None


class Kernel:
    """Hold the clock and the events to come."""

    __slots__ = ("_heap", "_now_us", "_planned")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Ticket]] = []
        self._now_us = 0
        self._planned = 0

    @property
    def now_us(self) -> int:
        """Return the simulated time."""
        return self._now_us

    def at(self, time_us: int, action: Callable[[], object], priority: int = Priority.CONTROL) -> Ticket:
        """Plan an action for a time that is not past."""
        if time_us < self._now_us:
            raise ValueError(f"time {time_us} us is past; it is {self._now_us} us")
        ticket = Ticket(action)
        heapq.heappush(self._heap, (time_us, priority, self._planned, ticket))
        self._planned += 1
        return ticket

    def after(self, delay_us: int, action: Callable[[], object], priority: int = Priority.CONTROL) -> Ticket:
        """Plan an action for later."""
        return self.at(self._now_us + delay_us, action, priority)

    def run(self, until_us: int | None = None) -> int:
        """Run events up to and including ``until_us`` (None: until there are none), and return the time.

        With a limit, the clock ends at the limit even when events ran out before.
        """
        while self._heap and (until_us is None or self._heap[0][0] <= until_us):
            self._now_us, _, _, ticket = heapq.heappop(self._heap)
            action, ticket.action = ticket.action, None
            if action is not None:
                action()
        if until_us is not None:
            self._now_us = max(self._now_us, until_us)
        return self._now_us
