"""The autoscaler's rules, one by one, and what holds whatever the load; the recorded decisions are in tests/golden."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn_policies.autoscale import Autoscaler, AutoscalerSettings, for_function

DEFAULT = AutoscalerSettings()


def steady(settings: AutoscalerSettings, load: float, ready: int, seconds: int = 61) -> Autoscaler:
    """An autoscaler that saw the same load every second."""
    autoscaler = Autoscaler(settings, ready=ready)
    for second in range(seconds):
        autoscaler.record(second, load)
    return autoscaler


@pytest.mark.parametrize(("load", "instances"), [(0, 0), (1, 1), (70, 1), (70.1, 2), (140, 2)])
def test_instances_for_a_steady_load(load: float, instances: int) -> None:
    decision = steady(DEFAULT, load, ready=1).decide(61, ready=1)
    assert (decision.valid, decision.desired) == (True, instances)
    assert decision.stable == pytest.approx(load)


def test_no_data_is_no_decision() -> None:
    autoscaler = Autoscaler(DEFAULT)
    assert not autoscaler.decide(0, 1).valid
    autoscaler.record(0, 5)
    assert autoscaler.decide(60, 1).valid
    assert not autoscaler.decide(61, 1).valid


def test_a_first_request_at_zero_wants_an_instance_at_once() -> None:
    autoscaler = steady(DEFAULT, 0, ready=0)
    autoscaler.record(61.3, 1)
    assert autoscaler.decide(61.3, ready=0).desired == 1


def test_one_tick_halves_at_most_unless_unreachable() -> None:
    settings = replace(DEFAULT, stable_window_s=6)
    unreachable = replace(settings, reachable=False)
    assert steady(settings, 0, ready=1).decide(61, ready=9).desired == 4
    assert steady(unreachable, 0, ready=1).decide(61, ready=9).desired == 0


def test_one_tick_grows_by_the_rate_at_most_and_by_one_at_least() -> None:
    settings = replace(DEFAULT, max_scale_up_rate=1.1, panic_threshold=100)
    assert steady(settings, 700, ready=3).decide(61, ready=3).desired == 4
    assert steady(settings, 7000, ready=50).decide(61, ready=50).desired == 56


def test_panic_never_goes_down_and_ends_a_window_after_the_surge() -> None:
    settings = replace(DEFAULT, stable_window_s=10, panic_window_s=2)
    autoscaler = steady(settings, 10, ready=1, seconds=10)
    for second in (10, 11):
        autoscaler.record(second, 700)
    surge = autoscaler.decide(11, ready=1)
    assert surge.panicking
    assert surge.desired == 10
    last = 11
    for second in range(12, 40):
        autoscaler.record(second, 0)
        decision = autoscaler.decide(second, ready=10)
        if decision.panicking:
            last = second
            assert decision.desired == 10
    assert last == 11 + settings.stable_window_s
    assert not autoscaler.panicking


def test_a_restarted_autoscaler_keeps_its_instances_for_a_window() -> None:
    autoscaler = Autoscaler(DEFAULT, ready=4, now_s=100)
    autoscaler.record(101, 0)
    assert autoscaler.decide(101, ready=4).desired == 4
    for second in range(102, 162):
        autoscaler.record(second, 0)
    assert autoscaler.decide(160, ready=4).desired == 4
    assert autoscaler.decide(161, ready=4).desired == 2


def test_a_lower_scale_waits_for_the_delay() -> None:
    settings = replace(DEFAULT, stable_window_s=6, panic_threshold=10, scale_down_delay_s=10)
    autoscaler = steady(settings, 350, ready=5, seconds=6)
    assert autoscaler.decide(5, ready=5).desired == 5
    desired = {}
    for second in range(6, 40):
        autoscaler.record(second, 0)
        if second % 2:
            desired[second] = autoscaler.decide(second, ready=5).desired
    assert all(count == 5 for second, count in desired.items() if second <= 13)
    assert desired[39] == 2


def test_activation_scale_lifts_a_start_from_zero() -> None:
    settings = replace(DEFAULT, activation_scale=3)
    autoscaler = steady(settings, 0, ready=0)
    assert autoscaler.decide(60, ready=0).desired == 0
    autoscaler.record(61, 1)
    assert autoscaler.decide(61, ready=0).desired == 3


@pytest.mark.parametrize(
    ("burst", "ready", "excess"), [(211, 1, -161), (211, 4, 139), (0, 1, 0), (-1, 9, -1), (49, 1, 1), (50, 0, -100)]
)
def test_excess_burst_capacity(burst: float, ready: int, excess: int) -> None:
    decision = steady(replace(DEFAULT, target_burst_capacity=burst), 50, ready=1).decide(61, ready=ready)
    assert decision.excess_burst_capacity == excess


@given(
    st.lists(st.tuples(st.none() | st.floats(0, 5_000), st.integers(0, 40)), min_size=1, max_size=80),
    st.floats(1, 200),
    st.booleans(),
)
def test_desired_stays_within_what_one_tick_may_do(
    seconds: list[tuple[float | None, int]], target: float, reachable: bool
) -> None:
    settings = AutoscalerSettings(
        target_value=target, stable_window_s=20, panic_window_s=2, reachable=reachable, max_scale_up_rate=10
    )
    autoscaler = Autoscaler(settings)
    floor_in_panic = 0
    for second, (load, ready) in enumerate(seconds):
        if load is not None:
            autoscaler.record(second, load)
        decision = autoscaler.decide(second, ready)
        if not decision.valid:
            continue
        count = max(1, ready)
        upper = max(math.ceil(10 * count), floor_in_panic)
        lower = max(count // 2 if reachable else 0, floor_in_panic if decision.panicking else 0)
        assert lower <= decision.desired <= upper
        floor_in_panic = decision.desired if decision.panicking else 0
        if (decision.stable or decision.panic) and decision.panicking:
            assert decision.desired >= 1


@pytest.mark.parametrize(
    ("concurrency", "target", "total", "aimed"),
    [(0, None, 100, 70), (10, None, 10, 7), (10, 4, 4, 2.8), (10, 40, 10, 7), (0, 40, 40, 28), (0, 0.01, 0.01, 0.01)],
)
def test_settings_of_a_function(concurrency: int, target: float | None, total: float, aimed: float) -> None:
    settings = for_function(concurrency, target)
    assert settings.total_value == pytest.approx(total)
    assert settings.target_value == pytest.approx(aimed)


@pytest.mark.parametrize(("window_s", "panic_s"), [(60, 6), (6, 1), (25, 3), (3600, 360)])
def test_the_panic_window_is_a_tenth_in_whole_seconds(window_s: float, panic_s: float) -> None:
    assert for_function(window_s=window_s).panic_window_s == panic_s


@pytest.mark.parametrize(
    "wrong", [{"target_value": 0}, {"max_scale_down_rate": 0}, {"panic_window_s": -1}, {"aggregation": "median"}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(DEFAULT, **wrong)  # type: ignore[arg-type]  # wrong on purpose
