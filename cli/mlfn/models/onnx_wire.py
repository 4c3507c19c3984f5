"""The protobuf wire format, as far as skimming an ONNX file needs it: fields come one by one, payloads are not copied.

Why not the ``onnx`` package: importing it takes 0.30 s on two cores (iris: 0.3 ms here), it holds every weight in
memory to tell the names of the inputs, and what it says of a damaged file is "Error parsing message". A differential
test holds this reading equal to that package's on every model that it ships.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

__all__ = ["Buffer", "MalformedError", "fields", "signed", "text", "varints"]

Buffer = bytes | mmap.mmap
"""What is read: the bytes of a small file, the mapping of a large one."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}


class MalformedError(Exception):
    """The bytes are not the message that they should be; ``truncated`` when they end too early."""

    def __init__(self, reason: str, *, truncated: bool = False) -> None:
        super().__init__(reason)
        self.truncated = truncated


def fields(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field of the message at ``data[start:end]`` as (number, wire type, first, last).

    A varint is (number, 0, value, 0); anything else lies at ``data[first:last]``.
    """
    position = start
    while position < end:
        key, position = _varint(data, position, end)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, position = _varint(data, position, end)
            yield number, wire_type, value, 0
            continue
        if wire_type == LENGTH:
            length, position = _varint(data, position, end)
        elif wire_type in _WIDTHS:
            length = _WIDTHS[wire_type]
        else:
            raise MalformedError(f"byte {position - 1} starts no field")
        if number == 0:
            raise MalformedError(f"byte {position - 1} starts no field")
        if position + length > end:
            missing = position + length - end
            raise MalformedError(f"field {number} needs {missing} bytes more than there are", truncated=True)
        yield number, wire_type, position, position + length
        position += length


def _varint(data: Buffer, position: int, end: int) -> tuple[int, int]:
    """Return the number at ``position`` and the position after it."""
    value = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        if byte < 0x80:
            return value | byte << shift, position
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise MalformedError(f"the number that ends at byte {position} has more than 64 bits")
    raise MalformedError(f"a number is cut off at byte {end}", truncated=True)


def signed(value: int) -> int:
    """Return a varint as the int64 that it stands for."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def varints(data: Buffer, wire_type: int, first: int, last: int) -> list[int]:
    """Return the numbers of a repeated int64 field, packed or not."""
    if wire_type == VARINT:
        return [signed(first)]
    values = []
    while first < last:
        value, first = _varint(data, first, last)
        values.append(signed(value))
    return values


def text(data: Buffer, first: int, last: int) -> str:
    """Return a string field."""
    try:
        return data[first:last].decode()
    except UnicodeDecodeError:
        raise MalformedError(f"bytes {first} to {last} should be a name and are not text") from None
