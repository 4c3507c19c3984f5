"""Choose among nodes with equal totals: one uniform draw for each decision that has a feasible node.

Both engines draw alike, so that the same seed gives the same decisions: the draw u takes the floor(u * n)-th of the n
ties in the snapshot's order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlfn_sim.streams import Streams

__all__ = ["Draws"]

_STREAM = "ties"


class Draws:
    """Hand out the draws of a seed, one by one or many ahead."""

    __slots__ = ("_ahead", "_generator")

    def __init__(self, seed: int) -> None:
        self._generator = Streams(seed).stream(_STREAM)
        self._ahead: npt.NDArray[np.float64] = np.empty(0)

    def __call__(self, ties: Sequence[int]) -> int:
        """Choose among ties, which are in the snapshot's order."""
        chosen = ties[int(self.peek(1)[0] * len(ties))]
        self.skip(1)
        return chosen

    def peek(self, count: int) -> npt.NDArray[np.float64]:
        """Return the next draws without using them up."""
        if len(self._ahead) < count:
            fresh = self._generator.random(max(count - len(self._ahead), 256))
            self._ahead = np.concatenate((self._ahead, fresh))
        return self._ahead[:count]

    def skip(self, count: int) -> None:
        """Use draws up."""
        self._ahead = self._ahead[count:]
