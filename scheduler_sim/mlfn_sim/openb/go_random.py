"""Draw the numbers that Go's ``math/rand`` draws after ``rand.Seed(n)``, so that published seeds mean what they meant.

Go's source is an additive lagged Fibonacci generator, x[k] = x[k-607] + x[k-273] modulo 2^64, whose state is mixed with
a table: the state of the same recurrence after 7.8e12 steps from seed 1. The table is worked out here instead of kept:
so many steps at once are a power of x modulo the recurrence's polynomial, x^607 = x^334 + 1.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["GoRandom"]

_LENGTH, _TAP = 607, 273
_STEPS = 7_800_000_000_000
_WORD = (1 << 64) - 1
_LARGEST = (1 << 31) - 1
_Words = npt.NDArray[np.uint64]


class GoRandom:
    """Draw as a ``rand.Rand`` of Go does."""

    __slots__ = ("_at", "_state")

    def __init__(self, seed: int) -> None:
        mixed = _seeded(seed, 40, 20) ^ _table()
        # In the order in which the generator comes by: it goes down from the tap.
        self._state = [int(mixed[(_LENGTH - _TAP - 1 - k) % _LENGTH]) for k in range(_LENGTH)]
        self._at = 0

    def int63(self) -> int:
        """Return 63 random bits."""
        at = self._at
        word = (self._state[at] + self._state[at - _TAP]) & _WORD
        self._state[at] = word
        self._at = (at + 1) % _LENGTH
        return word & (_WORD >> 1)

    def intn(self, below: int) -> int:
        """Return a number from 0 up to ``below``, as ``Intn`` does below 2^31."""
        last = _LARGEST - (1 << 31) % below
        drawn = self.int63() >> 32
        while drawn > last:
            drawn = self.int63() >> 32
        return drawn % below

    def permutation(self, count: int) -> list[int]:
        """Return the numbers from 0 up to ``count`` as ``Perm`` orders them."""
        order = [0] * count
        for i in range(count):
            j = self.intn(i + 1)
            order[i] = order[j]
            order[j] = i
        return order

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put items into the order that ``Shuffle`` gives them."""
        for i in range(len(items) - 1, 0, -1):
            j = self._scaled(i + 1)
            items[i], items[j] = items[j], items[i]

    def _scaled(self, below: int) -> int:
        """Return a number from 0 up to ``below`` from the upper half of a product (Lemire), as ``Shuffle`` draws it."""
        while True:
            product = (self.int63() >> 31) * below
            low = product & 0xFFFFFFFF
            if low >= below or low >= (1 << 32) % below:
                return product >> 32


def _seeded(seed: int, high: int, middle: int) -> _Words:
    """Return a state from a seed: three steps of a small generator for each word, shifted and mixed."""
    x = seed % _LARGEST or 89_482_311
    words = []
    for k in range(-20, _LENGTH):
        x = 48_271 * x % _LARGEST
        if k < 0:
            continue
        y = 48_271 * x % _LARGEST
        z = 48_271 * y % _LARGEST
        words.append((x << high ^ y << middle ^ z) & _WORD)
        x = z
    return np.array(words, dtype=np.uint64)


@lru_cache(maxsize=1)
def _table() -> _Words:
    """Return the state after all steps."""
    start = _seeded(1, 20, 10)
    run = np.zeros(2 * _LENGTH, dtype=np.uint64)
    for k in range(_LENGTH):
        run[k] = start[(_LENGTH - _TAP - 1 - k) % _LENGTH]
    run[_LENGTH:] = run[:_LENGTH]
    for k in range(_LENGTH, 2 * _LENGTH):
        run[k : k + 1] += run[k - _TAP : k - _TAP + 1]  # arrays of one: numpy warns when a lone number wraps around
    ahead = _power(_STEPS)
    table = np.zeros(_LENGTH, dtype=np.uint64)
    for k in range(_LENGTH):
        word = (ahead * run[k : k + _LENGTH]).sum(dtype=np.uint64)
        table[(_LENGTH - _TAP - 1 - (_STEPS - _LENGTH + k)) % _LENGTH] = word
    return table


def _power(exponent: int) -> _Words:
    """Return x to a power modulo the recurrence's polynomial, coefficients modulo 2^64."""
    result, base = np.zeros((2, _LENGTH), dtype=np.uint64)
    result[0], base[1] = 1, 1
    while exponent:
        if exponent & 1:
            result = _product(result, base)
        base = _product(base, base)
        exponent >>= 1
    return result


def _product(one: _Words, other: _Words) -> _Words:
    product = np.zeros(2 * _LENGTH - 1, dtype=np.uint64)
    for k in range(_LENGTH):
        product[k : k + _LENGTH] += one[k] * other
    for k in range(2 * _LENGTH - 2, _LENGTH - 1, -1):
        top = product[k : k + 1]
        product[k - _TAP : k - _TAP + 1] += top
        product[k - _LENGTH : k - _LENGTH + 1] += top
    return product[:_LENGTH]
