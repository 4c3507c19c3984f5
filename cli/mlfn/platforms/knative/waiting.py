"""Wait for a revision and for its traffic by watching all that a deploy makes, and fail at once on a certain cause.

Conditions count only where they speak of the generation that was written. A generation that somebody else made ends the
wait: two deploys at once have one winner, and the other is told. Decides nothing about what to undo.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mlfn.errors import Conflict, MlfnError, TimedOut
from mlfn.platforms import Progress
from mlfn.platforms.knative.revisions import REVISION_LABEL, is_ready, settled
from mlfn.platforms.knative.scene import own, scene, service_in
from mlfn.platforms.kube.door import ClusterDoor, Selection, Sight
from mlfn.platforms.kube.failing import Diagnose, fail_on_cause, stage_of, timed_out
from mlfn.platforms.kube.instances import condition
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE, POD, REVISION, Object

__all__ = ["Awaited", "wait_for_revision", "wait_for_traffic", "wait_until_seen"]


@dataclass(frozen=True, slots=True)
class Awaited:
    """Say what is waited for."""

    name: str
    revision: str
    generation: int
    """The generation of the Service that this deploy wrote."""
    timeout_s: float


def wait_for_revision(door: ClusterDoor, awaited: Awaited, diagnose: Diagnose, progress: Progress) -> Sight:
    """Return when the revision is ready. Raises DeployFailed with the cause, TimedOut, Conflict."""
    told = ""
    for sight in _sights(door, awaited):
        revision = _revision(sight, awaited)
        if revision is not None and is_ready(revision):
            return sight
        stage = _stage(sight, awaited)
        if stage != told:
            told = stage
            progress(stage)
        fail_on_cause(diagnose, sight, awaited.revision)
        last = sight
    raise _timed_out(last, awaited, diagnose)


def wait_for_traffic(door: ClusterDoor, awaited: Awaited, diagnose: Diagnose) -> Sight:
    """Return when all requests go to the revision. Raises DeployFailed with the cause, TimedOut, Conflict."""
    for sight in _sights(door, awaited):
        if settled(_service(sight, awaited), awaited.revision):
            return sight
        fail_on_cause(diagnose, sight, awaited.revision)
        last = sight
    raise _timed_out(last, awaited, diagnose)


def wait_until_seen(door: ClusterDoor, stored: Object, *, timeout_s: float) -> bool:
    """Wait until Knative says that a Service is as it was written, and ready; False when it does not."""
    name, generation = stored["metadata"]["name"], stored["metadata"]["generation"]
    for sight in door.watch(Selection(KNATIVE_SERVICE, fields=f"metadata.name={name}"), timeout_s=timeout_s):
        if any(each["metadata"]["generation"] == generation and is_ready(each) for each in sight.objects):
            return True
        if not sight.objects or any(each["metadata"]["generation"] > generation for each in sight.objects):
            return False
    return False


def _sights(door: ClusterDoor, awaited: Awaited) -> Iterator[Sight]:
    """Yield what is seen once the write is seen, and at least once."""
    seen = False
    for sight in door.watch(*scene(awaited.name), timeout_s=awaited.timeout_s):
        service = _service(sight, awaited)
        generation = service["metadata"]["generation"]
        if generation > awaited.generation:
            raise _overtaken(awaited, service)
        # A watch may begin with a state that is older than the write.
        if generation == awaited.generation:
            seen = True
            yield replace(sight, objects=own(sight.objects, service))
    if not seen:
        raise TimedOut(
            f"the change of {awaited.name} was not seen within {awaited.timeout_s:.0f} s",
            hints=("give --wait-timeout more",),
        )


def _service(sight: Sight, awaited: Awaited) -> Object:
    found = service_in(sight.objects, awaited.name)
    if found is None or "deletionTimestamp" in found["metadata"]:
        raise Conflict(
            f"{awaited.name} was deleted while it was being deployed", hints=("deploy it again if that was not meant",)
        )
    return found


def _revision(sight: Sight, awaited: Awaited) -> Object | None:
    named = (each for each in sight.objects if each["metadata"]["name"] == awaited.revision)
    return next((each for each in named if each["kind"] == REVISION.kind), None)


def _overtaken(awaited: Awaited, service: Object) -> MlfnError:
    now = service["spec"]["template"].get("metadata", {}).get("name", "another revision")
    return Conflict(
        f"somebody else changed {awaited.name} while {awaited.revision} was being deployed: it is now to become {now}",
        hints=(f"see what it is: mlfn describe {awaited.name}", "deploy again to replace it"),
    )


def _timed_out(sight: Sight, awaited: Awaited, diagnose: Diagnose) -> MlfnError:
    _, findings = diagnose(sight, awaited.revision)
    return timed_out(
        f"{awaited.revision} was not ready within {awaited.timeout_s:.0f} s: {_pending(sight, awaited)}", findings
    )


def _pending(sight: Sight, awaited: Awaited) -> str:
    """Say what was still awaited, from the innermost to the outermost."""
    revision = _revision(sight, awaited)
    if revision is None:
        return "Knative had not made the revision"
    if not is_ready(revision):
        return f"{_stage(sight, awaited)}{_reason(revision, 'Ready')}"
    return f"its route was not ready{_reason(_service(sight, awaited), 'RoutesReady')}"


def _reason(thing: Object, kind: str) -> str:
    told = condition(thing, kind)
    reason = " ".join(part for part in (told.get("reason", ""), told.get("message", "")) if part)
    return f" ({reason})" if reason else ""


def _stage(sight: Sight, awaited: Awaited) -> str:
    pods = [
        each
        for each in sight.objects
        if each["kind"] == POD.kind and each["metadata"].get("labels", {}).get(REVISION_LABEL) == awaited.revision
    ]
    if not pods and _revision(sight, awaited) is None:
        return "waiting for Knative"
    return stage_of(pods)
