"""Inputs made from a signature alone: for the inference before ready, for the proof of merging, for examples.

Deterministic, and modest in its values, so that most models take them: floats in [0, 1), integers 0 and 1 (token ids,
masks), short words. Rows differ, so that a model which mixes its rows is found out. Needs numpy, not ONNX Runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlfn_runtime.tensors import DTYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlfn_runtime.signature import ModelSignature, TensorSpec

__all__ = ["FREE_LENGTHS", "example_body", "synthesise"]

FREE_LENGTHS = (16, 32, 64, 224, 320, 512, 1, 640, 1024, 2048, 8, 4, 2)
"""Lengths tried in turn for free axes other than the batch, until the model takes one: images want multiples of 32,
audio 512 samples, text anything. 16 first: long enough to be typical, short enough to be cheap."""

_WORDS = ("alpha", "beta", "gamma", "delta")


def synthesise(signature: ModelSignature, rows: int = 1, free: int = FREE_LENGTHS[0]) -> dict[str, NDArray[Any]]:
    """Make one set of inputs with ``rows`` rows; other free axes get the length ``free``.

    An axis is a batch axis when it is the first of its tensor, and so is every axis that carries the same symbol.
    """
    batch = {
        spec.symbols[0]
        for spec in signature.inputs
        if spec.shape and spec.shape[0] == -1 and spec.symbols and spec.symbols[0]
    }
    arrays: dict[str, NDArray[Any]] = {}
    for spec in signature.inputs:
        arrays[spec.name] = _values(spec.datatype, _lengths(spec, batch, rows, free))
    return arrays


def _lengths(spec: TensorSpec, batch: set[str], rows: int, free: int) -> tuple[int, ...]:
    lengths = []
    for axis, length in enumerate(spec.shape):
        symbol = spec.symbols[axis] if axis < len(spec.symbols) else ""
        if length != -1:
            lengths.append(length)
        elif axis == 0 or symbol in batch:
            lengths.append(rows)
        else:
            lengths.append(free)
    return tuple(lengths)


def _values(datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    count = 1
    for length in shape:
        count *= length
    steps = np.arange(count)
    kind = DTYPES[datatype].kind
    if kind == "O":
        words = np.empty(count, object)
        words[:] = [_WORDS[step % len(_WORDS)] for step in range(count)]
        return words.reshape(shape)
    if kind == "f":
        # Two digits are short in JSON, and the period of 97 is prime to every usual row length, so rows differ.
        floats: NDArray[Any] = np.round((steps * 37 % 97) / 97, 2).astype(DTYPES[datatype])
        return floats.reshape(shape)
    # The first is 1, so that a mask is never empty; the pattern has the period 7, prime to usual row lengths.
    bits: NDArray[Any] = (steps % 7 % 3 != 1).astype(DTYPES[datatype])
    return bits.reshape(shape)


def example_body(signature: ModelSignature) -> dict[str, object]:
    """Make the Open Inference JSON document that asks for one inference on synthesised inputs."""
    inputs = []
    for spec in signature.inputs:
        array = _values(spec.datatype, _lengths(spec, set(), 1, FREE_LENGTHS[0]))
        if array.dtype.kind == "f":
            data: list[Any] = [round(float(value), 2) for value in array.ravel()]
        else:
            data = array.ravel().tolist()
        inputs.append({"name": spec.name, "datatype": spec.datatype, "shape": list(array.shape), "data": data})
    return {"inputs": inputs}
