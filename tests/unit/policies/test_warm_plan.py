"""Plans of staying warm: what holds for any terms and wish, and what people meet."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn_policies.staying import DAY_S, LONGEST_PERIOD_S, firings_per_day, sendable_period_s, window_for_s
from mlfn_policies.warm import Method, NotPossible, UnsafePeriod, WarmPlan, WarmTerms, WarmWish, plan

TERMS = st.builds(
    WarmTerms,
    window_s=st.integers(6, 3600),
    retention_s=st.integers(0, 3600),
    min_scale=st.integers(0, 3),
    target_burst_capacity=st.sampled_from((211.0, 0.0, -1.0, 40.0)),
    to_zero=st.booleans(),
    longest_retention_s=st.sampled_from((0, 3600)),
    settable=st.booleans(),
    sender=st.sampled_from(("", "PingSource")),
    finest_s=st.sampled_from((1, 60)),
    exact=st.booleans(),
)
WISHES = st.builds(
    WarmWish,
    instances=st.integers(1, 4),
    cold_share=st.floats(0, 1),
    gap_s=st.one_of(st.just(0.0), st.floats(1, 100_000)),
    period_s=st.one_of(st.just(0), st.integers(1, 4000)),
)
PINGED = WarmTerms(sender="PingSource")


def planned(terms: WarmTerms, wish: WarmWish) -> WarmPlan | None:
    """The plan, None where there is none."""
    try:
        return plan(terms, wish)
    except NotPossible:
        return None


def outcome_of(terms: WarmTerms, period_s: int) -> WarmPlan | NotPossible:
    """The plan for a period, or why there is none."""
    try:
        return plan(terms, WarmWish(period_s=period_s))
    except NotPossible as error:
        return error


@given(terms=TERMS, wish=WISHES)
def test_a_plan_keeps_its_promises(terms: WarmTerms, wish: WarmWish) -> None:
    found = planned(terms, wish)
    if found is None:
        return
    choice = found.choice
    assert choice.cold_share <= wish.cold_share * (1 + 1e-6) or choice.cold_share == 0
    assert choice.min_scale >= terms.min_scale
    assert choice.window_s >= terms.window_s
    assert choice.retention_s >= terms.retention_s
    assert choice.window_s <= 3600
    assert choice.retention_s <= 3600
    assert 0 <= choice.instance_seconds_per_day <= DAY_S * max(4, terms.min_scale)
    assert (choice.pings_per_day > 0) == (choice.period_s > 0) == (found.sender != "")
    if choice.method is Method.PING:
        assert choice.period_s <= found.safe_period_s < found.cliff_s
        assert terms.always_warm == 0
        assert wish.instances == 1
    if choice.warm_instances < wish.instances:
        assert choice.method in (Method.NONE, Method.RETENTION, Method.WINDOW)
    if not terms.settable:
        assert (choice.min_scale, choice.window_s, choice.retention_s) == (
            terms.min_scale,
            terms.window_s,
            terms.retention_s,
        )


@given(terms=TERMS, wish=WISHES)
def test_nothing_that_would_do_is_cheaper(terms: WarmTerms, wish: WarmWish) -> None:
    found = planned(terms, replace(wish, period_s=0))
    if found is None:
        return
    assert {each.method for each in found.alternatives} == set(Method) - {found.method}
    for other in found.alternatives:
        assert other.why_not
        would_do = other.cold_share <= wish.cold_share and (other.warm_instances >= wish.instances)
        if would_do and "more" in other.why_not:
            assert other.instance_seconds_per_day >= found.choice.instance_seconds_per_day - 1


@given(terms=TERMS, period_s=st.integers(1, 4000))
def test_an_asked_period_is_kept_or_refused_with_a_safe_one(terms: WarmTerms, period_s: int) -> None:
    outcome = outcome_of(terms, period_s)
    if isinstance(outcome, UnsafePeriod):
        assert period_s > outcome.safe_s
        if outcome.safe_s:
            assert plan(terms, WarmWish(period_s=outcome.safe_s)).choice.period_s == outcome.safe_s
        assert (outcome.window_s == 0) == (period_s > LONGEST_PERIOD_S)
        if not outcome.window_s:
            return
        # With the window that it names, the period is taken.
        wider = replace(terms, window_s=outcome.window_s)
        assert plan(wider, WarmWish(period_s=period_s)).choice.period_s <= max(period_s, 60)
    elif isinstance(outcome, NotPossible):
        coarse = terms.fires_on_minutes and not terms.settable
        assert terms.always_warm >= 1 or not terms.sender or coarse
    else:
        assert outcome.choice.period_s <= max(period_s, 60)
        if outcome.choice.period_s > period_s:
            assert terms.finest_s == 60
            assert not terms.exact
            assert outcome.choice.window_s >= 80


@pytest.mark.parametrize("finest_s", [1, 60])
@given(period_s=st.integers(1, 3600))
def test_a_schedule_is_never_slower_than_asked(finest_s: int, period_s: int) -> None:
    sendable = sendable_period_s(period_s, finest_s, exact=False)
    assert sendable <= period_s
    if sendable:
        assert firings_per_day(sendable, exact=False) * sendable >= DAY_S
        assert sendable < 60 or sendable % 60 == 0


def test_warm_without_more_words_is_a_minimum() -> None:
    found = plan(PINGED, WarmWish())
    assert (found.method, found.choice.min_scale, found.choice.pings_per_day) == (Method.MIN_SCALE, 1, 0)
    assert found.choice.instance_seconds_per_day == DAY_S


def test_the_cliff_of_the_defaults_and_the_period_below_it() -> None:
    found = plan(PINGED, WarmWish(period_s=45))
    assert (found.cliff_s, found.safe_period_s, found.choice.period_s) == (64, 45, 45)
    assert found.choice.pings_per_day == 2 * 1440  # :00 and :45 of each minute
    assert plan(replace(PINGED, exact=True), WarmWish(period_s=45)).choice.pings_per_day == 1920


def test_an_unsafe_period_is_refused_with_the_safe_one() -> None:
    with pytest.raises(
        UnsafePeriod, match=r"every 60 s are not safe.*from a period of 64 s on.*safe period is 45 s"
    ) as it:
        plan(PINGED, WarmWish(period_s=60))
    assert (it.value.safe_s, it.value.window_s) == (45, 80)


def test_a_cron_job_gets_the_window_that_a_minute_needs() -> None:
    found = plan(replace(PINGED, sender="CronJob", finest_s=60), WarmWish(period_s=45))
    assert (found.choice.period_s, found.choice.window_s) == (60, 80)
    assert found.choice.pings_per_day == 1440
    assert window_for_s(60) == 80


def test_a_minimum_is_never_pinged() -> None:
    with pytest.raises(NotPossible, match="min-scale 2: an instance is always there"):
        plan(replace(PINGED, min_scale=2), WarmWish(period_s=30))


def test_several_instances_are_a_minimum_because_a_ping_keeps_one() -> None:
    found = plan(PINGED, WarmWish(instances=3))
    assert (found.method, found.choice.min_scale) == (Method.MIN_SCALE, 3)
    with pytest.raises(NotPossible, match="one ping keeps one instance only"):
        plan(PINGED, WarmWish(instances=3, period_s=30))


def test_settings_that_are_not_ours_leave_pings() -> None:
    found = plan(replace(PINGED, settable=False), WarmWish())
    assert (found.method, found.choice.period_s) == (Method.PING, 45)
    with pytest.raises(NotPossible, match=r"ping: CronJob fires once a minute, which needs a window of 80 s"):
        plan(WarmTerms(settable=False, sender="CronJob", finest_s=60), WarmWish())


def test_some_cold_answers_are_cheaper_by_retention() -> None:
    found = plan(PINGED, WarmWish(cold_share=0.1, gap_s=300))
    assert found.method is Method.RETENTION
    stay_s = found.choice.window_s + found.choice.retention_s
    assert stay_s == pytest.approx(-math.log(0.1) * 300, abs=1)
    assert found.choice.instance_seconds_per_day == pytest.approx(0.9 * DAY_S, rel=0.001)
    window = plan(replace(PINGED, longest_retention_s=0), WarmWish(cold_share=0.1, gap_s=300))
    assert window.method is Method.WINDOW


def test_dense_traffic_needs_no_plan() -> None:
    found = plan(PINGED, WarmWish(cold_share=0.05, gap_s=10))
    assert found.method is Method.NONE
    assert plan(replace(PINGED, to_zero=False), WarmWish()).reason == "nothing goes to zero here"


def test_more_than_the_maximum_is_refused() -> None:
    with pytest.raises(NotPossible, match="3 warm instances are more than max-scale 2 allows"):
        plan(replace(PINGED, max_scale=2), WarmWish(instances=3))
