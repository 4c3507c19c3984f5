"""What a warmer is asked for. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PERIOD", "PingOrder"]

PERIOD = "mlfn.dev/warm-period"
"""Annotation: the period in seconds, for who reads the object."""


@dataclass(frozen=True, slots=True)
class PingOrder:
    """Say whom to ping, how often and by what."""

    function: str
    period_s: int
    sender: str
    image: str = ""
    """Of the function, pinned: what a CronJob pings with."""
    image_pull_secret: str = ""
    path: str = "/"
    """Where the function takes events."""
