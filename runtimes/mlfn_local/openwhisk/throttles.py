"""Count a namespace's calls and refuse those over its quota."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlfn_local.openwhisk.refusals import Refused
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_policies.openwhisk_throttle import FULL_MINUTE_MS, count_in_minute, room_in_flight

__all__ = ["Throttles"]


@dataclass(slots=True)
class _Minute:
    minute: int = -1
    count: int = 0


class Throttles:
    """Hold the counters of all namespaces."""

    def __init__(self, settings: ServerSettings, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._calls: dict[str, _Minute] = {}
        self._fires: dict[str, _Minute] = {}
        self.in_flight: dict[str, int] = {}

    def check_call(self, namespace: str) -> None:
        """Count one invocation. Raises Refused (429)."""
        self._check(self._calls.setdefault(namespace, _Minute()), self._settings.invocations_per_minute)
        now, allowed = self.in_flight.get(namespace, 0), self._settings.concurrent_invocations
        if not room_in_flight(now, allowed):
            raise Refused(429, f"Too many concurrent requests in flight (count: {now}, allowed: {allowed}).")

    def check_fire(self, namespace: str) -> None:
        """Count one trigger fire. Raises Refused (429)."""
        self._check(self._fires.setdefault(namespace, _Minute()), self._settings.fires_per_minute)

    def enter(self, namespace: str) -> None:
        """Count an activation in."""
        self.in_flight[namespace] = self.in_flight.get(namespace, 0) + 1

    def leave(self, namespace: str) -> None:
        """Count an activation out."""
        self.in_flight[namespace] -= 1

    def _check(self, counter: _Minute, allowed: int) -> None:
        minute = self._now_ms() // FULL_MINUTE_MS
        counter.count = count_in_minute(counter.count, counter.minute, minute)
        counter.minute = minute
        if counter.count > allowed:
            raise Refused(429, f"Too many requests in the last minute (count: {counter.count}, allowed: {allowed}).")
