"""Find a placement policy by name: the built-in ones, and anyone's as ``module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
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
    if ":" not in where and "." not in where and not _importable(where):
        raise UnknownPolicy(f"policy is {name!r}; expected one of {', '.join(BUILT_IN)}, or module:name")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UnknownPolicy(
            f"policy {name}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, attribute, None) if attribute else module
    if found is None:
        raise UnknownPolicy(f"policy {name}: {module_name} has no {attribute!r}; expected a policy of that name")
    return _policy(name, module, found)


def _importable(module: str) -> bool:
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


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
            raise UnknownPolicy(f"policy {name}: {part} is {function!r}; expected a plain function")
    return policy


def _gathered(home: object) -> Policy:
    return Policy(
        getattr(home, "feasible", fits),
        getattr(home, "score", None),  # type: ignore[arg-type]  # refused by the caller
        getattr(home, "choose", None),
        getattr(home, "device", None),
    )
