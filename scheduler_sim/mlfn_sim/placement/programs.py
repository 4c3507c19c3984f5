"""Turn a policy into a program: its functions bound into the kernel, as they stand or compiled by Numba.

Compiled code is kept beside the kernel (or in Numba's user cache) under a fingerprint of every function that the policy
uses, so that a changed policy is compiled again and an unchanged one starts at once, in every process.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlfn_policies.place import Policy
from mlfn_sim.placement import kernel

__all__ = ["Program", "fingerprint", "program"]

_PROGRAMS: dict[tuple[str, bool], Program] = {}


@dataclass(frozen=True, slots=True)
class Program:
    """Run events through a policy."""

    run: Callable[[kernel.Shapes, kernel.Events, kernel.Nodes, kernel.Known, kernel.Outcome], None]
    compiled: bool
    fallback: str = ""
    """Why it is not compiled though that was asked for."""


def program(policy: Policy, *, fast: bool = True) -> Program:
    """Return the program of a policy; where Numba is missing or cannot compile it, as it stands, with the reason."""
    bound = _bound(policy)
    key = (_fingerprint(bound), fast)
    if key not in _PROGRAMS:
        _PROGRAMS[key] = _compiled(bound, key[0]) if fast else Program(_rebound(bound, "plain", None), compiled=False)
    return _PROGRAMS[key]


def fingerprint(policy: Policy) -> str:
    """Return a digest of all code that a policy and the kernel around it reach."""
    return _fingerprint(_bound(policy))


def _bound(policy: Policy) -> dict[str, types.FunctionType]:
    """Return the kernel's names that the policy gives a meaning, with the defaults."""
    asked = {
        "feasible": policy.feasible,
        "score": policy.score,
        "choose": policy.choose or kernel.choose,
        "device": policy.device or kernel.device,
    }
    return {name: _plain(name, function) for name, function in asked.items()}


def _plain(name: str, function: object) -> types.FunctionType:
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{name} is {function!r}; expected a plain function")
    return function


def _used(function: types.FunctionType) -> dict[str, Any]:
    """Return the globals that a function, and the functions written inside it, name."""
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes.extend(each for each in code.co_consts if isinstance(each, types.CodeType))
    return {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}


def _fingerprint(bound: dict[str, types.FunctionType]) -> str:
    """Return a digest of the code and constants of all functions that the bound ones reach."""
    digest, known = hashlib.blake2b(digest_size=8), set[types.FunctionType]()
    waiting = [bound[name] for name in sorted(bound)] + [_plain("run", kernel.run)]
    while waiting:
        function = waiting.pop()
        if function in known:
            continue
        known.add(function)
        code = function.__code__
        constants = [each for each in code.co_consts if not isinstance(each, types.CodeType)]
        closure = [cell.cell_contents for cell in function.__closure__ or ()]
        digest.update(repr((code.co_code, code.co_names, constants, closure)).encode())
        for name, value in _used(function).items():
            if isinstance(value, types.FunctionType):
                waiting.append(bound.get(name, value) if function.__module__ == kernel.__name__ else value)
            elif isinstance(value, int | float | str | tuple):
                digest.update(repr((name, value)).encode())
    return digest.hexdigest()


def _rebound(bound: dict[str, types.FunctionType], mark: str, wrap: Callable[[Any], Any] | None) -> Any:
    """Return the kernel's ``run`` with the policy's functions in it; with ``wrap``, applied to every function below."""

    done: dict[types.FunctionType, Any] = {}

    def rebuilt(function: types.FunctionType) -> Any:
        if function in done:
            return done[function]
        own = dict(function.__globals__)
        inside = function.__module__ == kernel.__name__
        for name, value in _used(function).items():
            if isinstance(value, types.FunctionType):
                value = bound.get(name, value) if inside else value
                own[name] = rebuilt(value)
        fresh = types.FunctionType(
            function.__code__, own, function.__name__, function.__defaults__, function.__closure__
        )
        fresh.__kwdefaults__ = function.__kwdefaults__
        # Symbols of compiled code carry this name: two programs that come from the cache must not share any.
        fresh.__qualname__, fresh.__module__ = f"{function.__qualname__}_{mark}", function.__module__
        done[function] = fresh if wrap is None or function is kernel.run else wrap(fresh)
        return done[function]

    return rebuilt(_plain("run", kernel.run))


def _compiled(bound: dict[str, types.FunctionType], mark: str) -> Program:
    plain = Program(_rebound(bound, "plain", None), compiled=False)
    try:
        import numba
    except ImportError:
        return Program(plain.run, compiled=False, fallback="numba is not installed: pip install 'mlfn[sim]'")
    inner = _rebound(bound, mark, numba.njit(error_model="numpy"))
    fast = numba.njit(cache=True, error_model="numpy")(inner)
    try:
        from mlfn_sim.placement.cluster import smallest

        fast(*smallest())
    except numba.core.errors.NumbaError as error:
        return Program(plain.run, compiled=False, fallback=_reason(error))
    return Program(fast, compiled=True)


def _reason(error: Exception) -> str:
    """Return the last line of Numba's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("File ", "During", "^", "<source", "This error"))]
    return told[-1] if told else type(error).__name__
