"""Deploy a model: read it, refuse what cannot be served, hand it to the platform."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from mlfn.errors import InvalidInput
from mlfn.function import Deployed, FunctionSpec, ModelPackage, Severity
from mlfn.models import open_model
from mlfn.platforms import Platform, Progress

__all__ = ["deploy", "read_model"]


def deploy(platform: Platform, spec: FunctionSpec, model: Path, *, wait: bool, progress: Progress) -> Deployed:
    """Make ``model`` serve as ``spec.name`` on ``platform``.

    Raises InvalidInput before the platform is touched when the model cannot be served, and what the platform raises.
    """
    started = time.perf_counter()
    progress("reading the model")
    package = read_model(model)
    read_s = time.perf_counter() - started
    deployed = platform.deploy(spec, package, wait=wait, progress=progress)
    return replace(deployed, seconds={"inspect": read_s, **deployed.seconds, "total": time.perf_counter() - started})


def read_model(model: Path) -> ModelPackage:
    """Open a model and refuse it, with everything that is wrong, when it cannot be served."""
    package = open_model(model)
    errors = [finding for finding in package.findings if finding.severity is Severity.ERROR]
    if not errors:
        return package
    hints = tuple(each.fix for each in errors if each.fix)
    if len(errors) == 1:
        raise InvalidInput(f"{model} cannot be served: {errors[0].message}", hints=hints)
    raise InvalidInput(
        f"{model} cannot be served, for {len(errors)} reasons",
        details="\n".join(each.message for each in errors),
        hints=hints,
    )
