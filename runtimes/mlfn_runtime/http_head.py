"""The bytes of HTTP/1.1 heads: status lines and header blocks."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlfn_runtime.routes import Headers

__all__ = ["CONTINUE", "OK_JSON", "STATUS_LINES", "header_block"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

STATUS_LINES: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

OK_JSON = STATUS_LINES[200] + b"content-type: application/json\r\n"
"""What most answers begin with."""

_blocks: dict[Headers, bytes] = {}
_MOST_BLOCKS = 64


def header_block(headers: Headers) -> bytes:
    """Return the lines of some headers; those of constant headers are made once."""
    block = _blocks.get(headers)
    if block is None:
        block = b"".join(b"%b: %b\r\n" % (name, _one_line(value)) for name, value in headers)
        if len(_blocks) < _MOST_BLOCKS and len(headers) < 2:
            _blocks[headers] = block
    return block


def _one_line(value: bytes) -> bytes:
    """Keep a value from starting another header."""
    return value.replace(b"\r", b" ").replace(b"\n", b" ")
