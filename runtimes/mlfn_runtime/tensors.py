"""One tensor between numpy and the wire: JSON lists and the binary tensor extension, for every datatype.

JSON has no NaN: a float that is NaN or infinite is given out as ``null``, and ``null`` in a float tensor is read as
NaN. Whoever needs infinities uses binary tensors. Every refusal names the tensor, what was expected and what came.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from mlfn_runtime.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlfn_runtime.signature import TensorSpec

__all__ = ["DTYPES", "from_binary", "from_json", "from_nested", "to_binary", "to_json", "to_nested"]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}

_FLOAT_LIMITS = {"FP16": 65504.0, "FP32": 3.4028234663852886e38, "FP64": float("inf")}
_FLOATS_ONLY = {float}
_NUMBERS = {float, int}
_SMALL = 64
"""Up to here a flat list of floats is checked in Python: 1.0 us against 1.6 for the general way."""

_LENGTH = struct.Struct("<I")
_BINARY_DTYPES = {name: dtype.newbyteorder("<") for name, dtype in DTYPES.items() if name != "BYTES"}


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: object) -> NDArray[Any]:
    """Read JSON data, flat or nested as ``shape``, into an array."""
    limit = _FLOAT_LIMITS.get(datatype)
    array: NDArray[Any]
    if limit is not None and type(data) is list and 0 < len(data) <= _SMALL:
        types = set(map(type, data))
        if (types == _FLOATS_ONLY or types <= _NUMBERS) and -limit <= min(data) and max(data) <= limit:
            array = np.array(data, DTYPES[datatype])
            return _shaped(name, shape, array)
    if type(data) is not list:
        if shape != ():
            raise RequestError(400, f'input "{name}": data: expected a list, got {_kind(data)}')
        data = [data]
    if datatype == "BYTES":
        return _shaped(name, shape, _strings(name, data))
    return _shaped(name, shape, _numbers(name, datatype, data))


def _shaped(name: str, shape: tuple[int, ...], array: NDArray[Any]) -> NDArray[Any]:
    if array.shape == shape:
        return array
    count = 1
    for length in shape:
        count *= length
    if array.size != count:
        expected = f"{count} element{'' if count == 1 else 's'} (shape {list(shape)})"
        raise RequestError(400, f'input "{name}": expected {expected}, got {array.size}')
    if array.ndim != 1 and array.size and array.shape != shape:
        raise RequestError(
            400,
            f'input "{name}": expected flat data or data nested as {list(shape)}, got nested as {list(array.shape)}',
        )
    return array.reshape(shape)


def _numbers(name: str, datatype: str, data: list[Any]) -> NDArray[Any]:
    dtype = DTYPES[datatype]
    try:
        found: NDArray[Any] = np.array(data)
    except (ValueError, OverflowError) as error:
        raise _ragged(name) from error
    if found.size == 0:
        return np.empty(found.shape, dtype)
    kind, wanted = found.dtype.kind, dtype.kind
    if wanted == "f" and kind in "fiu":
        return _floats(name, datatype, found)
    if wanted == kind == "b":
        return found
    if wanted in "iu" and kind in "iu":
        return _integers(name, datatype, found)
    return _element_by_element(name, datatype, data)


def _floats(name: str, datatype: str, found: NDArray[Any]) -> NDArray[Any]:
    if datatype == "FP64":
        return found.astype(np.float64, copy=False)
    with np.errstate(over="raise"):
        try:
            return found.astype(DTYPES[datatype])
        except FloatingPointError:
            worst = float(np.abs(found[np.isfinite(found)]).max())
            raise _out_of_range(name, datatype, worst) from None


def _integers(name: str, datatype: str, found: NDArray[Any]) -> NDArray[Any]:
    dtype = DTYPES[datatype]
    if found.dtype == dtype:
        return found
    limits = np.iinfo(dtype)
    low, high = int(found.min()), int(found.max())
    if low < limits.min or high > limits.max:
        raise _out_of_range(name, datatype, low if low < limits.min else high)
    return found.astype(dtype)


def _element_by_element(name: str, datatype: str, data: list[Any]) -> NDArray[Any]:
    """Take what numpy could not type: nulls in floats, integers beyond 63 bits; or name the first wrong element."""
    shape = _nesting(name, data)
    flat = list(_leaves(data, len(shape)))
    wanted = DTYPES[datatype].kind
    for value in flat:
        kind = type(value)
        if wanted == "b" and kind is bool:
            continue
        if wanted in "iu" and kind is int:
            continue
        if wanted == "f" and (kind in _NUMBERS or value is None):
            continue
        raise RequestError(400, f'input "{name}": expected {datatype} elements, got {_kind(value)}')
    if wanted == "f":
        floats = np.array([float("nan") if value is None else float(value) for value in flat])
        return _floats(name, datatype, floats).reshape(shape)
    if wanted in "iu":
        limits = np.iinfo(DTYPES[datatype])
        for value in flat:
            if not limits.min <= value <= limits.max:
                raise _out_of_range(name, datatype, value)
    return np.array(flat, DTYPES[datatype]).reshape(shape)


def _strings(name: str, data: list[Any]) -> NDArray[Any]:
    shape = _nesting(name, data)
    flat = list(_leaves(data, len(shape)))
    for value in flat:
        if type(value) is not str:
            raise RequestError(400, f'input "{name}": expected BYTES elements (JSON strings), got {_kind(value)}')
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)


def _nesting(name: str, data: object) -> tuple[int, ...]:
    """Return the shape of nested lists; refuse ragged ones."""
    shape: list[int] = []
    level: list[Any] = [data]
    while all(type(item) is list for item in level):
        length = len(level[0])
        if any(len(item) != length for item in level):
            raise _ragged(name)
        shape.append(length)
        level = [leaf for item in level for leaf in item]
        if not level:
            break
    if any(type(item) is list for item in level):
        raise _ragged(name)
    return tuple(shape)


def _leaves(data: list[Any], depth: int) -> Iterator[Any]:
    if depth <= 1:
        yield from data
        return
    for item in data:
        yield from _leaves(item, depth - 1)


def from_binary(name: str, datatype: str, shape: tuple[int, ...], raw: memoryview) -> NDArray[Any]:
    """Read one tensor of the binary extension; numbers share the memory of ``raw``."""
    count = 1
    for length in shape:
        count *= length
    if datatype == "BYTES":
        return _shaped(name, shape, _binary_strings(name, raw))
    dtype = _BINARY_DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        expected = f"{count * dtype.itemsize} bytes ({datatype} of shape {list(shape)})"
        raise RequestError(400, f'input "{name}": binary_data_size: expected {expected}, got {len(raw)}')
    array: NDArray[Any] = np.frombuffer(raw, dtype).reshape(shape)
    if datatype == "BOOL" and count and int(array.view(np.uint8).max()) > 1:
        raise RequestError(400, f'input "{name}": expected BOOL elements of one byte, 0 or 1, got another value')
    return array


def _binary_strings(name: str, raw: memoryview) -> NDArray[Any]:
    values: list[str] = []
    position, end = 0, len(raw)
    while position < end:
        start = position + 4
        length = _LENGTH.unpack_from(raw, position)[0] if start <= end else -1
        if length < 0 or start + length > end:
            what = "each element to be a 4-byte little-endian length and as many bytes"
            raise RequestError(400, f'input "{name}": expected {what}, got {end - position} bytes at {position}')
        try:
            values.append(str(raw[start : start + length], "utf-8"))
        except UnicodeDecodeError:
            raise RequestError(
                400, f'input "{name}": expected UTF-8 text, got other bytes in element {len(values)}'
            ) from None
        position = start + length
    array = np.empty(len(values), object)
    array[:] = values
    return array


def to_json(array: NDArray[Any]) -> object:
    """Return the elements, flat and row by row, as something that orjson writes."""
    if array.dtype.kind in "OUS":
        return [value.decode("utf-8", "replace") if type(value) is bytes else str(value) for value in array.ravel()]
    return array.ravel()


def to_binary(array: NDArray[Any]) -> bytes:
    """Return the elements as the binary extension writes them."""
    if array.dtype.kind in "OUS":
        parts: list[bytes] = []
        for value in array.ravel():
            encoded = value if type(value) is bytes else str(value).encode()
            parts.append(_LENGTH.pack(len(encoded)))
            parts.append(encoded)
        return b"".join(parts)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()


def _kind(value: object) -> str:
    """Put an element of the wrong kind into a few words."""
    if value is None:
        return "null"
    if type(value) is list:
        return "a list"
    if type(value) is dict:
        return "an object"
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    text = repr(value)
    return f"{names[type(value)]} ({text if len(text) <= 40 else text[:37] + '...'})"


def _ragged(name: str) -> RequestError:
    return RequestError(400, f'input "{name}": expected lists of equal length at each depth, got ragged ones')


def _out_of_range(name: str, datatype: str, value: float) -> RequestError:
    if datatype in _FLOAT_LIMITS:
        low, high = f"-{_FLOAT_LIMITS[datatype]:g}", f"{_FLOAT_LIMITS[datatype]:g}"
    else:
        limits = np.iinfo(DTYPES[datatype])
        low, high = str(limits.min), str(limits.max)
    return RequestError(400, f'input "{name}": expected {datatype} elements from {low} to {high}, got {value}')


def from_nested(spec: TensorSpec, data: object) -> NDArray[Any]:
    """Read nested lists whose own shape is the tensor's."""
    listed = data if type(data) is list else [data]
    array = _strings(spec.name, listed) if spec.datatype == "BYTES" else _numbers(spec.name, spec.datatype, listed)
    if not spec.shape and array.size == 1:
        return array.reshape(())
    fits = array.ndim == len(spec.shape) and all(
        fixed in (-1, length) for fixed, length in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        got = list(array.shape)
        raise RequestError(400, f'input "{spec.name}": expected lists nested as {list(spec.shape)}, got {got}')
    return array


def to_nested(array: NDArray[Any]) -> object:
    """Return the elements as nested lists, NaN and infinities as null."""
    if array.dtype.kind in "OUS":
        texts = np.empty(array.shape, object)
        texts.ravel()[:] = to_json(array)
        return texts.tolist()
    return array.tolist()
