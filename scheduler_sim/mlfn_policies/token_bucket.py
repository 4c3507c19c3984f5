"""Space the calls of a client as client-go's rate limiter does: a bucket of tokens, which may go into debt.

Source: golang.org/x/time/rate, by way of client-go's ``flowcontrol``. A call takes one token at once and waits until
the debt that it made is paid.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Bucket", "take"]


class Bucket(NamedTuple):
    """Hold the tokens at a time; fewer than 0 is debt."""

    tokens: float
    at_us: int


def take(bucket: Bucket, now_us: int, per_second: float, burst: int) -> tuple[int, Bucket]:
    """Take one token and return how many microseconds to wait, and the bucket after it."""
    earned = max(0, now_us - bucket.at_us) * per_second / 1e6
    tokens = min(float(burst), bucket.tokens + earned) - 1.0
    wait_us = 0 if tokens >= 0 else round(-tokens * 1e6 / per_second)
    return wait_us, Bucket(tokens, max(now_us, bucket.at_us))
