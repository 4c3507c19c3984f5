"""How long the scheduler's calls to the API server take: a latency model, and the client's own rate limit.

A call first waits for a token of the client (kube-scheduler's defaults are 50 a second and a burst of 100), then for
the server. Latencies are drawn from a stream of their own, so that another policy meets the same server.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlfn_policies.token_bucket import Bucket, take
from mlfn_sim.streams import Streams

__all__ = ["Api", "ApiSettings"]


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Say how the API server answers."""

    latency_us: int = 2_000
    """Median of a call."""
    spread: float = 0.0
    """Standard deviation of the latency's logarithm; 0 = every call takes the median."""
    failure_rate: float = 0.0
    """Share of bindings that the server refuses."""
    per_second: float = 0.0
    """The client's rate limit; 0 = none."""
    burst: int = 100

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.latency_us < 0 or self.spread < 0 or self.per_second < 0 or self.burst < 1:
            raise ValueError("latency, spread and rate are 0 or more, the burst 1 or more")
        if not 0 <= self.failure_rate < 1:
            raise ValueError(f"failure_rate is {self.failure_rate}; expected 0 up to, but not including, 1")


class Api:
    """Draw what calls take."""

    def __init__(self, settings: ApiSettings, streams: Streams) -> None:
        self._settings = settings
        self._latency = streams.stream("api latency")
        self._failures = streams.stream("bind failures")
        self._bucket = Bucket(float(settings.burst), 0)

    def call_us(self, now_us: int) -> int:
        """Return how long a call that begins now takes, the wait for the client's limit included."""
        settings = self._settings
        wait_us = 0
        if settings.per_second > 0:
            wait_us, self._bucket = take(self._bucket, now_us, settings.per_second, settings.burst)
        if settings.spread > 0:
            return wait_us + round(settings.latency_us * math.exp(settings.spread * self._latency.standard_normal()))
        return wait_us + settings.latency_us

    def binding_fails(self) -> bool:
        """Tell whether the server refuses this binding."""
        return self._settings.failure_rate > 0 and bool(self._failures.random() < self._settings.failure_rate)
