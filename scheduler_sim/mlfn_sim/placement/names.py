"""Find a placement policy by name: the built-in ones, and anyone's as ``module:name``."""

from __future__ import annotations

import importlib
import traceback
import types
from collections.abc import Mapping

from mlfn_policies.place import Policy, fits
from mlfn_sim.errors import UnknownPolicy

__all__ = ["BUILT_IN", "policy_named"]

BUILT_IN: Mapping[str, str] = {
    "kube-default": "mlfn_policies.place_kube:default",
    "most-allocated": "mlfn_policies.place_kube:most",
    "requested-to-capacity": "mlfn_policies.place_kube:ratio",
    "random": "mlfn_policies.place_fit:random",
    "round-robin": "mlfn_policies.place_fit:round_robin",
    "least-loaded": "mlfn_policies.place_fit:least_loaded",
    "power-of-d": "mlfn_policies.place_fit:power_of_d",
    "first-fit": "mlfn_policies.place_fit:first_fit",
    "best-fit": "mlfn_policies.place_fit:best_fit",
    "worst-fit": "mlfn_policies.place_fit:worst_fit",
    "dot-product": "mlfn_policies.place_fit:dot_product",
    "gpu-clustering": "mlfn_policies.place_gpu:gpu_clustering",
    "gpu-packing": "mlfn_policies.place_gpu:gpu_packing",
    "fgd": "mlfn_policies.place_gpu:least_fragmenting",
    "skippy": "mlfn_policies.place_skippy:skippy",
    "openwhisk": "mlfn_policies.place_openwhisk:hashing",
}
"""Name -> where it is."""


def policy_named(name: str) -> Policy:
    """Return a policy: a built-in one, or of a module that Python can import.

    After the colon: a :class:`~mlfn_policies.place.Policy`, a class with the functions in it, or a score function of a
    module that may have ``feasible``, ``choose`` and ``device``. Without a colon: a module with ``score``, and those.
    """
    where = BUILT_IN.get(name, name)
    module_name, _, attribute = where.partition(":")
    module = _imported(name, module_name)
    found = getattr(module, attribute, None) if attribute else module
    if found is None:
        there = sorted(each for each, value in vars(module).items() if isinstance(value, Policy | types.FunctionType))
        raise UnknownPolicy(
            f"policy {name}: {module.__name__} has no {attribute!r}; expected a policy", attribute, there
        )
    return _policy(name, module, found)


def _imported(name: str, module_name: str) -> types.ModuleType:
    """Return a policy's module; when that fails, tell what was missing or raised, and where."""
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not module_name or module_name == missing or module_name.startswith(f"{missing}."):
            expected = f"expected one of {', '.join(BUILT_IN)}, or module:name of a module here or installed"
            raise UnknownPolicy(f"policy is {name!r}; {expected}", name, BUILT_IN) from error
        raise UnknownPolicy(f"policy {name}: {module_name} imports {missing}, which is not there") from error
    except SyntaxError as error:
        raise UnknownPolicy(f"policy {name}: {error.filename}:{error.lineno}: is not Python: {error.msg}") from error
    except Exception as error:  # somebody's module, which may raise anything: it is told with its place
        last = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {error}"
        raise UnknownPolicy(f"policy {name}: {last.filename}:{last.lineno}: importing failed: {told}") from error


def _policy(name: str, module: types.ModuleType, found: object) -> Policy:
    if isinstance(found, Policy):
        policy = found
    elif isinstance(found, types.FunctionType):
        policy = _gathered(module)._replace(score=found)
    else:
        policy = _gathered(found)
    for part, function in policy._asdict().items():
        if function is None and part in ("choose", "device"):
            continue
        if not isinstance(function, types.FunctionType):
            raise UnknownPolicy(f"policy {name}: {part} is {_told(function)}; expected a plain function")
    return policy


def _told(found: object) -> str:
    return "not defined" if found is None else repr(found)


def _gathered(home: object) -> Policy:
    return Policy(
        getattr(home, "feasible", fits),
        getattr(home, "score", None),  # type: ignore[arg-type]  # refused by the caller
        getattr(home, "choose", None),
        getattr(home, "device", None),
    )
