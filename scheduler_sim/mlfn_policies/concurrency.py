"""Measure concurrency as Knative's queue-proxy does: weighted by time, once per report.

A report is ``sum(level * dt) / sum(dt)`` since the report before it, where ``level`` is the number of requests in
flight during ``dt`` (knative.dev/networking ``pkg/http/stats``). It is what the autoscaler records each second, so a
burst of short requests counts for as long as it lasted and no sampling can miss it.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ConcurrencyMeter", "LevelArea", "advance"]


class LevelArea(NamedTuple):
    """Hold the level now, since when, and the area (requests times seconds) under it until then."""

    level: int
    since_s: float
    area: float


def advance(state: LevelArea, now_s: float, delta: int) -> LevelArea:
    """Add the area up to ``now_s`` and change the level by ``delta``; a clock that stepped back adds nothing."""
    elapsed_s = max(0.0, now_s - state.since_s)
    return LevelArea(state.level + delta, max(now_s, state.since_s), state.area + state.level * elapsed_s)


class ConcurrencyMeter:
    """Follow the requests in flight at one place: an instance, or the router."""

    __slots__ = ("_reported_s", "_state")

    def __init__(self, now_s: float = 0.0) -> None:
        self._state = LevelArea(0, now_s, 0.0)
        self._reported_s = now_s

    @property
    def in_flight(self) -> int:
        """Return the requests in flight now."""
        return self._state.level

    def change(self, now_s: float, delta: int) -> None:
        """Tell that ``delta`` requests began (negative: ended) at ``now_s``."""
        self._state = advance(self._state, now_s, delta)

    def report(self, now_s: float) -> float:
        """Return the average since the last report and start anew; the present level when no time has passed."""
        level, now_s, area = advance(self._state, now_s, 0)
        elapsed_s = now_s - self._reported_s
        self._state = LevelArea(level, now_s, 0.0)
        self._reported_s = now_s
        return area / elapsed_s if elapsed_s > 0 else float(level)
