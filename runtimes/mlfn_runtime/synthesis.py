"""Inputs made from a signature alone: for the inference before ready, for the proof of merging, for examples.

Deterministic, and modest in its values, so that most models take them: floats in [0, 1), integers 0 and 1 (token ids,
masks), short words. Rows differ, so that a model which mixes its rows is found out. Needs numpy, not ONNX Runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlfn_runtime.tensors import DTYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlfn_runtime.signature import ModelSignature, TensorSpec

__all__ = ["LENGTHS", "Lengths", "example_body", "synthesise"]


class Lengths(NamedTuple):
    """Say how long free axes are made that are not the batch.

    ``image`` is for the last two axes of four. ``state`` tells that an axis without a symbol, in a tensor whose first
    axis is fixed, is the batch after all: so it is with the states of recurrent models.
    """

    other: int
    image: int
    state: bool = False


_TRIED = ((16, 224), (32, 320), (64, 640), (320, 64), (512, 32), (1, 1), (224, 48), (640, 512), (1024, 16), (2048, 8))

LENGTHS = (*(Lengths(*pair) for pair in _TRIED), *(Lengths(*pair, state=True) for pair in _TRIED))
"""Lengths tried in turn until the model takes one: images want multiples of 32, audio 320 samples and more, text
anything. The first are typical, since what a run costs decides how the model is run."""

_WORDS = ("alpha", "beta", "gamma", "delta", "epsilon")


def synthesise(signature: ModelSignature, rows: int = 1, lengths: Lengths = LENGTHS[0]) -> dict[str, NDArray[Any]]:
    """Make one set of inputs with ``rows`` rows.

    An axis is a batch axis when it is the first of its tensor, and so is every axis that carries the same symbol.
    """
    batch = {
        spec.symbols[0]
        for spec in signature.inputs
        if spec.shape and spec.shape[0] == -1 and spec.symbols and spec.symbols[0]
    }
    arrays: dict[str, NDArray[Any]] = {}
    for spec in signature.inputs:
        arrays[spec.name] = _values(spec.datatype, _shape(spec, batch, rows, lengths))
    return arrays


def _shape(spec: TensorSpec, batch: set[str], rows: int, lengths: Lengths) -> tuple[int, ...]:
    shape = []
    for axis, length in enumerate(spec.shape):
        symbol = spec.symbols[axis] if axis < len(spec.symbols) else ""
        if length != -1:
            shape.append(length)
        elif axis == 0 or symbol in batch or (lengths.state and not symbol and spec.shape[0] != -1):
            shape.append(rows)
        elif len(spec.shape) == 4 and axis >= 2:
            shape.append(lengths.image)
        else:
            shape.append(lengths.other)
    return tuple(shape)


def _values(datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    count = 1
    for length in shape:
        count *= length
    row_length = max(1, count // shape[0]) if shape and shape[0] else 1
    steps = np.arange(count) % row_length + np.arange(count) // row_length * 3  # each row begins three steps further
    kind = DTYPES[datatype].kind
    if kind == "O":
        words = np.empty(count, object)
        words[:] = [_WORDS[step % len(_WORDS)] for step in range(count)]
        return words.reshape(shape)
    if kind == "f":
        # Two digits are short in JSON.
        floats: NDArray[Any] = np.round((steps * 37 % 97) / 97, 2).astype(DTYPES[datatype])
        return floats.reshape(shape)
    # Two in three are 1, so that a mask is never empty.
    bits: NDArray[Any] = (steps % 7 % 3 != 1).astype(DTYPES[datatype])
    return bits.reshape(shape)


def example_body(signature: ModelSignature, lengths: Lengths = LENGTHS[0]) -> dict[str, object]:
    """Make the Open Inference JSON document that asks for one inference on synthesised inputs."""
    inputs = []
    arrays = synthesise(signature, lengths=lengths)
    for spec in signature.inputs:
        array = arrays[spec.name]
        if array.dtype.kind == "f":
            data: list[Any] = [round(float(value), 2) for value in array.ravel()]
        else:
            data = array.ravel().tolist()
        inputs.append({"name": spec.name, "datatype": spec.datatype, "shape": list(array.shape), "data": data})
    return {"inputs": inputs}
