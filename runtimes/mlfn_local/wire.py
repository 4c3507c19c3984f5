"""The control protocol: JSON lines over the Unix socket.

The service greets with one hello line as soon as a client connects. The client sends one request line; the service
answers with any number of ``{"event": …}`` lines and exactly one ``{"result": …}`` or ``{"error": …}`` line. A client
that goes away before the last line, or finishes sending, cancels its request: the end of the stream then tells it that
all is undone, a last line that it came too late. A service that was asked to stop says so in its greeting, and answers
``{"stopping": true}`` to requests that it has not touched, or has undone. ``stop`` means the same in every version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

__all__ = ["LINE_LIMIT", "Hello", "decode", "encode"]

LINE_LIMIT = 64 * 1024 * 1024
"""Longest line; a status with many revisions and wide signatures stays far below."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Tell a client whom it reached."""

    version: str
    pid: int
    port: int
    started_at: float
    stopping: bool = False
    """Whether it takes no requests any more."""

    def as_json(self) -> dict[str, object]:
        """Return the greeting as sent."""
        return {"hello": asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Hello:
        """Read a greeting, from whatever version sent it."""
        hello = value.get("hello", {})
        return cls(
            version=str(hello.get("version", "")),
            pid=int(hello.get("pid", 0)),
            port=int(hello.get("port", 0)),
            started_at=float(hello.get("started_at", 0.0)),
            stopping=bool(hello.get("stopping", False)),
        )


def encode(value: Mapping[str, object]) -> bytes:
    """Return one line."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def decode(line: bytes) -> dict[str, Any]:
    """Read one line; raises ValueError when it is not a JSON object."""
    value = orjson.loads(line)
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value
