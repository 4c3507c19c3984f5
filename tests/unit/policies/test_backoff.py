"""Restarts come at once, then ever later up to a cap; failures in a row are a crash loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlfn_policies.backoff import BASE_S, CAP_S, CRASH_LOOP_FAILURES, HEALTHY_S, delay_s, failures_after, is_crash_loop


def test_the_first_failures() -> None:
    assert [delay_s(n) for n in range(6)] == [0.0, 0.0, BASE_S, 2 * BASE_S, 4 * BASE_S, 8 * BASE_S]


@given(st.integers(0, 10**9), st.floats(0.01, 10), st.floats(1, 10), st.floats(0.01, 500))
def test_waits_never_shrink_nor_pass_the_cap(failures: int, base: float, factor: float, cap: float) -> None:
    failures %= 5_000
    wait = delay_s(failures, base, factor, cap)
    assert 0 <= wait <= cap
    assert wait <= delay_s(failures + 1, base, factor, cap)


def test_it_gets_to_the_cap() -> None:
    assert delay_s(10**6) == CAP_S


def test_a_long_run_forgives() -> None:
    assert failures_after(7, HEALTHY_S) == 1
    assert failures_after(7, HEALTHY_S - 0.1) == 8


def test_a_crash_loop_is_failures_in_a_row() -> None:
    failures = 0
    for _ in range(CRASH_LOOP_FAILURES):
        assert not is_crash_loop(failures)
        failures = failures_after(failures, lived_s=0.3)
    assert is_crash_loop(failures)
