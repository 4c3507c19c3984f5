"""Tell in 16 hex digits whether two runs took the same decisions."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["decision_hash"]


def decision_hash(chosen: npt.ArrayLike) -> str:
    """Return BLAKE2b over (step, node index or -1) as little-endian 64-bit integers."""
    nodes = np.asarray(chosen, "<i8")
    pairs = np.stack((np.arange(len(nodes), dtype="<i8"), nodes), axis=1)
    return hashlib.blake2b(np.ascontiguousarray(pairs).tobytes(), digest_size=8).hexdigest()
