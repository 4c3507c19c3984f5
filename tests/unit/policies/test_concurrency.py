"""The concurrency meter is the integral of the level over time."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn_policies.concurrency import ConcurrencyMeter

ticks = st.integers(0, 2_000)  # milliseconds


@given(st.lists(st.tuples(ticks, st.sampled_from([1, -1, 2, 0]), st.booleans()), min_size=1, max_size=60))
def test_reports_are_the_integral(moves: list[tuple[int, int, bool]]) -> None:
    meter, now_ms, level = ConcurrencyMeter(5.0), 5_000, 0
    area, since_ms = Fraction(0), 5_000
    for wait_ms, delta, reports in moves:
        now_ms += wait_ms
        area += Fraction(level * wait_ms, 1_000)
        delta = max(delta, -level)
        level += delta
        meter.change(now_ms / 1_000, delta)
        assert meter.in_flight == level
        if reports:
            elapsed = Fraction(now_ms - since_ms, 1_000)
            expected = float(area / elapsed) if elapsed else float(level)
            assert meter.report(now_ms / 1_000) == pytest.approx(expected, abs=1e-9)
            area, since_ms = Fraction(0), now_ms


def test_a_short_request_counts_for_its_time() -> None:
    meter = ConcurrencyMeter()
    meter.change(0.25, +1)
    meter.change(0.75, -1)
    assert meter.report(1.0) == 0.5
    assert meter.report(2.0) == 0.0


def test_requests_go_on_across_reports() -> None:
    meter = ConcurrencyMeter()
    meter.change(0.0, +3)
    assert [meter.report(t) for t in (1.0, 2.0, 2.5)] == [3.0, 3.0, 3.0]


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    meter = ConcurrencyMeter()
    meter.change(0.0, +1)
    meter.change(1.0, +1)
    meter.change(0.5, -1)
    assert meter.report(2.0) == pytest.approx(1.0)
