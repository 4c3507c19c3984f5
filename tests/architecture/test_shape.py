"""The shape that the style guide asks for: documented modules, sorted doors, small files and functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("cli", "runtimes", "scheduler_sim", "templates")
LONGEST_FILE = 500
LONGEST_FUNCTION = 50
MOST_PARAMETERS = 5

Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    """Every module of ours, parsed, by its path in the repository."""
    paths = sorted(path for root in ROOTS for path in (REPOSITORY / root).rglob("*.py"))
    assert len(paths) > 30
    return {str(path.relative_to(REPOSITORY)): ast.parse(path.read_bytes()) for path in paths}


def _functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _lines(function: Function) -> int:
    """Count from ``def`` to the end, without the docstring."""
    first = function.body[0]
    start, end = function.lineno, function.end_lineno or 0
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return end - start + 1 - docstring


def _doors(tree: ast.Module) -> Iterator[list[str]]:
    """Yield what is assigned to ``__all__``."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            yield list(ast.literal_eval(node.value))


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2), name


def test_a_module_says_what_it_promises(modules: dict[str, ast.Module]) -> None:
    assert [path for path, tree in modules.items() if not (ast.get_docstring(tree) or "").strip()] == []


def test_a_module_has_one_sorted_door(modules: dict[str, ast.Module]) -> None:
    wrong = {}
    for path, tree in modules.items():
        doors = list(_doors(tree))
        if not path.endswith("__main__.py") and doors != [sorted(next(iter(doors), []), key=_as_ruff_sorts)]:
            wrong[path] = doors
    assert wrong == {}


def test_files_are_small(modules: dict[str, ast.Module]) -> None:
    lengths = {path: len((REPOSITORY / path).read_text().splitlines()) for path in modules}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_are_small(modules: dict[str, ast.Module]) -> None:
    lengths = {(path, f.name): _lines(f) for path, tree in modules.items() for f in _functions(tree)}
    assert {where: length for where, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_functions_take_few_parameters(modules: dict[str, ast.Module]) -> None:
    """More than five positional parameters: a value is missing. A click command's are its options."""
    many = {}
    for path, tree in modules.items():
        for function in _functions(tree):
            by_click = any(word in ast.unparse(d) for d in function.decorator_list for word in ("option", "command"))
            names = [a.arg for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in ("self", "cls")]
            if len(names) > MOST_PARAMETERS and not by_click:
                many[path, function.name] = names
    assert many == {}
