"""Read a scenario from YAML, with the line of every value, or from a Python file that makes one.

A Python file runs: to name one is to trust it.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path as File
from typing import Any, NoReturn

from mlfn_sim.experiments.building import Building
from mlfn_sim.experiments.consistency import inconsistencies
from mlfn_sim.experiments.problems import Path, Problem, ScenarioError, dotted
from mlfn_sim.experiments.scenario import Scenario

__all__ = ["check", "read_scenario", "refuse_at"]

YAML = (".yaml", ".yml")

_DEEPEST, _MOST = 40, 1_000_000
_Lines = dict[Path, int]


def read_scenario(path: File) -> Scenario:
    """Return the scenario of a file. Raises ScenarioError, with every problem."""
    if path.suffix == ".py":
        return check(_made(path), str(path))
    if path.suffix not in YAML:
        raise ScenarioError(f"{path}: a scenario's file ends in .yaml, .yml or .py")
    data, lines = _plain(path)
    building = Building()
    scenario = building.scenario(data)
    problems = building.problems or (inconsistencies(scenario) if scenario else [])
    _refuse(str(path), problems, lines)
    assert scenario is not None
    return scenario


def check(scenario: Scenario, where: str = "scenario") -> Scenario:
    """Return a scenario that was made in Python. Raises ScenarioError when it holds what a file may not."""
    building = Building()
    made = building.scenario(asdict(scenario))
    _refuse(where, building.problems or inconsistencies(scenario), {})
    assert made is not None
    return made


def _refuse(where: str, problems: Iterable[Problem], lines: Mapping[Path, int]) -> None:
    """Raise ScenarioError when there are problems."""
    found = sorted(problems, key=lambda problem: _line(problem.path, lines))
    if found:
        told = [
            f"{_place(where, each.path, lines)}: {dotted(each.path) or 'the scenario'} {each.text}" for each in found
        ]
        raise ScenarioError("\n".join(told), found)


def refuse_at(path: File, problem: Problem) -> NoReturn:
    """Refuse a value for a problem that shows only when the scenario is used, at its line where a file has lines."""
    lines = _plain(path)[1] if path.suffix in YAML and path.exists() else {}
    _refuse(str(path), [problem], lines)
    raise AssertionError("a problem is refused")


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    """Return the line of a value, or of the nearest thing around it that has one."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def _place(where: str, path: Path, lines: Mapping[Path, int]) -> str:
    line = _line(path, lines)
    return f"{where}:{line}" if line else where


# -- YAML --


def _plain(path: File) -> tuple[Any, _Lines]:
    import yaml

    try:
        document = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ScenarioError(f"{where}: is not YAML: {getattr(error, 'problem', None) or error}") from error
    if document is None:
        raise ScenarioError(f"{path}: is empty; expected a scenario")
    tree = _Tree(path, yaml.SafeLoader(""))
    return tree.plain(document, ()), tree.lines


class _Tree:
    """Turn YAML nodes into plain data, and note the line of each value."""

    def __init__(self, path: File, constructor: Any) -> None:
        self._path = path
        self._constructor = constructor
        self.lines: _Lines = {}

    def plain(self, node: Any, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if len(path) > _DEEPEST or len(self.lines) > _MOST:
            raise ScenarioError(f"{self._path}:{line}: is nested or repeated too much to be a scenario")
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return [self.plain(each, (*path, i)) for i, each in enumerate(node.value)]
        try:
            return self._constructor.construct_object(node)
        except ValueError as error:  # a date that is none, for instance
            raise ScenarioError(f"{self._path}:{line}: {node.value!r} cannot be read: {error}") from error

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in found:
                first = self.lines[(*path, name)]
                raise ScenarioError(f"{self._path}:{line}: {name!r} stands twice, first on line {first}")
            self.lines[(*path, name)] = line
            found[name] = self.plain(value, (*path, name))
        return found


# -- Python --


def _made(path: File) -> Scenario:
    """Run a Python file and return its SCENARIO, or what its scenario() returns."""
    spec = importlib.util.spec_from_file_location(f"scenario_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their own module up
    try:
        spec.loader.exec_module(module)
        make = getattr(module, "scenario", None)
        found = getattr(module, "SCENARIO", None) or (make() if callable(make) else None)
    except FileNotFoundError as error:
        if error.filename == str(path):
            raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from error
        raise ScenarioError(_raised(path, error)) from error
    except SyntaxError as error:
        raise ScenarioError(f"{path}:{error.lineno}: is not Python: {error.msg}") from error
    except Exception as error:
        raise ScenarioError(_raised(path, error)) from error
    if not isinstance(found, Scenario):
        seen = "nothing" if found is None else f"a {type(found).__name__}"
        expected = "expected SCENARIO, or scenario(), to be an mlfn_sim.experiments.scenario.Scenario"
        raise ScenarioError(f"{path}: defines {seen}; {expected}")
    return found


def _raised(path: File, error: Exception) -> str:
    own = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)]
    where = f"{path}:{own[-1]}" if own else str(path)
    return f"{where}: failed while it ran: {type(error).__name__}: {error}"
