"""How long the last instance stays after a request, and so how seldom a ping may come. Plain functions over scalars.

The way to zero is that of ``scale_bounds``: a window without a request, then the retention, and what is longer than
that of the router's grace or, where the router is in the path all along, the pause before the next look::

    stay   = window + max(retention, the router in the path ? min(grace, requeue) : grace)
    cliff  = stay + 1                                 64 s at Knative's defaults, not window + grace = 90 s
    safe   = max(0.75 * window, retention / 2)        the longest period that is ever planned, and 300 s at most
"""

from __future__ import annotations

import math
from typing import Final

__all__ = [
    "DAY_S",
    "HOUR_S",
    "LONGEST_PERIOD_S",
    "MINUTE_S",
    "SAFE_SHARE",
    "cliff_s",
    "cold_share",
    "firings_per_day",
    "instance_seconds",
    "router_stays",
    "safe_period_s",
    "sendable_period_s",
    "stay_s",
    "window_for_s",
]

DAY_S: Final = 86400
HOUR_S: Final = 3600
MINUTE_S: Final = 60
SAFE_SHARE: Final = 0.75
"""Of the window: no ping of 15,110 was cold at this period, at windows from 6 to 300 s; the first failing period is the
window and 4 s. The rest is for pings that come late."""


LONGEST_PERIOD_S: Final = 300
"""Pings more seldom than this may not be seen: averages are rounded to six decimals, so that one of d seconds each p
seconds counts for nothing where d / p < 5e-7. A ping takes some 0.25 ms at the instance, a limit of 500 s."""


def router_stays(total_value: float, target_burst_capacity: float) -> bool:
    """Tell whether the router is in the path of a single idle instance; if not, it must first come in (grace)."""
    if target_burst_capacity == 0:
        return False
    return target_burst_capacity < 0 or math.floor(total_value - target_burst_capacity) < 0


def stay_s(window_s: float, retention_s: float, grace_s: float, requeue_s: float, *, in_path: bool) -> float:
    """Return the seconds that the last instance surely stays after a request."""
    return window_s + max(retention_s, min(grace_s, requeue_s) if in_path else grace_s)


def cliff_s(stay: float) -> int:
    """Return the first period in whole seconds at which a ping finds nothing."""
    return math.floor(stay) + 1


def safe_period_s(window_s: float, retention_s: float) -> int:
    """Return the longest period, in whole seconds, at which pings are safe."""
    return min(max(math.floor(SAFE_SHARE * window_s), math.floor(retention_s / 2)), LONGEST_PERIOD_S)


def window_for_s(period_s: int) -> int:
    """Return the shortest window for which a period is safe: 80 s for a ping a minute."""
    return math.ceil(period_s / SAFE_SHARE)


def cold_share(stay: float, gap_s: float) -> float:
    """Return the share of requests at random moments that find nothing, ``gap_s`` seconds apart on average."""
    return math.exp(-stay / gap_s)


def instance_seconds(stay: float, gap_s: float) -> float:
    """Return the seconds a day that an instance is there for such requests alone."""
    return DAY_S * (1.0 - math.exp(-stay / gap_s))


def sendable_period_s(period_s: int, finest_s: int, *, exact: bool) -> int:
    """Return the longest period up to this one that the sender can keep, 0 where it is too coarse for any.

    An exact sender keeps all. A schedule keeps any below a minute, unless it fires on full minutes only (``finest_s``
    60), and whole minutes up to an hour above.
    """
    if exact:
        return period_s
    if period_s < MINUTE_S:
        return period_s if finest_s < MINUTE_S else 0
    return min(period_s // MINUTE_S, MINUTE_S) * MINUTE_S


def firings_per_day(period_s: int, *, exact: bool) -> int:
    """Return how often a sender fires; a schedule starts anew each minute (periods below one) or each hour."""
    if exact:
        return math.ceil(DAY_S / period_s)
    if period_s <= MINUTE_S:
        return math.ceil(MINUTE_S / period_s) * (DAY_S // MINUTE_S)
    return math.ceil(HOUR_S / period_s) * 24
