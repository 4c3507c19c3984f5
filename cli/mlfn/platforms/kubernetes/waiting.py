"""Wait until all instances are of the template that was written, by watching; fail at once on a certain cause.

A template that somebody else wrote ends the wait: two deploys at once have one winner, and the other is told. Decides
nothing about what to undo.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlfn.errors import Conflict, TimedOut
from mlfn.platforms import Progress
from mlfn.platforms.kube.door import ClusterDoor, Selection, Sight
from mlfn.platforms.kube.failing import Diagnose, fail_on_cause, stage_of, timed_out
from mlfn.platforms.kube.instances import condition
from mlfn.platforms.kube.kinds import DEPLOYMENT, EVENT, POD, REPLICA_SET, Object
from mlfn.platforms.kubernetes.manifests import selector
from mlfn.platforms.kubernetes.revisions import current, is_rolled_out, pods_of, sets_of

__all__ = ["overtaken", "scene", "wait_until_made", "wait_until_ready"]

_MADE_S = 30.0


@dataclass(frozen=True, slots=True)
class _Glance:
    """Hold what is seen of a rollout at one moment."""

    sight: Sight
    deployment: Object
    now: Object | None
    """The ReplicaSet of the template that was written."""

    @property
    def pods(self) -> Sequence[Object]:
        return pods_of(self.now, self.sight.objects) if self.now is not None else ()


def scene(name: str) -> tuple[Selection, ...]:
    """Return what tells how a function does; what is not needed is left out where rights are missing."""
    return (
        Selection(DEPLOYMENT, fields=f"metadata.name={name}"),
        Selection(REPLICA_SET, selector(name)),
        Selection(POD, selector(name), needed=False),
        Selection(EVENT, needed=False),
    )


def wait_until_made(door: ClusterDoor, written: Object) -> str:
    """Return the name of the revision as soon as the cluster has made it."""
    for glance in _glances(door, written, _MADE_S):
        if glance.now is not None:
            return str(glance.now["metadata"]["name"])
    raise TimedOut(
        f"the cluster made no revision of {written['metadata']['name']} within {_MADE_S:g} s",
        hints=("does its controller manager run? kubectl get --raw /readyz?verbose",),
    )


def wait_until_ready(
    door: ClusterDoor, written: Object, timeout_s: float, diagnose: Diagnose, progress: Progress
) -> str:
    """Return the name of the revision when it serves. Raises DeployFailed with the cause, TimedOut, Conflict."""
    last = None
    told = ""
    for glance in _glances(door, written, timeout_s):
        if glance.now is None:
            continue
        name = str(glance.now["metadata"]["name"])
        if is_rolled_out(glance.deployment):
            return name
        stage = stage_of(glance.pods)
        if stage != told:
            told = stage
            progress(stage)
        fail_on_cause(diagnose, glance.sight, name)
        last = glance
    if last is None or last.now is None:
        raise TimedOut(f"the change of {written['metadata']['name']} was not seen within {timeout_s:g} s")
    name = str(last.now["metadata"]["name"])
    what = f"{name} was not ready within {timeout_s:g} s: {_progress_of(last) or told}"
    raise timed_out(what, diagnose(last.sight, name)[1])


def _glances(door: ClusterDoor, written: Object, timeout_s: float) -> Iterator[_Glance]:
    """Yield what is seen from the moment that the write is seen."""
    name = written["metadata"]["name"]
    for sight in door.watch(*scene(name), timeout_s=timeout_s):
        found = [each for each in sight.objects if each["kind"] == DEPLOYMENT.kind]
        if not found or "deletionTimestamp" in found[0]["metadata"]:
            raise Conflict(
                f"{name} was deleted while it was being deployed", hints=("deploy it again if that was not meant",)
            )
        deployment = found[0]
        if deployment["metadata"]["generation"] < written["metadata"]["generation"]:
            continue  # a watch may begin with a state that is older than the write
        if deployment["spec"]["template"] != written["spec"]["template"]:
            raise overtaken(name)
        yield _Glance(sight, deployment, current(deployment, sets_of(deployment, sight.objects)))


def overtaken(name: str) -> Conflict:
    """Return what the loser of two deploys is told."""
    return Conflict(
        f"somebody else changed {name} while it was being deployed",
        hints=(f"see what it is: mlfn describe {name}", "deploy again to replace it"),
    )


def _progress_of(glance: _Glance) -> str:
    return str(condition(glance.deployment, "Progressing").get("message", ""))
