"""Tensors given as bytes in a JSON document: ``{"base64": "…"}`` or ``{"url": "https://…"}`` in place of their data.

The bytes are those of the binary tensor extension: elements in row-major order, little-endian; BYTES with a length
before each. ``"shape"`` beside them is needed only where the signature and the count of bytes leave it open. Fetches
nothing itself.
"""

from __future__ import annotations

from binascii import Error as NotBase64
from binascii import a2b_base64
from math import prod
from typing import TYPE_CHECKING, Any

from mlfn_runtime.errors import RequestError
from mlfn_runtime.signature import ITEM_SIZES

if TYPE_CHECKING:
    from mlfn_runtime.signature import ModelSignature, TensorSpec

__all__ = ["as_binary_document", "given_urls"]

_KINDS = ("base64", "url")


def given_urls(document: dict[str, Any]) -> list[str]:
    """Return the URLs that a document's tensors name, in their order."""
    return [given[1] for entry in _entries(document) if (given := _given(entry)) and given[0] == "url"]


def as_binary_document(
    document: dict[str, Any], signature: ModelSignature, contents: list[bytes]
) -> tuple[dict[str, Any], memoryview | None]:
    """Return the document with its given tensors as binary ones, and their bytes; ``contents`` are its URLs'."""
    entries = _entries(document)
    if not any(_given(entry) for entry in entries):
        return document, None
    specs = {spec.name: spec for spec in signature.inputs}
    fetched = iter(contents)
    tails: list[bytes] = []
    tensors: list[Any] = []
    for entry in entries:
        given = _given(entry)
        if given is None:
            _refuse_own_binary(entry)
            tensors.append(entry)
            continue
        raw = next(fetched) if given[0] == "url" else _decoded(entry, given[1])
        tails.append(raw)
        tensors.append(_binary_tensor(entry, specs.get(str(entry.get("name"))), len(raw)))
    return {**document, "inputs": tensors}, memoryview(b"".join(tails))


def _entries(document: dict[str, Any]) -> list[Any]:
    entries = document.get("inputs")
    return entries if isinstance(entries, list) else []


def _given(entry: Any) -> tuple[str, str] | None:
    data = entry.get("data") if isinstance(entry, dict) else None
    if not isinstance(data, dict):
        return None
    kinds = [kind for kind in _KINDS if isinstance(data.get(kind), str)]
    if len(kinds) != 1 or not set(data) <= {kinds[0], "shape"}:
        name = str(entry.get("name"))[:64]
        raise RequestError(400, f'input "{name}": expected a list, {{"base64": …}} or {{"url": …}}, got an object')
    return kinds[0], data[kinds[0]]


def _decoded(entry: dict[str, Any], text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except (NotBase64, ValueError) as error:
        name = str(entry.get("name"))[:64]
        raise RequestError(400, f'input "{name}": base64: expected base64 with its padding, got: {error}') from None


def _binary_tensor(entry: dict[str, Any], spec: TensorSpec | None, size: int) -> dict[str, Any]:
    shape = entry["data"].get("shape") or entry.get("shape")
    if not shape and spec is not None:
        shape = _shape_of(spec, size)
    kept = {key: value for key, value in entry.items() if key != "data"}
    return {**kept, "shape": shape, "parameters": {"binary_data_size": size}}


def _shape_of(spec: TensorSpec, size: int) -> list[int]:
    """Return the one shape that so many bytes can have."""
    shape = list(spec.shape)
    if -1 not in shape:
        return shape
    each = ITEM_SIZES[spec.datatype] * prod(length for length in shape if length != -1)
    if shape.count(-1) > 1 or not each or size % each:
        raise RequestError(400, f'input "{spec.name}": expected a "shape" beside its {size} bytes, got none that fits')
    shape[shape.index(-1)] = size // each
    return shape


def _refuse_own_binary(entry: Any) -> None:
    parameters = entry.get("parameters") if isinstance(entry, dict) else None
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        raise RequestError(400, "binary_data_size: expected tensors as data, base64 or url, got a binary one")
