"""Bounds, the initial scale and the way to zero: the moments one by one, then what holds for any history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn_policies.autoscale import AutoscalerSettings, Decision, for_function
from mlfn_policies.scale_bounds import Activity, RevisionScale, ScaleSettings

WINDOW_S = 60
DEFAULTS = for_function()


def wants(desired: int, load: float = 0.0, *, panicking: bool = False) -> Decision:
    """A decision as the autoscaler makes it."""
    return Decision(True, desired, -111, panicking, load, load if not panicking else load + 1)


def active(settings: ScaleSettings | None = None, autoscaler: AutoscalerSettings = DEFAULTS) -> RevisionScale:
    """A revision that has had its instance since time 0."""
    scale = RevisionScale(settings or ScaleSettings(), autoscaler, 0.0)
    assert scale.apply(0.0, wants(1, 1.0), ready=1).activity == Activity.ACTIVE
    return scale


def falls_to_zero_at(scale: RevisionScale, *, ready: int = 1, until: int = 400) -> int:
    """The first second at which nothing should run, with a tick every second."""
    return next(second for second in range(1, until) if scale.apply(second, wants(0), ready).desired == 0)


def test_the_default_revision_falls_three_seconds_after_its_window() -> None:
    scale = active()
    assert falls_to_zero_at(scale) == WINDOW_S + 3
    assert scale.scale.reason == "no traffic for 60 s"
    assert scale.scale.activity == Activity.INACTIVE


def test_a_short_window_still_waits_for_the_grace_period() -> None:
    assert falls_to_zero_at(active(autoscaler=for_function(window_s=6))) == 30


def test_grace_and_requeue_can_be_injected() -> None:
    settings = ScaleSettings(grace_s=0, requeue_s=0)
    assert falls_to_zero_at(active(settings, for_function(window_s=6))) == 7  # the tick after it became inactive


def test_retention_keeps_the_last_instance() -> None:
    assert falls_to_zero_at(active(ScaleSettings(retention_s=120))) == WINDOW_S + 120


def test_retention_counts_for_nothing_when_unreachable() -> None:
    unreachable = replace(DEFAULTS, reachable=False)
    assert falls_to_zero_at(active(ScaleSettings(retention_s=120, min_scale=2), unreachable)) == WINDOW_S + 3


def test_traffic_while_inactive_makes_it_active_again() -> None:
    scale = active()
    assert scale.apply(60, wants(0), 1).activity == Activity.INACTIVE
    assert scale.apply(61, wants(1, 0.2), 1).activity == Activity.ACTIVE
    assert scale.apply(62, wants(0), 1).desired == 1
    assert scale.apply(62, wants(0), 1).activity == Activity.ACTIVE


def test_an_active_revision_keeps_one_until_the_window_has_passed() -> None:
    scale = active()
    scale.apply(10, wants(4, 250), 4)
    down = scale.apply(20, wants(0), 4)
    assert (down.desired, down.changed) == (1, True)
    assert down.reason == "no traffic; the last instance stays until active for 60 s"


def test_from_zero_and_back() -> None:
    scale = active()
    falls_to_zero_at(scale)
    held = scale.apply(200, None, 0)
    assert (held.desired, held.changed) == (0, False)
    up = scale.apply(201, wants(1, 1.0), 0)
    assert (up.desired, up.changed, up.activity) == (1, True, Activity.ACTIVATING)
    assert up.reason == "1 concurrent over 60 s against 70 per instance"
    assert scale.apply(202, wants(1, 1.0), 1).activity == Activity.ACTIVE


def test_it_waits_for_an_instance_that_starts_slowly_and_gives_up_late() -> None:
    scale = RevisionScale(ScaleSettings(activation_timeout_s=630), DEFAULTS, 0.0)
    for second in range(2, 631, 2):
        assert scale.apply(second, wants(0), ready=0).desired == 1
    gone = scale.apply(632, wants(0), ready=0)
    assert gone.desired == 0
    assert gone.reason == "not ready within 630 s, and nobody waits for it"


def test_initial_scale_holds_until_it_is_reached_once() -> None:
    scale = RevisionScale(ScaleSettings(initial_scale=3), DEFAULTS, 0.0)
    assert scale.scale.desired == 3
    assert scale.apply(2, wants(0), ready=2).desired == 3
    assert scale.apply(4, wants(1, 1), ready=3).activity == Activity.ACTIVE
    after = scale.apply(6, wants(1, 1), ready=3)
    assert after.desired == 1


def test_initial_scale_zero_waits_for_the_first_request() -> None:
    scale = RevisionScale(ScaleSettings(initial_scale=0), DEFAULTS, 0.0)
    assert scale.scale.desired == 0
    assert scale.apply(2, None, 0).desired == 0
    assert scale.apply(4, wants(1, 1), 0).desired == 1


def test_a_resumed_revision_starts_where_it_was() -> None:
    assert RevisionScale(ScaleSettings(), DEFAULTS, 0.0, resumed_with=0).scale.desired == 0
    assert RevisionScale(ScaleSettings(max_scale=4), DEFAULTS, 0.0, resumed_with=9).scale.desired == 4
    assert RevisionScale(ScaleSettings(min_scale=2), DEFAULTS, 0.0, resumed_with=0).scale.desired == 2
    resumed = RevisionScale(ScaleSettings(), DEFAULTS, 0.0, resumed_with=0)
    assert resumed.apply(2, None, 0).activity == Activity.INACTIVE


def test_scale_to_zero_can_be_off() -> None:
    scale = active(ScaleSettings(to_zero=False))
    for second in range(1, 300):
        assert scale.apply(second, wants(0), 1).desired == 1


def test_reasons_name_bounds_and_load() -> None:
    scale = active(ScaleSettings(min_scale=1, max_scale=4))
    panic = scale.apply(2, wants(9, 400.0, panicking=True), 1)
    assert (panic.desired, panic.reason) == (4, "panic: 401 concurrent over 6 s against 70 per instance; max-scale 4")
    low = scale.apply(4, wants(0), 4)
    assert (low.desired, low.reason) == (1, "min-scale 1")
    by_rate = RevisionScale(ScaleSettings(), replace(DEFAULTS, metric="rps"), 0.0)
    assert by_rate.apply(2, wants(3, 180.0), 1).reason == "180 requests per second over 60 s against 70 per instance"


@pytest.mark.parametrize("wrong", [{"min_scale": -1}, {"min_scale": 3, "max_scale": 2}, {"initial_scale": -2}])
def test_contradicting_bounds_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="scale"):
        ScaleSettings(**wrong)  # type: ignore[arg-type]  # only counts are passed


@given(
    bounds=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
    reachable=st.booleans(),
    ticks=st.lists(
        st.tuples(st.integers(1, 40), st.none() | st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=60
    ),
)
def test_it_stays_within_bounds_and_only_an_idle_revision_is_at_zero(
    bounds: tuple[int, int, int], reachable: bool, ticks: list[tuple[int, int | None, int]]
) -> None:
    lowest, room, initial = bounds
    highest = lowest + room
    settings = ScaleSettings(min_scale=lowest, max_scale=highest, initial_scale=initial)
    scale = RevisionScale(settings, replace(DEFAULTS, reachable=reachable), 0.0)
    now, active_since, before = 0.0, None, scale.scale
    for gap, wanted, ready in ticks:
        now += gap
        answer = scale.apply(now, None if wanted is None else wants(wanted, float(wanted)), ready)
        if highest:
            assert answer.desired <= max(highest, 1)
        if reachable:
            assert answer.desired >= lowest
        if answer.desired == 0:
            assert answer.activity == Activity.INACTIVE
        if before.desired > 0 and answer.desired == 0 and active_since is not None:
            assert now - active_since >= WINDOW_S
            assert wanted in (None, 0)
        assert answer.changed == (answer.desired != before.desired)
        assert answer.reason
        if answer.activity == Activity.ACTIVE:
            active_since = active_since if before.activity == Activity.ACTIVE else now
        elif answer.activity == Activity.ACTIVATING:
            active_since = None
        before = answer
