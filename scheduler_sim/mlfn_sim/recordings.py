"""Read recordings of real control planes: JSON, plain or gzipped, from hands that may have erred.

:func:`read` gives the document, :class:`Item` a typed view of one JSON object in it. Whatever is wrong becomes a
:class:`~mlfn_sim.errors.RecordingError` that names file, place and value. Knows no kind of recording.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from mlfn_sim.errors import RecordingError

__all__ = ["LARGEST", "Item", "Recording", "read"]

LARGEST = 1e15
"""The largest magnitude of a number: beyond it a double no longer holds six decimals or even whole steps."""

_GZIP_MAGIC = b"\x1f\x8b"
_SHOWN = 60  # characters of a foreign value in a message


@dataclass(frozen=True, slots=True)
class Recording:
    """Hold one parsed file. ``profile`` is the configuration it was recorded with, for the kinds that have one."""

    path: Path
    document: object
    profile: Path | None = None
    engine: str = "reference"
    """Which engine replays it, for the kinds that have two."""


def read(path: Path, profile: Path | None = None) -> Recording:
    """Parse ``path``; whether it is compressed is told by its first bytes, not by its name."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    if data.startswith(_GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except EOFError as error:
            raise RecordingError(f"{path}: the gzip stream ends too early; the file is truncated") from error
        except (OSError, zlib.error) as error:
            raise RecordingError(f"{path}: not a valid gzip stream: {error}") from error
    if not data.strip():
        raise RecordingError(f"{path}: the file is empty; expected JSON")
    return Recording(path, _parse(path, data), profile)


def _parse(path: Path, data: bytes) -> object:
    def refuse(constant: str) -> NoReturn:
        raise RecordingError(f"{path}: holds {constant}, which is not a JSON number")

    try:
        return json.loads(data, parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise RecordingError(f"{path}: not JSON: byte {error.start} is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise RecordingError(
            f"{path}: not valid JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    except (RecursionError, ValueError) as error:  # nested too deep; an integer of thousands of digits
        raise RecordingError(f"{path}: not usable JSON: {error}") from error


class Item:
    """View one JSON object; ``where`` says which one, for messages."""

    __slots__ = ("_fields", "path", "where")

    def __init__(self, path: Path, where: str, value: object) -> None:
        self.path = path
        self.where = where
        if not isinstance(value, dict):
            self.fail(f"is {_shown(value)}; expected an object")
        self._fields: dict[str, Any] = value

    @property
    def document(self) -> dict[str, Any]:
        """Return the object as it stands."""
        return self._fields

    def fail(self, problem: str) -> NoReturn:
        """Refuse this item."""
        raise RecordingError(f"{self.path}: {self.where} {problem}")

    def value(self, name: str) -> object:
        """Return a field that must be there."""
        if name not in self._fields:
            self.fail(f"has no field {name!r}")
        return self._fields[name]

    def number(self, name: str, *, least: float = -LARGEST, above: float | None = None) -> float:
        """Return a number of at least ``least``, or above ``above``."""
        value = self.value(name)
        bound = f" of at least {least:g}" if least > -LARGEST else "" if above is None else f" above {above:g}"
        if not _is_number(value) or value < least or (above is not None and value <= above):
            self._mistyped(name, value, f"a number{bound}")
        return float(value)

    def integer(self, name: str, *, least: int) -> int:
        """Return a whole number of at least ``least``."""
        value = self.value(name)
        if not _is_number(value) or value != math.floor(value) or value < least:
            self._mistyped(name, value, f"a whole number of at least {least}")
        return int(value)

    def boolean(self, name: str) -> bool:
        """Return true or false."""
        value = self.value(name)
        if not isinstance(value, bool):
            self._mistyped(name, value, "true or false")
        return value

    def text(self, name: str, choices: tuple[str, ...] = ()) -> str:
        """Return a text, one of ``choices`` when there are any."""
        value = self.value(name)
        if not isinstance(value, str) or (choices and value not in choices):
            self._mistyped(name, value, " or ".join(choices) if choices else "a text")
        return value

    def items(self, name: str) -> list[object]:
        """Return a list with something in it."""
        value = self.value(name)
        if not isinstance(value, list) or not value:
            self._mistyped(name, value, "a list that is not empty")
        return value

    def numbers(self, name: str) -> Iterator[float | None]:
        """Yield the numbers of a list; null is None."""
        for i, value in enumerate(self.items(name)):
            if value is not None and not _is_number(value):
                self._mistyped(f"{name}[{i}]", value, "a number or null")
            yield None if value is None else float(value)

    def _mistyped(self, name: str, value: object, expected: str) -> NoReturn:
        self.fail(f"has {name} = {_shown(value)}; expected {expected}")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
