"""What `mlfn deploy` and `mlfn manifest` share: the options that say what to deploy, and the order they make."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mlfn.command.options import IMAGE, PLATFORM
from mlfn.errors import InvalidInput
from mlfn.function import FunctionSpec
from mlfn.settings import FIELDS, Resolved
from mlfn.settings.values import name_of_model

if TYPE_CHECKING:
    from mlfn.delivery.deploy import Order

__all__ = ["ORDER", "order_of"]

_FUNCTION = tuple(key for key, field in FIELDS.items() if field.section == "function" and field.attribute != "model")
ORDER = (*_FUNCTION, *IMAGE, *PLATFORM)
"""The settings that say what is deployed, and where."""


def order_of(resolved: Resolved, model: Path | None, command: str) -> Order:
    """Return the order for ``model``, else for the one that mlfn.yaml names. Raises InvalidInput when there is none."""
    from mlfn.delivery.deploy import Order

    settings = resolved.settings
    file = model or (Path(settings.function.model) if settings.function.model else None)
    if file is None:
        raise InvalidInput(
            "no model given: MODEL is missing and no mlfn.yaml names one (function.model)",
            hints=(f"mlfn {command} path/to/model.onnx",),
        )
    return Order(
        model=file,
        spec=_spec(resolved, file),
        image=settings.image,
        wait_timeout_s=settings.cluster.wait_timeout_s,
    )


def _spec(resolved: Resolved, model: Path) -> FunctionSpec:
    asked = asdict(resolved.settings.function)
    del asked["model"]
    asked["utilization"] /= 100
    asked["name"] = asked["name"] or name_of_model(model)
    return FunctionSpec(**asked)
