"""What keeps instances warm from outside: objects that ping on a schedule, and a pinger in the foreground.

Pure but for :mod:`mlfn.warmers.pinger`, which waits and calls what it was given. Knows neither models nor platforms: a
platform applies the objects, owned by the function.
"""

from __future__ import annotations

from typing import Any

from mlfn.warmers.cron_job import CRON_JOB, cron_job
from mlfn.warmers.orders import PingOrder
from mlfn.warmers.ping_source import PING_SOURCE, ping_source

__all__ = ["CRON_JOB", "PING_SOURCE", "WARM_RUN", "PingOrder", "objects"]

WARM_RUN = "mlfn warm run"
"""The sender where a cluster can have neither of the others: a person, or whatever they start it with."""


def objects(order: PingOrder) -> tuple[dict[str, Any], ...]:
    """Return the objects that send an order's pings; none where it is no cluster's object that does."""
    if order.sender == PING_SOURCE:
        return (ping_source(order),)
    if order.sender == CRON_JOB:
        return (cron_job(order),)
    return ()
