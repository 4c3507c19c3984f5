"""How seldom a ping may come and still find an instance: the autoscaler and the way to zero together.

The cliffs are those measured on a model of Knative's control plane: window + 4 s at the defaults, not window + grace.
"""

from __future__ import annotations

import pytest

from mlfn_policies.autoscale import TICK_S, Autoscaler, for_function
from mlfn_policies.scale_bounds import RevisionScale, ScaleSettings

PING_S = 0.005
PINGS = 12


def cold_pings(period_s: int, phase_s: int, window_s: int, bounds: ScaleSettings) -> int:
    """Count the pings, after the first, that find no instance; one instance takes them and starts at once."""
    settings = for_function(window_s=window_s)
    autoscaler = Autoscaler(settings)
    scale = RevisionScale(bounds, settings, 0.0)
    cold = 0
    for second in range(phase_s + period_s * PINGS):
        pinged = second >= phase_s and (second - phase_s) % period_s == 0
        if pinged and scale.scale.desired == 0:
            cold += second > phase_s
            autoscaler.record(second, 1.0)
            scale.apply(second, autoscaler.decide(second, 0), 0)
        ready = scale.scale.desired
        if ready:
            autoscaler.record(second + 0.5, PING_S if pinged else 0.0)
        if second % TICK_S == 1:
            scale.apply(second + 0.9, autoscaler.decide(second + 0.9, ready), ready)
    return cold


def some_phase_is_cold(period_s: int, window_s: int, bounds: ScaleSettings) -> bool:
    """Tell whether there is a phase of pings and ticks in which a ping finds nothing."""
    return any(cold_pings(period_s, phase, window_s, bounds) for phase in range(5))


@pytest.mark.parametrize("window_s", [6, 10, 20, 30, 60, 120, 300])
def test_a_ping_within_three_quarters_of_the_window_is_always_warm(window_s: int) -> None:
    for period_s in {max(1, window_s // 2), int(0.75 * window_s)}:
        assert not some_phase_is_cold(period_s, window_s, ScaleSettings())


@pytest.mark.parametrize(
    ("window_s", "bounds", "warm_s", "cold_s"),
    [
        pytest.param(60, ScaleSettings(), 63, 66, id="defaults"),
        pytest.param(30, ScaleSettings(), 33, 36, id="window 30 s"),
        pytest.param(60, ScaleSettings(retention_s=120), 180, 183, id="retention 120 s"),
    ],
)
def test_the_cliff_is_where_it_was_measured(window_s: int, bounds: ScaleSettings, warm_s: int, cold_s: int) -> None:
    assert not some_phase_is_cold(warm_s, window_s, bounds)
    assert some_phase_is_cold(cold_s, window_s, bounds)


def test_a_minimum_needs_no_ping() -> None:
    assert not some_phase_is_cold(600, 60, ScaleSettings(min_scale=1))
