"""The windows against a naive reading of their definition, over any order of records and gaps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn_policies.windows import MaximumWindow, Window, smoothing

# Multiples of 1/64 add up without rounding, so that the reference may sum in any order.
loads = st.integers(0, 64_000).map(lambda n: n / 64)
gaps = st.lists(st.tuples(st.integers(0, 9), loads), min_size=1, max_size=40)
sizes = st.integers(1, 8)


class NaiveWindow:
    """Keep every record; forget all of them after a gap of a whole window."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.records: list[tuple[int, float]] = []

    def record(self, second: int, value: float) -> None:
        if self.records and second - max(s for s, _ in self.records) >= self.size:
            self.records = []
        self.records.append((second, value))

    def bucket(self, second: int) -> float:
        return sum(v for s, v in self.records if s == second)

    def average(self, now: int) -> float:
        first = min(s for s, _ in self.records)
        last = max(s for s, _ in self.records)
        if now - last >= self.size:
            return 0.0
        seen = min(last - first + 1, self.size - (now - last))
        total = sum(self.bucket(s) for s in range(now - self.size + 1, now + 1))
        return round(total / seen, 6)

    def weighted(self, now: int, newest: float) -> float:
        ages = range(self.size)
        return sum(self.bucket(now - age) * newest * (1 - newest) ** age for age in ages)


@given(sizes, gaps, st.integers(0, 12))
def test_linear_average_is_the_mean_of_the_seconds_seen(size: int, gaps: list[tuple[int, float]], later: int) -> None:
    window, naive, now = Window(size), NaiveWindow(size), 1_000
    for gap, load in gaps:
        now += gap
        window.record(now + 0.25, load)
        naive.record(now, load)
        assert window.average(now + 0.75) == pytest.approx(naive.average(now), abs=1.1e-6)
    assert window.average(now + later) == pytest.approx(naive.average(now + later), abs=1.1e-6)
    assert window.is_empty(now + later) == (later > size)


@given(sizes, gaps, st.integers(0, 12))
def test_weighted_average_is_the_sum_by_age(size: int, gaps: list[tuple[int, float]], later: int) -> None:
    window, naive, now = Window(size, weighted=True), NaiveWindow(size), 0
    for gap, load in gaps:
        now += gap
        window.record(now, load)
        naive.record(now, load)
    expected = naive.weighted(now + later, smoothing(size))
    assert window.average(now + later) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_late_record_counts_unless_the_window_has_passed_it() -> None:
    window = Window(5)
    window.record(100, 4.0)
    window.record(98, 2.0)
    assert window.average(100) == 2.0  # three seconds seen
    window.record(96, 9.0)
    assert window.average(100) == 3.0  # five
    window.record(95, 1000.0)
    assert window.average(100) == 3.0


def test_an_empty_window_is_empty_and_averages_nothing() -> None:
    for window in (Window(60), Window(60, weighted=True)):
        assert window.is_empty(0.0)
        assert window.average(0.0) == 0.0


def test_averages_round_half_away_from_zero_at_six_decimals() -> None:
    window = Window(2)
    window.record(0, 0.000001)
    window.record(1, 0.000002)
    assert window.average(1) == 0.000002  # 1.5e-6


@pytest.mark.parametrize("size", [1, 2, 3, 6, 12, 60, 600])
def test_smoothing_gives_the_window_all_but_a_ten_thousandth_of_the_weight(size: int) -> None:
    newest = smoothing(size)
    total = sum(newest * (1 - newest) ** i for i in range(size))
    assert total >= 0.9999 - 1e-12
    assert newest >= 0.2


@given(
    st.integers(1, 20),
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), min_size=1, max_size=60),
)
def test_maximum_window_is_the_maximum_of_its_steps(seconds: int, step_s: int, records: list[tuple[int, int]]) -> None:
    window, size = MaximumWindow(seconds, step_s), math.ceil(seconds / step_s)
    now, seen = 0, list[tuple[int, int]]()
    for gap, value in records:
        now += gap
        step = now // step_s
        seen.append((step, value))
        assert window.record(now, value) == max(v for s, v in seen if s > step - size)
