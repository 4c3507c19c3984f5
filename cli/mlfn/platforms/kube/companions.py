"""Keep objects beside a function: apply those that are wanted, owned by it, and delete those of before.

Used for what pings a function. It knows no kinds but those that may be left over from an earlier deploy, and nothing of
what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlfn.errors import NotAuthorised, NotFound
from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.kinds import CRON_JOB, PING_SOURCE, Kind, Object, kind_of
from mlfn.platforms.kube.labels import FIELD_MANAGER, MANAGED_BY, NAME, function_selector

__all__ = ["COMPANION", "companions_of", "dressed", "tend"]

COMPANION = "mlfn.dev/companion"
"""Label: what an object is to its function."""
_ROLE = "warmer"
_KINDS = (PING_SOURCE, CRON_JOB)


def tend(door: ClusterDoor, owner: Object, wanted: Iterable[Object]) -> None:
    """Make the companions of ``owner`` be the wanted ones. Raises what the cluster refuses of these."""
    name = owner["metadata"]["name"]
    applied = set()
    for thing in wanted:
        door.apply(_owned(dressed(thing, name), owner), force=True)
        applied.add((thing["kind"], thing["metadata"]["name"]))
    for kind in _KINDS:
        for found in companions_of(door, name, kind):
            if (kind.kind, found["metadata"]["name"]) not in applied:
                door.delete(kind, found["metadata"]["name"], foreground=False)


def companions_of(door: ClusterDoor, name: str, kind: Kind) -> tuple[Object, ...]:
    """Return a function's companions of a kind; none where the cluster has no such kind, or hides it from us."""
    try:
        return door.list(kind, f"{function_selector(name)},{COMPANION}={_ROLE}")
    except (NotFound, NotAuthorised):
        return ()


def dressed(thing: Object, name: str) -> Object:
    """Return an object with the labels by which it is found again, its pods with them."""
    labels = {NAME: name, MANAGED_BY: FIELD_MANAGER, COMPANION: _ROLE}
    made = {**thing, "metadata": {**thing["metadata"], "labels": labels}}
    if kind_of(thing) == CRON_JOB:
        spec, job = made["spec"], made["spec"]["jobTemplate"]
        template = {**job["spec"]["template"], "metadata": {"labels": labels}}
        job = {**job, "metadata": {"labels": labels}, "spec": {**job["spec"], "template": template}}
        made["spec"] = {**spec, "jobTemplate": job}
    return made


def _owned(thing: Object, owner: Object) -> Object:
    """Let an object go with its function, however that is deleted."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {**thing, "metadata": {**thing["metadata"], "ownerReferences": [reference]}}
