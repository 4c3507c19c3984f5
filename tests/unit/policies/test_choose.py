"""The choice of an instance: never over the limit, and the rule that the limit asks for."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mlfn_policies.choose import choose_instance

draws = st.floats(0, 1, exclude_max=True)
loads = st.lists(st.integers(0, 12), max_size=12)


@given(loads, st.integers(1, 10), st.integers(-3, 20), draws, draws)
def test_never_over_the_limit_and_found_when_there_is_room(
    in_flight: list[int], concurrency: int, cursor: int, draw1: float, draw2: float
) -> None:
    chosen = choose_instance(in_flight, concurrency, cursor, draw1, draw2)
    free = [i for i, n in enumerate(in_flight) if n < concurrency]
    assert (chosen in free) if free else (chosen == -1)


@given(loads, st.integers(1, 3), st.integers(0, 20), draws, draws)
def test_a_small_limit_takes_the_first_with_room(
    in_flight: list[int], concurrency: int, cursor: int, draw1: float, draw2: float
) -> None:
    chosen = choose_instance(in_flight, concurrency, cursor, draw1, draw2)
    assert all(n >= concurrency for n in in_flight[: max(chosen, 0)])


@given(st.integers(1, 9), st.integers(4, 20), st.integers(1, 4))
def test_a_larger_limit_goes_round(count: int, concurrency: int, rounds: int) -> None:
    in_flight, cursor = [0] * count, 0
    for _ in range(count * rounds):
        chosen = choose_instance(in_flight, concurrency, cursor, 0.0, 0.0)
        in_flight[chosen] += 1
        cursor = chosen + 1
    assert in_flight == [rounds] * count


def test_round_robin_goes_on_after_the_cursor_and_past_the_full() -> None:
    assert choose_instance([0, 0, 0], 4, 2, 0.0, 0.0) == 2
    assert choose_instance([0, 0, 0], 4, 3, 0.0, 0.0) == 0
    assert choose_instance([0, 4, 4], 4, 1, 0.0, 0.0) == 0


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), draws, draws)
def test_without_a_limit_the_less_loaded_of_two_different_ones(
    in_flight: list[int], draw1: float, draw2: float
) -> None:
    chosen = choose_instance(in_flight, 0, 0, draw1, draw2)
    assert 0 <= chosen < len(in_flight)
    if len(in_flight) > 1:
        assert sum(n >= in_flight[chosen] for n in in_flight) >= 2  # the busiest alone is never chosen
    if len(in_flight) == 2:
        assert in_flight[chosen] == min(in_flight)


def test_without_a_limit_every_instance_and_both_sides_of_a_tie_are_drawn_evenly() -> None:
    draw = random.Random(7).random
    for count in (2, 3, 5):
        chosen = Counter(choose_instance([1] * count, 0, 0, draw(), draw()) for _ in range(6_000))
        assert len(chosen) == count
        assert all(abs(n - 6_000 / count) < 300 for n in chosen.values())


def test_nobody_to_choose() -> None:
    assert choose_instance([], 0, 0, 0.5, 0.5) == -1
    assert choose_instance([], 4, 0, 0.5, 0.5) == -1
    assert choose_instance([9], 0, 0, 0.5, 0.5) == 0
