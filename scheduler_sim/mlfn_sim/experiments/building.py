"""Make the values of a scenario out of plain data, guided by their fields; collect everything that is wrong.

Plain data is what YAML holds, or what the values of a Python scenario are when taken apart: both are judged alike.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

from mlfn_sim.experiments.constraints import CONSTRAINTS, Form, Mark
from mlfn_sim.experiments.problems import Path, Problem
from mlfn_sim.experiments.scenario import Scenario
from mlfn_sim.quantities import millis, units

__all__ = ["Building", "hints"]

_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


@lru_cache(maxsize=64)
def hints(kind: type) -> dict[str, Any]:
    """Return the types of a value's fields."""
    return get_type_hints(kind)


@dataclass
class Building:
    """Build a scenario, and keep the problems met on the way."""

    problems: list[Problem] = field(default_factory=list)

    def scenario(self, data: Any) -> Scenario | None:
        """Return the scenario of plain data; None when it has problems."""
        made = self._record(Scenario, data, ())
        return made if isinstance(made, Scenario) and not self.problems else None

    def _fail(self, path: Path, text: str, unknown: str = "", known: tuple[str, ...] = ()) -> None:
        self.problems.append(Problem(path, text, unknown, known))

    def _record(self, kind: type, data: Any, path: Path) -> Any:
        if not isinstance(data, Mapping):
            self._fail(path, f"is {_seen(data)}; expected {', '.join(each.name for each in fields(kind))}")
            return None
        known = {each.name: each for each in fields(kind)}
        self._refuse_unknown(data, tuple(known), path)
        values = {}
        for name, each in known.items():
            if name in data:
                values[name] = self._value(hints(kind)[name], data[name], (*path, name), each)
            elif each.metadata.get("needed"):
                self._fail(path, f"has no {name}; expected one")
        return None if self.problems else kind(**values)

    def _refuse_unknown(self, data: Mapping[Any, Any], known: tuple[str, ...], path: Path) -> None:
        for name in data:
            if name not in known:
                self._fail((*path, str(name)), f"is unknown; expected one of {', '.join(known)}", str(name), known)

    def _value(self, kind: Any, data: Any, path: Path, rule: Field[Any]) -> Any:
        if isinstance(kind, types.UnionType):
            if data is None:
                return None
            kind = next(each for each in get_args(kind) if each is not types.NoneType)
        if isinstance(kind, type) and is_dataclass(kind):
            return self._record(kind, data, path)
        if rule.metadata.get("kubernetes"):
            self._kubernetes(CONSTRAINTS, data, path)
            return data
        match get_origin(kind):
            case origin if origin is tuple:
                return self._sequence(get_args(kind)[0], data, path, rule)
            case origin if origin is Mapping:
                return self._texts(data, path)
            case _:
                return self._scalar(kind, data, path, rule.metadata)

    def _sequence(self, kind: Any, data: Any, path: Path, rule: Field[Any]) -> tuple[Any, ...]:
        if not isinstance(data, list | tuple):
            self._fail(path, f"is {_seen(data)}; expected a list")
            return ()
        return tuple(self._value(kind, each, (*path, i), rule) for i, each in enumerate(data))

    def _texts(self, data: Any, path: Path) -> dict[str, str]:
        if not isinstance(data, Mapping):
            self._fail(path, f"is {_seen(data)}; expected names with values")
            return {}
        for name, each in data.items():
            if isinstance(each, bool) or not isinstance(each, str | int | float):
                self._fail((*path, str(name)), f"is {_seen(each)}; expected a text")
        return {str(name): str(each) for name, each in data.items()}

    def _scalar(self, kind: type, data: Any, path: Path, rule: Mapping[str, Any]) -> Any:
        if kind is str and rule.get("quantity") and isinstance(data, int | float) and not isinstance(data, bool):
            data = str(data)
        if kind is float and isinstance(data, int) and not isinstance(data, bool):
            data = float(data) if abs(data) < 2**1000 else math.inf
        if type(data) is not kind:
            self._fail(path, f"is {_seen(data)}; expected {_WORDS[kind]}")
            return data
        found = _out_of_bounds(data, rule)
        if found:
            unknown = str(data) if "one_of" in rule else ""
            self._fail(path, f"is {_seen(data)}; expected {found}", unknown, tuple(rule.get("one_of", ())))
        return data

    def _kubernetes(self, form: Form, data: Any, path: Path) -> None:
        if isinstance(form, Mapping):
            if not isinstance(data, Mapping):
                self._fail(path, f"is {_seen(data)}; expected {', '.join(form)}")
                return
            self._refuse_unknown(data, tuple(form), path)
            for name, each in data.items():
                if name in form:
                    self._kubernetes(form[name], each, (*path, name))
        elif isinstance(form, list):
            if not isinstance(data, list | tuple):
                self._fail(path, f"is {_seen(data)}; expected a list")
                return
            for i, each in enumerate(data):
                self._kubernetes(form[0], each, (*path, i))
        elif form == Mark.TEXTS:
            self._texts(data, path)
        elif form == Mark.NUMBER and (isinstance(data, bool) or not isinstance(data, int)):
            self._fail(path, f"is {_seen(data)}; expected a whole number")
        elif form == Mark.TEXT and not isinstance(data, str):
            self._fail(path, f"is {_seen(data)}; expected a text")


def _seen(data: Any) -> str:
    if data is None:
        return "empty"
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _out_of_bounds(data: Any, rule: Mapping[str, Any]) -> str:
    """Return what would have been right; empty: it is right."""
    if isinstance(data, float) and not math.isfinite(data):
        return "a finite number"
    if "above" in rule and data <= rule["above"]:
        return f"more than {rule['above']}"
    if "at_least" in rule and data < rule["at_least"]:
        return f"{rule['at_least']} or more"
    if "at_most" in rule and data > rule["at_most"]:
        return f"{rule['at_most']} or less"
    if "one_of" in rule and data not in rule["one_of"]:
        return f"one of {', '.join(rule['one_of'])}"
    if "form" in rule and not re.fullmatch(rule["form"], data):
        return "small letters, digits and dashes, at most 63"
    if "quantity" in rule:
        try:
            amount = millis(data) if rule["quantity"] == "cpu" else units(data)
        except ValueError as error:
            return str(error).partition(" is ")[2].replace("no quantity", "a quantity")
        return "" if amount >= 0 else "0 or more"
    return ""
