"""Take a deploy back: what served before is wanted again, under its own name, and nothing of the new revision stays.

Whatever somebody else has written meanwhile is left alone. Called by the deploy, after a failure or an interrupt.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mlfn.errors import Conflict, NotFound
from mlfn.platforms.knative.applying import apply_over
from mlfn.platforms.knative.objects import as_applied
from mlfn.platforms.knative.revisions import is_used, template_name
from mlfn.platforms.knative.routing import remove_service
from mlfn.platforms.knative.waiting import wait_until_seen
from mlfn.platforms.kube.door import ClusterDoor, Selection
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE, REVISION, Object

__all__ = ["Change", "take_back"]

_RESTORED_S = 10.0
"""How long Knative may take to say that a Service is again what it was; it serves meanwhile."""


@dataclass(slots=True)
class Change:
    """Hold what a deploy changes, noted before it does, so that an interrupt at any moment can be taken back."""

    name: str
    revision: str
    before: Object | None
    """The Service as it was; None for a first deploy."""
    generations: set[int] = field(default_factory=set)
    """Of the Service, as this deploy makes them."""

    def is_ours(self, live: Object | None) -> bool:
        """Say whether a Service is as this deploy wrote it."""
        return live is not None and live["metadata"]["generation"] in self.generations


def take_back(door: ClusterDoor, change: Change) -> None:
    """Put back what was. Raises what the cluster refuses."""
    live = door.get(KNATIVE_SERVICE, change.name)
    if live is None:
        return
    try:
        if not change.is_ours(live):
            _drop(door, change, _passed_over(door, change, live))
        elif change.before is None:
            remove_service(door, change.name, live["metadata"]["uid"])
        else:
            _restore(door, change, change.before, live)
    except (Conflict, NotFound):
        return  # somebody else was faster, and it is theirs now


def _restore(door: ClusterDoor, change: Change, before: Object, live: Object) -> None:
    restored = as_applied(before)
    restored["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
    stored = apply_over(door, restored, live, force=True)
    # Before Knative has seen what is wanted now, it would make the revision again.
    if wait_until_seen(door, stored, timeout_s=_RESTORED_S):
        _drop(door, change, stored)


def _passed_over(door: ClusterDoor, change: Change, live: Object) -> Object:
    """Wait, where somebody else's revision is to follow, until theirs is ready and nothing refers to ours any more.

    Ours may be ready first. Left behind it would be what a rollback finds, and it never was meant to serve.
    """
    if change.revision in {template_name(live), *(each.get("revisionName") for each in live["spec"]["traffic"])}:
        return live
    for sight in door.watch(Selection(KNATIVE_SERVICE, fields=f"metadata.name={change.name}"), timeout_s=_RESTORED_S):
        live = next(iter(sight.objects), live)
        if not sight.objects or not is_used(live, change.revision):
            break
    return live


def _drop(door: ClusterDoor, change: Change, live: Object) -> None:
    """Delete the revision that nobody wants any more."""
    kept = change.before is not None and change.revision == template_name(change.before)
    if not kept and not is_used(live, change.revision):
        door.delete(REVISION, change.revision, foreground=False)
