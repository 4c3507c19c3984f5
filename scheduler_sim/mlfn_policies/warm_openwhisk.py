"""Plan how OpenWhisk's containers are kept warm: one touch of each within the time that an idle one stays.

An idle container is paused after the pause grace and removed an idle time after that (``ContainerProxy.scala``; the
recorded server removes it 20 s after the pause with a 20 s limit). One call touches one container: k of them are kept
by k blocking calls that overlap. Each call counts against the namespace's quota of the minute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["IDLE_S", "PAUSE_GRACE_S", "NotAffordable", "TouchPlan", "touch_plan"]

PAUSE_GRACE_S = 10.0
"""Seconds until an idle container is paused (OpenWhisk's default)."""
IDLE_S = 600.0
"""Seconds that a paused container stays (OpenWhisk's default)."""
_MARGIN = 0.05
"""Share of the stay that is left for late touches."""
_HOLD_S = 0.2
_MOST_OF_QUOTA = 0.25
_DAY_S = 86_400
_MINUTE_S = 60.0


class NotAffordable(ValueError):
    """The touches would eat the quota that callers need."""


@dataclass(frozen=True, slots=True)
class TouchPlan:
    """Every ``period_s`` seconds, ``containers`` blocking calls at once, each held for ``hold_s``."""

    containers: int
    period_s: int
    hold_s: float
    calls_per_day: int
    quota_share: float
    """Largest share of a minute's quota that the touches take."""


def touch_plan(
    containers: int, per_minute: int, *, pause_grace_s: float = PAUSE_GRACE_S, idle_s: float = IDLE_S, period_s: int = 0
) -> TouchPlan:
    """Return how often to touch ``containers`` containers; ``period_s`` asks for a shorter period.

    Raises NotAffordable where a round takes more than a quarter of the minute's quota, and ValueError for a period that
    is longer than an idle container stays.
    """
    if containers < 1:
        raise ValueError(f"{containers} warm containers; expected 1 or more")
    stay_s = pause_grace_s + idle_s
    longest_s = max(1, math.floor(stay_s * (1 - _MARGIN)))
    if period_s > longest_s:
        raise ValueError(
            f"a touch every {period_s} s comes too late: an idle container stays {stay_s:g} s, "
            f"expected at most {longest_s}"
        )
    chosen_s = period_s or longest_s
    rounds = math.ceil(_MINUTE_S / chosen_s)
    share = containers * rounds / per_minute
    if share > _MOST_OF_QUOTA:
        most = int(per_minute * _MOST_OF_QUOTA / rounds)
        raise NotAffordable(
            f"{containers} containers every {chosen_s} s take {share:.0%} of the {per_minute} calls that a minute "
            f"allows; expected at most {_MOST_OF_QUOTA:.0%}, which is {most} containers"
        )
    return TouchPlan(containers, chosen_s, _HOLD_S, containers * math.ceil(_DAY_S / chosen_s), share)
