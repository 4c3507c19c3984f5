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
    "interpod_score",
    "least_allocated",
    "most_allocated",
    "nodes_to_find",
    "normalised",
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
    config: Any = _config
    before = config.CACHE_DIR
    config.CACHE_DIR = _FOLDER
    try:
        done: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = before
    typed: F = done
    return typed


def _rule(function: Callable[..., Any], **calls: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a rule; ``calls`` are the compiled forms of rules that it calls."""
    assert isinstance(function, FunctionType)
    linked = FunctionType(function.__code__, {**function.__globals__, **calls}, function.__name__)
    linked.__module__, linked.__qualname__ = function.__module__, function.__qualname__
    return compiled(linked)


nodes_to_find: Any = _rule(kube_scores.nodes_to_find)
least_allocated: Any = _rule(kube_scores.least_allocated)
most_allocated: Any = _rule(kube_scores.most_allocated)
ratio_score: Any = _rule(kube_scores.ratio_score)
rounded_half_up: Any = _rule(kube_scores.rounded_half_up)
balanced2: Any = _rule(kube_scores.balanced2, balance=_rule(kube_scores.balance))
balanced_many: Any = _rule(kube_scores.balanced_many, balanced2=balanced2)
normalised: Any = _rule(kube_scores.normalised)
reversed_normalised: Any = _rule(kube_scores.reversed_normalised)
spread_weight: Any = _rule(kube_scores.spread_weight)
spread_raw: Any = _rule(kube_scores.spread_raw)
spread_score: Any = _rule(kube_scores.spread_score)
interpod_score: Any = _rule(kube_scores.interpod_score)
