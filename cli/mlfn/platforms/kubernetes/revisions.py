"""Revisions of a function, read from the ReplicaSets that its Deployment keeps. Pure.

A revision is called as its ReplicaSet, whose name is made of the pod template: going back to an earlier template is
going back to the earlier revision, under the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from mlfn.function import Revision, Traffic
from mlfn.platforms.kube.instances import condition, unix_time
from mlfn.platforms.kube.kinds import POD, REPLICA_SET, Object
from mlfn.platforms.kube.labels import DIGEST, SPEC
from mlfn.platforms.kube.records import read_digest, read_signature, read_spec

__all__ = [
    "COUNTER",
    "current",
    "is_of",
    "is_rolled_out",
    "owned",
    "pods_of",
    "revisions",
    "sets_of",
    "shares",
    "template_record",
    "told_apart",
]

_AGAIN = "mlfn.dev/again"
"""Tells the template of a revision from that of an earlier one of the same function."""
COUNTER = "deployment.kubernetes.io/revision"


def owned(things: Iterable[Object], owner: Object) -> list[Object]:
    """Return the things that an object controls."""
    uid = owner["metadata"]["uid"]
    return [each for each in things if any(o["uid"] == uid for o in each["metadata"].get("ownerReferences") or ())]


def sets_of(deployment: Object, things: Iterable[Object]) -> list[Object]:
    """Return a Deployment's ReplicaSets, the newest last."""
    found = owned((each for each in things if each["kind"] == REPLICA_SET.kind), deployment)
    return sorted(found, key=_number)


def pods_of(replica_set: Object, things: Iterable[Object]) -> list[Object]:
    """Return a ReplicaSet's pods."""
    return owned((each for each in things if each["kind"] == POD.kind), replica_set)


def current(deployment: Object, sets: Sequence[Object]) -> Object | None:
    """Return the ReplicaSet of the template as it is now; None until the controller has made it.

    ``sets`` are the Deployment's own. Equal templates have equal ReplicaSets, so the number on the Deployment decides.
    """
    if deployment.get("status", {}).get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return None
    number = _number(deployment)
    return next((each for each in sets if _number(each) == number), None)


def is_of(pod: Object, name: str) -> bool:
    """Say whether a pod is one of the revision ``name``."""
    return any(each["name"] == name for each in pod["metadata"].get("ownerReferences") or ())


def is_rolled_out(deployment: Object) -> bool:
    """Say whether all instances are of the current template, ready, and the ones before on their way out."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("replicas", 0) == status.get("updatedReplicas", 0)
        and status.get("availableReplicas", 0) >= wanted
    )


def template_record(replica_set: Object) -> Object:
    """Return a ReplicaSet's template under the name of its function, to read settings and the model's digest from."""
    template = replica_set["spec"]["template"]
    return {
        **template,
        "kind": REPLICA_SET.kind,
        "metadata": {"name": replica_set["metadata"]["name"], **template["metadata"]},
    }


def revisions(sets: Sequence[Object], now: Object | None) -> tuple[Revision, ...]:
    """Describe the revisions."""
    return tuple(_revision(each, is_current=each is now) for each in sets)


def told_apart(wanted: Object, live: Object, sets: Sequence[Object]) -> Object:
    """Return a wanted Deployment whose template differs from that of every earlier revision of the very same function.

    Taken up again, an earlier ReplicaSet would count as the old revision; one that is current stays as it is.
    """
    template = wanted["spec"]["template"]
    same = _identity(template)
    now = live["spec"]["template"]
    again = (now["metadata"].get("annotations") or {}).get(_AGAIN, "")
    if _identity(now) != same:
        twin = any(_identity(each["spec"]["template"]) == same for each in sets)
        again = str(_number(live) + 1) if twin else ""
    if not again:
        return wanted
    annotations = {**template["metadata"]["annotations"], _AGAIN: again}
    marked = {**template, "metadata": {**template["metadata"], "annotations": annotations}}
    return {**wanted, "spec": {**wanted["spec"], "template": marked}}


def _identity(template: Object) -> tuple[str, str, str]:
    annotations = template["metadata"].get("annotations") or {}
    return annotations.get(SPEC, ""), annotations.get(DIGEST, ""), template["spec"]["containers"][0]["image"]


def _revision(replica_set: Object, *, is_current: bool) -> Revision:
    record = template_record(replica_set)
    spec = read_spec(record)
    status = replica_set.get("status", {})
    ready = bool(status.get("readyReplicas")) or not is_current
    refused = condition(replica_set, "ReplicaFailure").get("status") == "True"
    return Revision(
        name=replica_set["metadata"]["name"],
        digest=read_digest(record),
        created_at=unix_time(replica_set["metadata"]["creationTimestamp"]),
        state="ready" if ready else "failed" if refused else "pending",
        settings=asdict(spec),
        signature=read_signature(record),
    )


def shares(sets: Sequence[Object], now: Object | None) -> tuple[Traffic, ...]:
    """Return which share of the requests each revision gets: the Service spreads them evenly over ready instances."""
    ready = {each["metadata"]["name"]: each.get("status", {}).get("readyReplicas", 0) for each in sets}
    total = sum(ready.values())
    if not total:
        return (Traffic(now["metadata"]["name"], 100),) if now is not None else ()
    percents = {name: count * 100 // total for name, count in ready.items() if count}
    largest = max(percents, key=lambda name: (percents[name], name))
    percents[largest] += 100 - sum(percents.values())
    return tuple(Traffic(name, percent) for name, percent in percents.items())


def _number(thing: Object) -> int:
    return int((thing["metadata"].get("annotations") or {}).get(COUNTER, 0))
