"""Scale one revision by the policies: what is measured goes in, how many instances should run comes out.

No clock and no processes here: time is an argument, so that a simulated day runs through the same code.
"""

from __future__ import annotations

import math

from mlfn_local.records import FunctionSettings
from mlfn_policies.autoscale import Autoscaler, for_function
from mlfn_policies.concurrency import ConcurrencyMeter
from mlfn_policies.scale_bounds import RevisionScale, Scale, ScaleSettings

__all__ = ["REPORT_S", "ROUTER_GRACE_S", "RevisionScaler"]

REPORT_S = 1.0
"""Seconds between two reports of the concurrency."""

ROUTER_GRACE_S = 0.0
"""Seconds that the router must be in the path before the last instance goes. A cluster gives its network 30 s to send
requests to the activator; here they never go another way."""


class RevisionScaler:
    """Keep a revision's load and scale.

    ``resumed`` says that the revision was up before (a restarted service): it begins at its minimum, not at its
    initial scale.
    """

    def __init__(self, settings: FunctionSettings, *, cores: int, now_s: float, resumed: bool) -> None:
        autoscaler = for_function(
            settings.concurrency, settings.target, utilization=settings.utilization, window_s=settings.window_s
        )
        bounds = ScaleSettings(
            min_scale=settings.min_scale,
            max_scale=settings.max_scale or max(cores, settings.min_scale),
            grace_s=ROUTER_GRACE_S,
        )
        self.meter = ConcurrencyMeter(now_s)
        self._autoscaler = Autoscaler(autoscaler, ready=0 if resumed else 1, now_s=now_s)
        # The grace period gives a cluster time to route to the activator; this router was in the path all along.
        self._scale = RevisionScale(
            bounds, autoscaler, now_s, resumed_with=0 if resumed else None, proxied_since_s=-math.inf
        )
        self._reported = 0.0

    @property
    def scale(self) -> Scale:
        """Return the scale that was decided last."""
        return self._scale.scale

    def report(self, now_s: float, ready: int) -> None:
        """Record the last second's concurrency; nothing is recorded at zero and without requests."""
        average = self.meter.report(now_s)
        if ready > 0 or average > 0 or self.meter.in_flight > 0:
            # What the first request told at once is not told again (activator/handler/concurrency_reporter).
            self._autoscaler.record(now_s, max(0.0, average - self._reported))
        self._reported = 0.0

    def first_request(self, now_s: float) -> Scale:
        """Tell the autoscaler at once of a request that found nothing, and decide."""
        if self._reported == 0.0:
            self._reported = 1.0
            self._autoscaler.record(now_s, 1.0)
        return self.decide(now_s, 0)

    def decide(self, now_s: float, ready: int) -> Scale:
        """Decide for now."""
        return self._scale.apply(now_s, self._autoscaler.decide(now_s, ready), ready)
