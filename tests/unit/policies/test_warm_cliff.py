"""The rules of staying warm against the scale rules themselves, in a cluster's way of using them.

The figures are those measured on a model of Knative's control plane: 0 % cold pings up to 63 s at the defaults and most
of them from 64 s; 91 s where the activator leaves the path (target burst capacity 0); the window and 4 s elsewhere.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlfn_policies.autoscale import TICK_S, Autoscaler, AutoscalerSettings
from mlfn_policies.scale_bounds import UNKNOWN, Activity, ScaleSettings, ScaleState, step
from mlfn_policies.staying import LONGEST_PERIOD_S, safe_period_s
from mlfn_policies.warm import Method, WarmTerms, WarmWish, plan

PING_S = 0.005
PINGS = 8
PHASES = (0.1, 0.6, 1.1, 1.6)


class Revision:
    """One revision in a cluster: what reconciles it, and whether its router is in the path."""

    def __init__(self, terms: WarmTerms) -> None:
        autoscaling = AutoscalerSettings(
            total_value=terms.total_value,
            target_value=terms.total_value * 0.7,
            target_burst_capacity=terms.target_burst_capacity,
            stable_window_s=terms.window_s,
            panic_window_s=max(1, round(terms.window_s / 10)),
        )
        bounds = ScaleSettings(min_scale=terms.min_scale, grace_s=terms.grace_s, retention_s=terms.retention_s)
        self.autoscaler = Autoscaler(autoscaling)
        self.rules = bounds.rules(terms.window_s, reachable=True)
        self.state = ScaleState(1, UNKNOWN, Activity.ACTIVATING, 0.0, 0.0, reached=False)
        self.again_s = math.inf
        """When the autoscaler asked to look again."""
        self._served_directly = False

    def reconcile(self, now_s: float) -> None:
        """Decide and follow, as on a tick, on a first request, and when asked to look again."""
        decision = self.autoscaler.decide(now_s, self.state.replicas)
        wanted = decision.desired if decision.valid else self.state.wanted
        # The router leaves the path while something is wanted and there is room for a burst.
        before, self._served_directly = self._served_directly, wanted > 0 and decision.excess_burst_capacity >= 0
        if before and not self._served_directly:
            self.state = self.state._replace(proxied_since_s=now_s)
        was = self.state.activity
        self.state, _ = step(self.state, wanted, self.state.replicas, now_s, self.rules)
        if was is not Activity.INACTIVE and self.state.activity is Activity.INACTIVE:
            self.again_s = now_s + self.rules.requeue_s


def cold_pings(terms: WarmTerms, period_s: int, phase_s: float, ping_s: float = PING_S) -> int:
    """Count the pings, after the first, that find no instance; a start takes no time."""
    revision = Revision(terms)
    cold = 0
    for second in range(period_s * PINGS):
        pinged = second % period_s == 0
        if pinged and revision.state.replicas == 0:
            cold += 1
            revision.autoscaler.record(second, 1.0)
            revision.reconcile(second)
        if revision.state.replicas:
            revision.autoscaler.record(second, ping_s if pinged else 0.0)
        tick_s = second + phase_s % 1
        due = [tick_s] if second % TICK_S == int(phase_s) else []
        if second <= revision.again_s < second + 1:
            due.append(revision.again_s)
        for now_s in sorted(due):
            revision.reconcile(now_s)
    return cold


def some_are_cold(terms: WarmTerms, period_s: int) -> bool:
    """Tell whether in some phase of the ticks a ping finds nothing."""
    return any(cold_pings(terms, period_s, phase) for phase in PHASES)


@pytest.mark.parametrize(
    ("terms", "last_warm_s"),
    [
        pytest.param(WarmTerms(), 63, id="defaults"),
        pytest.param(WarmTerms(target_burst_capacity=0), 90, id="activator leaves the path"),
        pytest.param(WarmTerms(target_burst_capacity=-1), 63, id="activator always in the path"),
        pytest.param(WarmTerms(total_value=300.0), 90, id="room for the burst in one instance"),
        pytest.param(WarmTerms(window_s=30), 33, id="window 30 s"),
        pytest.param(WarmTerms(retention_s=120), 180, id="retention 120 s"),
    ],
)
def test_the_cliff_is_where_the_scale_rules_put_it(terms: WarmTerms, last_warm_s: int) -> None:
    assert terms.stay_s == last_warm_s
    assert not some_are_cold(terms, last_warm_s)
    assert some_are_cold(terms, last_warm_s + 1)


@settings(max_examples=30)
@given(
    window_s=st.integers(6, 90),
    retention_s=st.sampled_from((0, 0, 30, 120)),
    capacity=st.sampled_from((211.0, 0.0, -1.0, 50.0)),
    phase_s=st.sampled_from(PHASES),
    finest_s=st.sampled_from((1, 60)),
)
def test_no_planned_ping_is_ever_cold(
    window_s: int, retention_s: int, capacity: float, phase_s: float, finest_s: int
) -> None:
    terms = WarmTerms(
        window_s=window_s,
        retention_s=retention_s,
        target_burst_capacity=capacity,
        sender="test",
        finest_s=finest_s,
        longest_retention_s=0,
    )
    planned = plan(terms, WarmWish(period_s=1 if finest_s == 1 else 60))
    longest = plan(terms, WarmWish(period_s=min(planned.safe_period_s, 59) if finest_s == 1 else 60))
    for each in (planned, longest):
        assert each.method is Method.PING
        as_planned = WarmTerms(
            window_s=each.choice.window_s, retention_s=each.choice.retention_s, target_burst_capacity=capacity
        )
        assert cold_pings(as_planned, each.choice.period_s, phase_s) == 0


@pytest.mark.parametrize("window_s", [6, 60])
def test_without_a_grace_the_next_tick_ends_it(window_s: int) -> None:
    """The local platform's way: nothing is counted on beyond the window, and a tick more is what there is."""
    terms = WarmTerms(window_s=window_s, grace_s=0)
    assert terms.stay_s == window_s
    assert not some_are_cold(terms, window_s)
    assert some_are_cold(terms, window_s + 2 * TICK_S)


def test_pings_that_are_seldom_and_short_are_rounded_away() -> None:
    """Why no period above 300 s is ever planned, however long the window."""
    terms = WarmTerms(window_s=3600)
    short_s = 0.00025
    assert cold_pings(terms, 2700, 0.1, short_s) > 0
    assert cold_pings(terms, LONGEST_PERIOD_S, 0.1, short_s) == 0
    assert safe_period_s(3600, 3600) == LONGEST_PERIOD_S
