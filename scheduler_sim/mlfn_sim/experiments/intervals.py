"""Say how far a mean over seeds can be trusted: Student's t, without a library.

The interval of n values is mean ± t(0.975, n - 1) · s / √n, with s the sample standard deviation. For whole degrees of
freedom the distribution function of t is a finite sum: Abramowitz and Stegun, Handbook of Mathematical Functions
(1964), 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CONFIDENCE", "Interval", "interval", "t_quantile"]

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold a mean over seeds, and where the true mean lies with the confidence."""

    mean: float
    low: float | None = None
    """None: one seed says nothing of it."""
    high: float | None = None


def interval(values: Sequence[float]) -> Interval | None:
    """Return the mean of values with its interval; None without values."""
    count = len(values)
    if not count:
        return None
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = t_quantile(0.5 + CONFIDENCE / 2, count - 1) * spread / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of t above the median, by bisection."""
    low, high = 0.0, 1.0
    while _inside(high, freedom) < 2 * probability - 1:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        if _inside(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _inside(t: float, freedom: int) -> float:
    """Return the probability of a value between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2 == 1
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    steps = (freedom - 3) // 2 if odd else (freedom - 2) // 2
    for k in range(1, steps + 1):
        term *= cosine**2 * ((2 * k) / (2 * k + 1) if odd else (2 * k - 1) / (2 * k))
        total += term
    if freedom == 1:
        return 2 * angle / math.pi
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
