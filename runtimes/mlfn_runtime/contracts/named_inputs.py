"""Inputs given by name, as people type them, made into an Open Inference request.

``{"inputs": {"X": [[5.1, 3.5, 1.4, 0.2]]}}`` or the bare ``{"X": [5.1, 3.5, 1.4, 0.2]}``: datatypes come from the
signature and shapes from the nesting of the lists. A request that is one already is returned as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlfn_runtime.errors import RequestError
from mlfn_runtime.signature import ModelSignature, TensorSpec

__all__ = ["as_request_document"]

_DEEPEST = 16


def as_request_document(value: Mapping[str, Any], signature: ModelSignature) -> dict[str, Any]:
    """Return the Open Inference document that ``value`` stands for."""
    given = value.get("inputs")
    if given is None and all(spec.name in value for spec in signature.inputs):
        given = {spec.name: value[spec.name] for spec in signature.inputs}
        return {"inputs": _tensors(given, signature)}
    if isinstance(given, dict):
        return {**value, "inputs": _tensors(given, signature)}
    return dict(value)


def _tensors(given: Mapping[str, Any], signature: ModelSignature) -> list[dict[str, Any]]:
    specs = {spec.name: spec for spec in signature.inputs}
    tensors = []
    for name, data in given.items():
        spec = specs.get(name)
        if spec is None:
            raise RequestError(400, f'input "{name[:64]}": expected one of {", ".join(specs)}, got this name')
        shape = _shape(spec, data)
        tensors.append({"name": name, "datatype": spec.datatype, "shape": shape, "data": data})
    return tensors


def _shape(spec: TensorSpec, data: Any) -> list[int]:
    """Return the shape that nested lists have; one row without its batch axis is given it."""
    lengths: list[int] = []
    if isinstance(data, dict):  # bytes, whose count says it
        return lengths
    level = data
    while isinstance(level, list) and len(lengths) < _DEEPEST:
        lengths.append(len(level))
        level = level[0] if level else None
    if len(lengths) == len(spec.shape) - 1 and spec.shape[0] in (-1, 1):
        return [1, *lengths]
    return lengths
