"""Change a function, all or nothing: the instances before go only as new ones are ready, and a failure leaves no trace.

The Deployment comes first and only if nobody changed it since it was read, so of two deploys at once one is told. A
failure (or Ctrl-C) puts all objects back as they were and deletes the ReplicaSet that failed; a first deploy that fails
deletes what it made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mlfn.errors import Conflict, DeployFailed, TimedOut, Unreachable
from mlfn.platforms import Progress
from mlfn.platforms.kube.door import ClusterDoor, Selection
from mlfn.platforms.kube.failing import Diagnose, taken_back
from mlfn.platforms.kube.kinds import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, REPLICA_SET, Kind, Object, kind_of
from mlfn.platforms.kube.records import is_managed
from mlfn.platforms.kubernetes.changes import differs, locked, restored, with_replicas, without_hash
from mlfn.platforms.kubernetes.manifests import KINDS, PLATFORM, selected, selector
from mlfn.platforms.kubernetes.revisions import current, is_rolled_out, sets_of, told_apart
from mlfn.platforms.kubernetes.waiting import overtaken, wait_until_made, wait_until_ready

__all__ = ["Change", "Changed", "Live", "check_ours", "read_live", "scaled"]

Live = Mapping[Kind, Object | None]
"""A function's objects as they are, by kind; None where there is none."""

_TRIES = 8
_SETTLE_S = 15.0


@dataclass(frozen=True, slots=True)
class Changed:
    """Tell what became of a change."""

    revision: str
    previous: str | None
    changed: bool
    ready: bool
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Change:
    """Carry out one change of a function's objects."""

    door: ClusterDoor
    diagnose: Diagnose
    progress: Progress
    force: bool = False
    fresh: bool = True
    """Make a revision of its own of what has been deployed before; else take the earlier one up again."""
    wait: bool = True
    timeout_s: float = 600.0
    clock: Callable[[], float] = time.monotonic

    def run(self, wanted: Sequence[Object], live: Live) -> Changed:
        """Make ``wanted`` (the Deployment first) of ``live``. Raises Conflict, DeployFailed, TimedOut."""
        started = self.clock()
        previous = self._serving(live)
        self.progress("applying")
        if self.fresh:
            wanted = (self._told_apart(wanted[0], live[DEPLOYMENT]), *wanted[1:])
        written = self._put(lambda at: locked(wanted[0], at), live[DEPLOYMENT], force=self.force)
        try:
            beside = self._apply_beside(wanted[1:], live)
            written = self._scaled(wanted, written)
            changed = beside or differs(live[DEPLOYMENT], written)
            if not changed and is_rolled_out(written) and previous:
                return Changed(previous, previous, changed=False, ready=True, seconds={"total": self._since(started)})
            if not self.wait:
                revision = wait_until_made(self.door, written)
            else:
                left_s = max(1.0, self.timeout_s - self._since(started))
                revision = wait_until_ready(self.door, written, left_s, self.diagnose, self.progress)
        except (DeployFailed, TimedOut, Unreachable) as error:
            serves = f"{previous} serves on" if previous else f"nothing of {_name(written)} stays"
            self.progress("taking it back")
            undo = partial(self._undo, written, live)
            raise taken_back(error, undo, change="what was changed", serves=serves) from error
        except BaseException:
            # A conflict, Ctrl-C, and whatever nobody thought of: what served before serves on.
            self._undo(written, live)
            raise
        seconds = {"start": self._since(started), "total": self._since(started)}
        return Changed(revision, previous, changed=changed, ready=self.wait, seconds=seconds)

    def _since(self, started: float) -> float:
        return self.clock() - started

    def _serving(self, live: Live) -> str | None:
        deployment = live[DEPLOYMENT]
        if deployment is None:
            return None
        sets = sets_of(deployment, self.door.list(REPLICA_SET, selector(_name(deployment))))
        now = current(deployment, sets)
        return str(now["metadata"]["name"]) if now is not None else None

    def _told_apart(self, wanted: Object, live: Object | None) -> Object:
        """Return a Deployment that is a revision of its own, even of what has been deployed before."""
        if live is None:
            return wanted
        return told_apart(wanted, live, sets_of(live, self.door.list(REPLICA_SET, selector(_name(wanted)))))

    def _put(self, make: Callable[[Object | None], Object], live: Object | None, *, force: bool) -> Object:
        """Apply what ``make`` makes of the Deployment as it is, again while only its status or scale changed."""
        for _ in range(_TRIES):
            wanted = make(live)
            try:
                return self.door.apply(wanted, force=force)
            except Conflict as error:
                now = self.door.get(DEPLOYMENT, _name(wanted))
                if now is None or live is None or _template(now) != _template(live):
                    raise overtaken(_name(wanted)) from error
                if now["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]:
                    raise  # somebody else owns a field
                live = now
        raise overtaken(_name(wanted))

    def _apply_beside(self, wanted: Sequence[Object], live: Live) -> bool:
        """Make the other objects so, delete those that are wanted no more, and say whether any changed."""
        changed = False
        for each in wanted:
            changed = differs(live[kind_of(each)], self.door.apply(each, force=self.force)) or changed
        for kind in KINDS[1:]:
            before = live[kind]
            if before is not None and not _holds(wanted, kind):
                changed = self.door.delete(kind, _name(before), foreground=False) or changed
        return changed

    def _scaled(self, wanted: Sequence[Object], written: Object) -> Object:
        """Bring the number of instances to what is wanted, or within the autoscaler's bounds."""
        count = _wanted_count(wanted, written["spec"].get("replicas", 1))
        if count == written["spec"].get("replicas", 1):
            return written
        # Nobody else's field is forced but this one: all others were just applied without.
        return self._put(lambda live: with_replicas(locked(wanted[0], live), count), written, force=True)

    def _undo(self, written: Object, live: Live) -> None:
        """Put back what was, unless somebody else changed it meanwhile: then it is theirs."""
        name, before = _name(written), live[DEPLOYMENT]
        now = self.door.get(DEPLOYMENT, name)
        if now is None or _template(now) != _template(written):
            return
        if before is None:
            for kind in KINDS:
                if live[kind] is None:
                    self.door.delete(kind, name, foreground=False)
            return
        if _template(before) == _template(written):
            return
        count = before["spec"].get("replicas", 1) if live[HORIZONTAL_POD_AUTOSCALER] is None else 0
        back = self._put(lambda at: _back(before, at, count), now, force=True)
        for kind in KINDS[1:]:
            other = live[kind]
            if other is not None:
                self.door.apply(restored(other), force=True)
            else:
                self.door.delete(kind, name, foreground=False)
        self._drop(written, back)

    def _drop(self, written: Object, back: Object) -> None:
        """Delete the ReplicaSet that failed, once the cluster no longer wants it: else it is made again."""
        name = _name(back)
        for sight in self.door.watch(Selection(DEPLOYMENT, fields=f"metadata.name={name}"), timeout_s=_SETTLE_S):
            observed = [each.get("status", {}).get("observedGeneration", 0) for each in sight.objects]
            if not observed or observed[0] >= back["metadata"]["generation"]:
                break
        for each in sets_of(back, self.door.list(REPLICA_SET, selector(name))):
            if without_hash(_template(each)) == _template(written):
                self.door.delete(REPLICA_SET, _name(each), foreground=False)


def read_live(door: ClusterDoor, name: str) -> Live:
    """Return a function's objects as they are."""
    return {kind: door.get(kind, name) for kind in KINDS}


def check_ours(live: Live, *, force: bool) -> None:
    """Refuse to change what mlfn does not manage here. Raises Conflict."""
    for kind, thing in live.items():
        if thing is None:
            continue
        metadata = thing["metadata"]
        what = f"the {kind.kind} {metadata['name']} in {metadata['namespace']}"
        owners = [each for each in metadata.get("ownerReferences") or () if each.get("controller")]
        if owners:
            raise Conflict(
                f"{what} belongs to the {owners[0]['kind']} {owners[0]['name']}, which would undo every change",
                hints=("choose another --name", "or another namespace: -n NAMESPACE"),
            )
        if kind is DEPLOYMENT and not _selects_ours(thing):
            raise Conflict(
                f"{what} is not managed by mlfn and cannot be taken over: which pods it selects can never be changed",
                hints=("choose another --name", f"or delete it first: kubectl delete {_at(kind, metadata)}"),
            )
        if not force and not (is_managed(thing) and PLATFORM in metadata["labels"]):
            raise Conflict(
                f"{what} is not managed by mlfn", hints=("choose another --name", "or take it over with --force")
            )


def _selects_ours(deployment: Object) -> bool:
    wanted: object = {"matchLabels": selected(_name(deployment))}
    return bool(deployment["spec"]["selector"] == wanted)


def _at(kind: Kind, metadata: Object) -> str:
    return f"{kind.resource} {metadata['name']} -n {metadata['namespace']}"


def _back(before: Object, at: Object | None, count: int) -> Object:
    """Return the Deployment as it was, with ``count`` instances, or with those that there are for 0."""
    back = locked(restored(before), at)
    return with_replicas(back, count) if count else back


def scaled(deployment: Object, wanted: Sequence[Object]) -> Object:
    """Return a Deployment with as many instances as a deploy of ``wanted`` would leave it."""
    return with_replicas(deployment, _wanted_count(wanted, deployment["spec"].get("replicas", 1)))


def _wanted_count(wanted: Sequence[Object], now: int) -> int:
    for each in wanted:
        if kind_of(each) is HORIZONTAL_POD_AUTOSCALER:
            return min(max(now, int(each["spec"]["minReplicas"])), int(each["spec"]["maxReplicas"]))
    return int(wanted[0]["spec"]["replicas"])


def _holds(things: Sequence[Object], kind: Kind) -> bool:
    return any(kind_of(each) is kind for each in things)


def _template(thing: Object) -> Object:
    template: Object = thing["spec"]["template"]
    return template


def _name(thing: Object) -> str:
    return str(thing["metadata"]["name"])
