"""Make the JSON Schema of scenario files out of the fields: for editors, and for checks outside mlfn."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args, get_origin

from mlfn_sim.experiments.building import hints
from mlfn_sim.experiments.constraints import CONSTRAINTS, Form, Mark
from mlfn_sim.experiments.scenario import Scenario

__all__ = ["rows", "schema"]

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_BOUNDS = {"above": "exclusiveMinimum", "at_least": "minimum", "at_most": "maximum", "form": "pattern"}


def schema() -> dict[str, Any]:
    """Return the schema."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A scenario of mlfn sim run"}
    return {**head, **_record(Scenario)}


def rows(kind: type = Scenario, path: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, default, accepted values and meaning of every field, for the reference page."""
    for each in fields(kind):
        where = f"{path}{each.name}"
        inner = hints(kind)[each.name]
        nested = next((part for part in (inner, *get_args(inner)) if _is_value(part)), None)
        yield where, _default(each), _accepted(inner, each), each.metadata["says"]
        if nested:
            yield from rows(nested, f"{where}{'[]' if get_origin(inner) is tuple else ''}.")


def _is_value(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)


def _record(kind: type) -> dict[str, Any]:
    own = fields(kind)
    needed = [each.name for each in own if each.metadata.get("needed")]
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": needed} if needed else {}),
        "properties": {each.name: _property(hints(kind)[each.name], each) for each in own},
    }


def _property(kind: Any, rule: Field[Any]) -> dict[str, Any]:
    meant = {"description": rule.metadata["says"]}
    if isinstance(kind, types.UnionType):
        found = _kind(next(each for each in get_args(kind) if each is not types.NoneType), rule)
        return {"anyOf": [found, {"type": "null"}], **meant}
    return {**_kind(kind, rule), **meant}


def _kind(kind: Any, rule: Field[Any]) -> dict[str, Any]:
    if _is_value(kind):
        return _record(kind)
    if rule.metadata.get("kubernetes"):
        return _kubernetes(CONSTRAINTS)
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _kind(get_args(kind)[0], rule)}
    if get_origin(kind) is Mapping:
        return {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    return _scalar(kind, rule.metadata)


def _scalar(kind: type, rule: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": ["string", "number"] if rule.get("quantity") else _TYPES[kind]}
    if "one_of" in rule:
        found["enum"] = list(rule["one_of"])
    for name, word in _BOUNDS.items():
        if name in rule:
            found[word] = f"^{rule[name]}$" if name == "form" else rule[name]
    return found


def _kubernetes(form: Form) -> dict[str, Any]:
    if isinstance(form, Mapping):
        inner = {name: _kubernetes(each) for name, each in form.items()}
        return {"type": "object", "additionalProperties": False, "properties": inner}
    if isinstance(form, list):
        return {"type": "array", "items": _kubernetes(form[0])}
    if form == Mark.TEXTS:
        return {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    return {"type": "integer" if form == Mark.NUMBER else "string"}


def _default(each: Field[Any]) -> str:
    if each.metadata.get("needed") or each.default is MISSING or each.default in ("", None, ()):
        return ""
    return str(each.default).lower() if isinstance(each.default, bool) else f"{each.default}"


def _accepted(kind: Any, each: Field[Any]) -> str:
    rule = each.metadata
    if "one_of" in rule:
        return ", ".join(f"`{value}`" for value in rule["one_of"])
    if rule.get("quantity"):
        return "a quantity, as `500m` or `2Gi`"
    bounds = [
        f"{word} {rule[name]:,}"
        for name, word in (("above", "more than"), ("at_least", "at least"), ("at_most", "at most"))
        if name in rule
    ]
    words = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    base = next((words[part] for part in (kind, *get_args(kind)) if part in words), "")
    if get_origin(kind) is tuple:
        base = f"list of {base}s" if base else "list"
    if get_origin(kind) is Mapping:
        base = "names with values"
    return ", ".join([part for part in (base, *bounds) if part])
