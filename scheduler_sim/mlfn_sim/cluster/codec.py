"""Write the frozen values of pods as JSON texts and read them back, guided by their types alone.

What equals its default is left out, so that a text stays readable and old files stay valid when a field is added.
"""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

__all__ = ["decoded", "encoded"]

_Value = TypeVar("_Value")


def encoded(value: object) -> str:
    """Return a value's text."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


def decoded(kind: type[_Value], text: str) -> _Value:
    """Return the value of a text. Raises ValueError when it is none of that kind."""
    value = _typed(kind, json.loads(text))
    assert isinstance(value, kind)
    return value


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        told = {}
        for field in fields(value):
            own = getattr(value, field.name)
            if field.default is MISSING or own != field.default:
                told[field.name] = _plain(own)
        return told
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _typed(kind: Any, value: Any) -> Any:
    if isinstance(kind, types.UnionType):
        return None if value is None else _typed(next(each for each in get_args(kind) if each is not type(None)), value)
    origin = get_origin(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        if not isinstance(value, dict) or set(value) - set(hints):
            raise ValueError(f"{str(value)[:60]!r} is no {kind.__name__}")
        try:
            return kind(**{name: _typed(hints[name], each) for name, each in value.items()})
        except TypeError as error:
            raise ValueError(f"{str(value)[:60]!r} lacks something: {error}") from error
    if origin in (tuple, frozenset):
        return _collection(kind, origin, value)
    if type(value) is not kind:
        raise ValueError(f"{value!r:.60} is no {kind.__name__}")
    return value


def _collection(kind: Any, origin: Any, value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.60} is no list")
    arguments = get_args(kind)
    if origin is frozenset or arguments[-1] is Ellipsis:
        return origin(_typed(arguments[0], each) for each in value)
    if len(arguments) != len(value):
        raise ValueError(f"{value!r:.60} has {len(value)} parts; expected {len(arguments)}")
    return tuple(_typed(each, part) for each, part in zip(arguments, value, strict=True))


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
