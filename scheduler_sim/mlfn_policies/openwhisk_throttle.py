"""OpenWhisk's throttles: calls in a calendar minute, and calls in flight. Source: ``RateThrottler.scala``."""

from __future__ import annotations

__all__ = ["FULL_MINUTE_MS", "count_in_minute", "room_in_flight"]

FULL_MINUTE_MS = 60_000


def count_in_minute(counted: int, counted_minute: int, minute: int) -> int:
    """Return the count with one more call: refused calls count too, and a new minute (of the clock) begins at one."""
    return counted + 1 if minute == counted_minute else 1


def room_in_flight(in_flight: int, allowed: int) -> bool:
    """Tell whether one more call may start."""
    return in_flight < allowed
