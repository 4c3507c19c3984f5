"""Give every cause of randomness a stream of its own, by name.

The stream of a name depends on the seed and the name alone: asking for another stream, more often, or in another order
changes none. So a node or a policy added to a scenario never reshuffles the arrivals.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["Streams"]


class Streams:
    """Hand out the random streams of one seed."""

    __slots__ = ("_known", "seed")

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected 0 or more")
        self.seed = seed
        self._known: dict[str, np.random.Generator] = {}

    def stream(self, name: str) -> np.random.Generator:
        """Return the generator of a name: the same object each time, which goes on where it was."""
        if name not in self._known:
            self._known[name] = np.random.Generator(np.random.PCG64(self._sequence(name)))
        return self._known[name]

    def _sequence(self, name: str) -> np.random.SeedSequence:
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        key = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
        return np.random.SeedSequence(self.seed, spawn_key=key)
