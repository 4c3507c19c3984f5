"""Choose the instance that takes a request, by the rules of Knative's activator (``pkg/activator/net``).

The concurrency limit of the function picks the rule: without a limit the less loaded of two random instances, with a
limit of 1 to 3 the first that has room (the others may idle and be removed), above that round robin over those with
room. Randomness is an argument: two draws from [0, 1).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FIRST_AVAILABLE_UP_TO", "choose_instance"]

FIRST_AVAILABLE_UP_TO = 3
"""The largest concurrency limit for which the first instance with room is taken."""


def choose_instance(in_flight: Sequence[int], concurrency: int, cursor: int, draw1: float, draw2: float) -> int:
    """Return the index of the instance to send to, or -1 when none has room.

    ``in_flight`` holds the requests at each ready instance, in an order that stays; ``concurrency`` is the limit per
    instance (0 = none); ``cursor`` is where round robin goes on: the index returned last plus one.
    """
    count = len(in_flight)
    if count == 0:
        return -1
    if concurrency <= 0:
        return _less_loaded_of_two(in_flight, draw1, draw2)
    start = 0
    if concurrency > FIRST_AVAILABLE_UP_TO and 0 <= cursor < count:
        start = cursor
    for step in range(count):
        i = (start + step) % count
        if in_flight[i] < concurrency:
            return i
    return -1


def _less_loaded_of_two(in_flight: Sequence[int], draw1: float, draw2: float) -> int:
    """Return the less loaded of two different instances drawn at random; a tie is a coin toss.

    The coin is what the second draw has left over after it picked an instance (all of it, with two instances), which
    is independent of the pick.
    """
    count = len(in_flight)
    if count == 1:
        return 0
    one, other, coin = 0, 1, draw2
    if count > 2:
        one = int(draw1 * count)
        scaled = draw2 * (count - 1)
        other = int(scaled)
        coin = scaled - other
        if other >= one:
            other += 1
    if in_flight[one] > in_flight[other] or (in_flight[one] == in_flight[other] and coin >= 0.5):
        return other
    return one
