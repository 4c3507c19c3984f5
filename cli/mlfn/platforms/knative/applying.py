"""Write a Service only over the specification that the change was made from. Two deploys at once have one winner.

The API compares resource versions, and these also count every note that Knative makes in the status. So a refusal is
tried again for as long as the generation, which counts changes of the specification alone, has not moved.
"""

from __future__ import annotations

from mlfn.errors import Conflict
from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE, Object

__all__ = ["apply_over"]

_TRIES = 20


def apply_over(door: ClusterDoor, thing: Object, base: Object | None, *, force: bool = False) -> Object:
    """Apply ``thing``, made from ``base`` (None: it must not exist). Raises Conflict when somebody else was faster."""
    name = thing["metadata"]["name"]
    for _ in range(_TRIES):
        try:
            return door.apply(thing, force=force)
        except Conflict:
            live = door.get(KNATIVE_SERVICE, name)
            used = thing["metadata"]["resourceVersion"]
            if live is not None and live["metadata"]["resourceVersion"] == used:
                raise  # a field belongs to another tool
            if base is None or live is None or _generation(live) != _generation(base):
                raise Conflict(
                    f"somebody else changed {name} at the same moment: nothing of this change was made",
                    hints=(f"see what it is now: mlfn describe {name}", "try again to replace it"),
                ) from None
            thing = {**thing, "metadata": {**thing["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}
    raise Conflict(f"{name} changes all the time: {_TRIES} tries to change it came too late", hints=("try again",))


def _generation(thing: Object) -> tuple[str, int]:
    metadata = thing["metadata"]
    return metadata["uid"], metadata["generation"]
