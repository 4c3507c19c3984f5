"""Compiled code divides floats where that is exact, and gives the whole numbers that the rule gives."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlfn_policies import kube_scores
from mlfn_sim.kube import compiled

WHOLES = st.one_of(st.integers(1, 1 << 20), st.integers((1 << 46) - 1000, (1 << 46) + 1000), st.integers(1, 1 << 52))


@settings(max_examples=500, deadline=None)
@given(WHOLES, st.integers(0, 100), st.integers(-1, 1))
@example(whole=(1 << 46) - 1, hundredths=100, beside=-1)
def test_a_compiled_percent_is_the_rules(whole: int, hundredths: int, beside: int) -> None:
    # Just below, at and just above where the whole number changes.
    part = min(max(0, -(-whole * hundredths // 100) + beside), whole)
    assert compiled.percent(part, whole) == kube_scores.percent(part, whole)


@settings(max_examples=500, deadline=None)
@given(WHOLES, st.integers(0, 1 << 52))
def test_compiled_scores_are_the_rules(capacity: int, used: int) -> None:
    assert compiled.least_allocated(used, capacity) == kube_scores.least_allocated(used, capacity)
    assert compiled.most_allocated(used, capacity) == kube_scores.most_allocated(used, capacity)
