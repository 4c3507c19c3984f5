"""The rules of the policies, compiled: the very functions that the reference engine calls.

Compiled code is cached in a folder whose name tells the sources' digest, so that a changed rule is compiled again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import numba
from numba.core import config as _config

from mlfn_policies import kube_scores

__all__ = [
    "balanced2",
    "balanced_many",
    "cache_folder",
    "compiled",
    "inlined",
    "inner",
    "interpod_score",
    "least_allocated",
    "most_allocated",
    "nodes_to_find",
    "normalised",
    "percent",
    "ratio_score",
    "reversed_normalised",
    "rounded_half_up",
    "spread_raw",
    "spread_score",
    "spread_weight",
]

F = TypeVar("F", bound=Callable[..., Any])
_SOURCES = (Path(kube_scores.__file__), *sorted(Path(__file__).parent.glob("*.py")))


def cache_folder() -> Path:
    """Return where compiled code of exactly these sources is kept."""
    digest = hashlib.blake2b(digest_size=8)
    for path in _SOURCES:
        if path.name in _COMPILED:
            digest.update(path.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "mlfn" / "compiled" / digest.hexdigest()


_COMPILED = ("kube_scores.py", "compiled.py", "packing.py", "scanning.py", "scoring.py", "lanes.py", "loop.py")
_FOLDER = str(cache_folder())


def compiled(function: F) -> F:
    """Compile a function when it is first called."""
    return _compiled(function)


def inner(function: F) -> F:
    """Do the same for a function that only compiled ones call: no time is spent on a way in from Python."""
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: F) -> F:
    """Do the same and copy it to where it is called: a call that hands tuples of arrays on costs 0.3 us."""
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


def _compiled(function: F, **options: bool) -> F:
    config: Any = _config
    before = config.CACHE_DIR
    config.CACHE_DIR = _FOLDER
    try:
        njit: Any = numba.njit
        done: Any = njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    finally:
        config.CACHE_DIR = before
    typed: F = done
    return typed


def _rule(function: Callable[..., Any], **calls: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a rule; ``calls`` are the compiled forms of rules that it calls."""
    assert isinstance(function, FunctionType)
    linked = FunctionType(function.__code__, {**function.__globals__, **calls}, function.__name__)
    # Numba keeps compiled code by name and line: a rule linked to others is another one.
    mark = "".join(f"_{name}" for name in sorted(calls))
    linked.__module__, linked.__qualname__ = function.__module__, function.__qualname__ + mark
    return compiled(linked)


_EXACT = 1 << 46


@compiled
def percent(part: int, whole: int) -> int:
    """Return what the rule of this name does, by a division of floats where that is exact: it takes a quarter.

    Below 2**46, part * 100 is a float exactly, and the next whole number is further from a quotient of up to 100 than
    rounding can carry it.
    """
    if whole < _EXACT:
        return int(part * 100 / whole)
    return part * 100 // whole


nodes_to_find: Any = _rule(kube_scores.nodes_to_find)
least_allocated: Any = _rule(kube_scores.least_allocated, percent=percent)
most_allocated: Any = _rule(kube_scores.most_allocated, percent=percent)
ratio_score: Any = _rule(kube_scores.ratio_score, percent=percent)
rounded_half_up: Any = _rule(kube_scores.rounded_half_up)
balanced2: Any = _rule(kube_scores.balanced2, balance=_rule(kube_scores.balance))
balanced_many: Any = _rule(kube_scores.balanced_many, balanced2=balanced2)
normalised: Any = _rule(kube_scores.normalised)
reversed_normalised: Any = _rule(kube_scores.reversed_normalised)
spread_weight: Any = _rule(kube_scores.spread_weight)
spread_raw: Any = _rule(kube_scores.spread_raw)
spread_score: Any = _rule(kube_scores.spread_score)
interpod_score: Any = _rule(kube_scores.interpod_score)
