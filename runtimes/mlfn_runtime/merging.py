"""Several requests in one run: which may go together, how they are put together and taken apart.

Pure functions over arrays. Whether a model may be merged at all is decided elsewhere (calibration); here the first
axis of every input and output is the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

__all__ = ["merge", "merge_key", "rows_of", "split"]


def rows_of(inputs: Arrays) -> int:
    """Return the length of the first axis of the first input; 1 for a scalar."""
    for array in inputs.values():
        return array.shape[0] if array.ndim else 1
    return 1


def merge_key(inputs: Arrays) -> tuple[object, ...] | None:
    """Return what two requests must have in common to share a run: all axes but the first.

    None for inputs that cannot be merged with any: no rows, or inputs of different numbers of rows.
    """
    if len(inputs) == 1:  # most models
        for array in inputs.values():
            shape = array.shape
            return shape[1:] if shape and shape[0] else None
    key: list[object] = []
    rows = -1
    for name in sorted(inputs):
        shape = inputs[name].shape
        if not shape or shape[0] == 0 or (rows != -1 and shape[0] != rows):
            return None
        rows = shape[0]
        key.append(shape[1:])
    return tuple(key)


def merge(parts: Sequence[Arrays]) -> Arrays:
    """Put the rows of all parts, in order, under each other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def split(outputs: Arrays, rows: Sequence[int]) -> list[Arrays] | None:
    """Give each part its rows of the outputs; None where the outputs do not have the rows that went in."""
    total = sum(rows)
    for array in outputs.values():
        if not array.ndim or array.shape[0] != total:
            return None
    parts: list[Arrays] = []
    start = 0
    for count in rows:
        end = start + count
        parts.append({name: array[start:end] for name, array in outputs.items()})
        start = end
    return parts
