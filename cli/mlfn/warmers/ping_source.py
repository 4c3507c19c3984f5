"""A PingSource of Knative Eventing: one shared adapter of the cluster sends the pings of all, to the second."""

from __future__ import annotations

from typing import Any

from mlfn.warmers.orders import PERIOD, PingOrder
from mlfn.warmers.schedules import with_seconds

__all__ = ["PING_SOURCE", "ping_source"]

PING_SOURCE = "PingSource"
"""The sender's name, which is the kind of its object."""


def ping_source(order: PingOrder) -> dict[str, Any]:
    """Return the PingSource of an order: an event without data to the function's warm path."""
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": PING_SOURCE,
        "metadata": {"name": f"{order.function}-warm", "annotations": {PERIOD: str(order.period_s)}},
        "spec": {
            "schedule": with_seconds(order.period_s),
            "sink": {
                "ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": order.function},
                "uri": order.path,
            },
        },
    }
