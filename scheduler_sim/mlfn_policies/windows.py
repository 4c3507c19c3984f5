"""Average a metric over a sliding window of one-second buckets, and take the maximum over one.

These are the metric windows of Knative's autoscaler (knative/serving ``pkg/autoscaler/aggregation``; the decisions in
``tests/data`` were recorded from it). A window of N seconds is a ring of N buckets; a value recorded in second ``t``
is added to bucket ``t mod N``, and buckets of seconds without a record count as 0.

The plain functions work on any indexable buffer of floats and on scalars (the subset of Python that Numba compiles);
the classes hold the state between two calls. Times are whole seconds of any clock that does not run backwards: the
functions take ``second = floor(now_s)``.
"""

from __future__ import annotations

import math
from collections.abc import MutableSequence
from typing import NamedTuple

__all__ = [
    "NEVER",
    "MaximumWindow",
    "Span",
    "Window",
    "is_empty",
    "linear_average",
    "raise_maximum",
    "record",
    "smoothing",
    "weighted_average",
]

NEVER = -(2**61)
"""The second of a write that did not happen: further back than any window, and no overflow when subtracted."""


class Span(NamedTuple):
    """Say which seconds a ring of buckets holds: the first and last that were written, and the sum of all buckets."""

    first: int
    last: int
    total: float


def record(buckets: MutableSequence[float], span: Span, second: int, value: float) -> Span:
    """Add ``value`` to the bucket of ``second`` and return the new span.

    Buckets between the last write and this one are cleared; after a gap of a whole window everything starts anew. A
    value older than the window is ignored.
    """
    size = len(buckets)
    first, last, total = span
    if second <= last - size:
        return span
    if second > last:
        if second - last >= size:
            first = second
            total = 0.0
            for i in range(size):
                buckets[i] = 0.0
        else:
            for past in range(last + 1, second + 1):
                total -= buckets[past % size]
                buckets[past % size] = 0.0
        last = second
    elif second < first:
        first = second
    buckets[second % size] += value
    return Span(first, last, total + value)


def is_empty(span: Span, size: int, second: int) -> bool:
    """Tell whether nothing was recorded for longer than a whole window: there is then nothing to decide on."""
    return second - span.last > size


def linear_average(buckets: MutableSequence[float], span: Span, second: int) -> float:
    """Return the mean over the seconds that the window has seen, rounded to six decimals (half away from zero).

    Divides by the seconds since the first write while the window is not full yet, so that a fresh function is judged by
    what it has seen. The running total is used, not a fresh sum: its rounding decides which side of an integer a
    quotient falls on.
    """
    size = len(buckets)
    age = second - span.last
    if age >= size:
        return 0.0
    total = span.total
    seen = size
    if age > 0:
        for past in range(span.last + 1, second + 1):
            total -= buckets[past % size]
        seen = size - age
    seen = min(seen, span.last - span.first + 1)
    return _rounded(total / seen)


def _rounded(value: float) -> float:
    """Round to six decimals, half away from zero as Go does (Python's round goes to even)."""
    scaled = abs(value) * 1e6
    whole = math.floor(scaled)
    if scaled - whole >= 0.5:
        whole += 1
    return math.copysign(whole / 1e6, value)


def smoothing(size: int) -> float:
    """Return the weight of the newest bucket: all buckets together weigh 0.9999, and the newest at least 0.2."""
    return max(1.0 - _power(0.0001, 1.0 / size), 0.2)


def _power(base: float, exponent: float) -> float:
    """Return base ** exponent rounded as Go's math.Pow rounds it: exp(log) for the fraction, squaring for the whole.

    The last bit matters: an average of 891.0000000000001 instead of 891 changes the excess burst capacity by one (seen
    in the recorded decisions). Go's own exp depends on the processor; with windows of 24, 25, 31, 34 or 35 seconds the
    newest weight is one bit off its amd64 result (measured: 1 of 120,000 random decisions differed).
    """
    if exponent == 0.5:
        return math.sqrt(base)
    whole = math.floor(exponent)
    fraction = exponent - whole
    power = 1.0
    if fraction > 0.5:
        fraction -= 1.0
        whole += 1
    if fraction != 0.0:
        power = math.exp(fraction * math.log(base))
    while whole > 0:
        if whole & 1:
            power *= base
        base *= base
        whole >>= 1
    return power


def weighted_average(buckets: MutableSequence[float], span: Span, second: int, newest: float) -> float:
    """Return sum(v_i * newest * (1 - newest)^i) over the buckets, i counted in seconds before ``second``."""
    size = len(buckets)
    if is_empty(span, size, second):
        return 0.0
    weight = newest
    valid = size
    age = second - span.last
    if age > 0:
        valid -= age
        weight *= _power(1.0 - newest, float(age))
    average = 0.0
    for i in range(valid):
        average += buckets[(span.last - i) % size] * weight
        weight *= 1.0 - newest
    return average


def raise_maximum(
    steps: MutableSequence[int], values: MutableSequence[int], ends: tuple[int, int], step: int, value: int
) -> tuple[int, int]:
    """Put ``value`` of time step ``step`` into a window of ``len(values)`` steps and return its new ends.

    ``ends`` is (position of the maximum, number of candidates) in the ring: a candidate stays as long as no later one
    is as large, so the first is the maximum and the cost is constant on average (ascending minima algorithm).
    """
    size = len(values)
    head, count = ends
    while count > 0 and values[(head + count - 1) % size] <= value:
        count -= 1
    while count > 0 and step - steps[head] >= size:
        head = (head + 1) % size
        count -= 1
    if count > 0 and steps[(head + count - 1) % size] == step:
        return head, count
    steps[(head + count) % size] = step
    values[(head + count) % size] = value
    return head, count + 1


class Window:
    """Hold one window of a metric: ``Window(60, weighted=False)`` remembers 60 one-second buckets."""

    __slots__ = ("_buckets", "_newest", "_span")

    def __init__(self, seconds: float, *, weighted: bool = False) -> None:
        size = max(1, math.ceil(seconds))
        self._buckets = [0.0] * size
        self._span = Span(NEVER, NEVER, 0.0)
        self._newest = smoothing(size) if weighted else 0.0

    def record(self, now_s: float, value: float) -> None:
        """Add a value to the current second."""
        self._span = record(self._buckets, self._span, math.floor(now_s), value)

    def average(self, now_s: float) -> float:
        """Return the window's average at ``now_s``; 0 when it holds nothing."""
        second = math.floor(now_s)
        if self._newest:
            return weighted_average(self._buckets, self._span, second, self._newest)
        return linear_average(self._buckets, self._span, second)

    def is_empty(self, now_s: float) -> bool:
        """Tell whether nothing was recorded for longer than the window."""
        return is_empty(self._span, len(self._buckets), math.floor(now_s))


class MaximumWindow:
    """Hold the largest value of the last ``seconds``, in steps of ``step_s`` seconds."""

    __slots__ = ("_ends", "_step_s", "_steps", "_values")

    def __init__(self, seconds: float, step_s: int) -> None:
        size = max(1, math.ceil(seconds / step_s))
        self._steps = [0] * size
        self._values = [0] * size
        self._ends = (0, 0)
        self._step_s = step_s

    def record(self, now_s: float, value: int) -> int:
        """Add a value and return the largest of the window."""
        step = math.floor(now_s) // self._step_s
        self._ends = raise_maximum(self._steps, self._values, self._ends, step, value)
        return self._values[self._ends[0]]
