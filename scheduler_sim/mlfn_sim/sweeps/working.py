"""Do the work of one task: what runs in a worker, wherever that is."""

from __future__ import annotations

import json
import pickle
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from mlfn_sim.sweeps.values import Call, Done, Raised

__all__ = ["named", "perform", "resolve"]

_Work = Callable[[Any], Any]


def named(work: str | _Work) -> str:
    """Return the ``module:name`` under which a worker finds a function. Raises ValueError where it cannot."""
    if isinstance(work, str):
        return work
    name = f"{work.__module__}:{work.__qualname__}"
    if work.__module__ == "__main__" or "<" in work.__qualname__:
        raise ValueError(f"work is {name}; expected a function at the top of a module that can be imported")
    return name


def resolve(name: str) -> _Work:
    """Return the function of a ``module:name``."""
    module, _, function = name.partition(":")
    found: _Work = getattr(import_module(module), function)
    return found


def perform(call: Call) -> Done | Raised:
    """Do one task's work. Never raises but when the process is asked to end."""
    known = set(sys.path)
    sys.path.extend(place for place in call.path if place not in known)
    try:
        return Done(json.dumps(resolve(call.work)(pickle.loads(call.task)), allow_nan=False))  # noqa: S301  # the first process's
    except Exception as error:  # noqa: BLE001  # the supervisor of somebody's work: the first process raises it again
        return Raised(_portable(error), traceback.format_exc())


def _portable(error: Exception) -> Exception:
    """Return the error if it survives the way to another process, else its words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    except Exception:  # noqa: BLE001  # a class of somebody's, which may refuse in any way
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
