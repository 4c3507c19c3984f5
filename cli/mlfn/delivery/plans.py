"""What a deploy would change on a cluster, object by object, as the cluster itself answers. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mlfn.delivery.deploy import Order, prepare
from mlfn.delivery.manifest import with_manifests
from mlfn.platforms import Planned, Platform, Progress

__all__ = ["Difference", "Plan", "differences", "plan"]

_KEPT_BY_SERVER = frozenset(
    ("creationTimestamp", "generation", "managedFields", "namespace", "resourceVersion", "selfLink", "uid")
)
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Difference:
    """Tell one value that would be another."""

    path: str
    before: Any
    """None where there was none."""
    after: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """Tell what would become of one object."""

    kind: str
    name: str
    action: str
    """``made``, ``changed``, ``deleted``, or ``left`` as it is."""
    differences: tuple[Difference, ...]

    @property
    def summary(self) -> str:
        """Return the first differences in a line."""
        if self.action in ("made", "deleted"):
            return "all"
        shown = ", ".join(each.path for each in self.differences[:_SHOWN])
        more = len(self.differences) - _SHOWN
        return f"{shown}, {more} more" if more > 0 else shown or "none"

    def as_json(self) -> dict[str, Any]:
        """Return the plan for ``-o json``."""
        return asdict(self)


def plan(platform: Platform, order: Order, *, progress: Progress) -> tuple[Plan, ...]:
    """Ask the cluster what deploying ``order`` would change. Raises what it would refuse."""
    manifests = with_manifests(platform)
    request, _, _ = prepare(platform, order, progress=progress, foresee=True)
    progress("asking the cluster")
    return tuple(map(_plan, manifests.dry_run(request)))


def differences(planned: Planned) -> tuple[Difference, ...]:
    """Return what would be different in an object, server's bookkeeping and status aside."""
    return tuple(_compare("", _asked(planned.before or {}), _asked(planned.after or {})))


def _plan(planned: Planned) -> Plan:
    found = differences(planned)
    thing = planned.after or planned.before or {}
    changed = "deleted" if planned.after is None else "changed" if found else "left"
    return Plan(thing["kind"], thing["metadata"]["name"], "made" if planned.before is None else changed, found)


def _asked(thing: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in thing.get("metadata", {}).items() if key not in _KEPT_BY_SERVER}
    return {"metadata": metadata, "spec": thing.get("spec", {})}


def _compare(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _compare(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from _compare(f"{path}[{number}]", *pair)
    elif before != after:
        yield Difference(path, before, after)
