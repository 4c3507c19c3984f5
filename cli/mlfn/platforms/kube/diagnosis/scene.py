"""Choose, of all objects of a namespace, those that tell of one revision. Pure.

With Knative a revision is a Revision, whose pods carry its name as a label; without, it is the newest ReplicaSet of a
Deployment. Events stay when their pods are gone, so they are found by the names that pods get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlfn.platforms.kube.instances import condition

__all__ = ["SIDECARS", "Scene", "began_at", "count", "happened_at", "look", "seconds", "times"]

Thing = Mapping[str, Any]

SIDECARS = frozenset({"queue-proxy", "istio-proxy", "linkerd-proxy"})
"""Containers that a platform or a mesh puts beside the function's."""
REVISION_LABEL = "serving.knative.dev/revision"
_TIMES = ("lastTransitionTime", "startedAt", "finishedAt", "lastTimestamp", "eventTime", "creationTimestamp")


@dataclass(frozen=True, slots=True)
class Scene:
    """Hold what is known of one revision, and of what stands around it."""

    name: str
    """The revision, "" when none is known."""
    revision: Thing
    """The Revision itself; empty without Knative, or before it is made."""
    service: Thing
    configuration: Thing
    route: Thing
    autoscaler: Thing
    deployments: tuple[Thing, ...]
    replica_sets: tuple[Thing, ...]
    pods: tuple[Thing, ...]
    """Newest first."""
    events: tuple[Thing, ...]
    """Of this revision's objects, newest first."""
    nodes: tuple[Thing, ...]
    logs: Mapping[str, str]
    """Pod -> its last lines."""
    now: float
    """Unix time; at least that of the newest object, so that a slow clock here makes no age negative."""

    @property
    def ready(self) -> bool:
        """Return whether the revision serves as the platform sees it."""
        if self.revision:
            return condition(self.revision, "Ready").get("status") == "True"
        wanted = [each for each in self.replica_sets if each.get("spec", {}).get("replicas")]
        return bool(wanted) and all(
            each.get("status", {}).get("readyReplicas", 0) >= each["spec"]["replicas"] for each in wanted
        )

    @property
    def staying(self) -> tuple[Thing, ...]:
        """Return the pods that are not being deleted."""
        return tuple(each for each in self.pods if not each.get("metadata", {}).get("deletionTimestamp"))

    @property
    def was_ready(self) -> bool:
        """Return whether the revision has been ready once, so that a failure now is one under load."""
        if self.revision and condition(self.autoscaler, "ScaleTargetInitialized").get("status") == "True":
            return True
        return self.ready or (
            bool(self.name) and self.service.get("status", {}).get("latestReadyRevisionName") == self.name
        )

    @property
    def gave_up(self) -> bool:
        """Return whether the platform's own deadline for the revision has passed."""
        told = [condition(self.revision, "Ready"), condition(self.revision, "ResourcesAvailable")]
        told += [condition(each, "Progressing") for each in self.deployments]
        return any(each.get("status") == "False" and each.get("reason") == "ProgressDeadlineExceeded" for each in told)


def look(objects: Sequence[Thing], revision: str | None, logs: Mapping[str, str], now: float | None) -> Scene:
    """Return what tells of ``revision``: by default the one that was made last."""
    kinds: dict[str, list[Thing]] = {}
    for each in objects:
        kinds.setdefault(_kind(each), []).append(each)
    service, configuration = _first(kinds, "Service"), _first(kinds, "Configuration")
    revisions = kinds.get("Revision", [])
    name = revision or _latest(service, configuration, revisions, kinds.get("ReplicaSet", []))
    pods = [each for each in kinds.get("Pod", []) if _of_revision(each, name)]
    sets = [each for each in kinds.get("ReplicaSet", []) if _of_revision(each, name)]
    deployments = kinds.get("Deployment", [])
    if any(REVISION_LABEL in _labels(each) for each in deployments):
        deployments = [each for each in deployments if _of_revision(each, name)]
    names = {_name(each) for each in (*pods, *sets, *deployments)} | {name}
    if revisions or name == "":
        names |= {_name(service), _name(configuration)}
    found = next((each for each in revisions if _name(each) == name), {})
    made_at = min((_made_at(each) for each in ([found] if found else sets)), default=0.0)
    # A function that was deleted and deployed again has revisions of the same names, and the events of the first ones.
    since = [each for each in kinds.get("Event", []) if happened_at(each) >= made_at]
    events = [each for each in since if _tells_of(each, name, names)]
    newest = max((moment for each in objects for moment in times(each)), default=0.0)
    return Scene(
        name=name,
        revision=found,
        service=service,
        configuration=configuration,
        route=_first(kinds, "Route"),
        autoscaler=next((each for each in kinds.get("PodAutoscaler", []) if _name(each) == name), {}),
        deployments=tuple(deployments),
        replica_sets=tuple(sets),
        pods=tuple(sorted(pods, key=_made_at, reverse=True)),
        events=tuple(sorted(events, key=happened_at, reverse=True)),
        nodes=tuple(kinds.get("Node", [])),
        logs=logs,
        now=max(newest, now or 0.0),
    )


def happened_at(event: Thing) -> float:
    """Return when an event was last seen."""
    series = event.get("series") or {}
    stamps = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    first = event.get("firstTimestamp") or event.get("metadata", {}).get("creationTimestamp")
    return max(map(seconds, (*stamps, first)))


def began_at(event: Thing) -> float:
    """Return when an event was seen first."""
    first = event.get("firstTimestamp") or event.get("eventTime") or event.get("metadata", {}).get("creationTimestamp")
    return seconds(first)


def count(event: Thing) -> int:
    """Return how often an event was seen."""
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def times(thing: Thing) -> tuple[float, ...]:
    """Return the moments that an object tells of."""
    if _kind(thing) == "Event":
        return (happened_at(thing),)
    status = thing.get("status", {})
    stamped = [thing.get("metadata", {}), *(status.get("conditions") or ())]
    for container in status.get("containerStatuses") or ():
        stamped += [*container.get("state", {}).values(), *container.get("lastState", {}).values()]
    return tuple(seconds(each.get(field)) for each in stamped for field in _TIMES)


def seconds(stamp: object) -> float:
    """Return a time stamp (RFC 3339) as Unix time, 0 for none."""
    if not isinstance(stamp, str) or not stamp:
        return 0.0
    try:
        return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _kind(thing: Thing) -> str:
    """Return the kind; a Service of the core API, which Knative makes too, is none that tells of a function."""
    kind = str(thing.get("kind", ""))
    return "CoreService" if kind == "Service" and thing.get("apiVersion") == "v1" else kind


def _first(kinds: Mapping[str, Sequence[Thing]], kind: str) -> Thing:
    return next(iter(kinds.get(kind, ())), {})


def _name(thing: Thing) -> str:
    return str(thing.get("metadata", {}).get("name", ""))


def _labels(thing: Thing) -> Thing:
    labels: Thing = thing.get("metadata", {}).get("labels") or {}
    return labels


def _made_at(thing: Thing) -> float:
    return seconds(thing.get("metadata", {}).get("creationTimestamp"))


def _latest(service: Thing, configuration: Thing, revisions: Sequence[Thing], sets: Sequence[Thing]) -> str:
    """Return the revision made last, as the Configuration says, else by age, else the newest ReplicaSet."""
    for owner in (configuration, service):
        if name := owner.get("status", {}).get("latestCreatedRevisionName"):
            return str(name)
    for made in (revisions, [each for each in sets if REVISION_LABEL not in _labels(each)]):
        if made:
            return _name(max(made, key=_order))
    return ""


def _order(thing: Thing) -> tuple[int, float]:
    number = (thing.get("metadata", {}).get("annotations") or {}).get("deployment.kubernetes.io/revision", "0")
    return int(number), _made_at(thing)


def _of_revision(thing: Thing, name: str) -> bool:
    label = _labels(thing).get(REVISION_LABEL)
    if label is not None:
        return not name or label == name
    owners = [owner.get("name") for owner in thing.get("metadata", {}).get("ownerReferences") or ()]
    return not name or name in owners or _name(thing) == name


def _tells_of(event: Thing, name: str, names: set[str]) -> bool:
    about = str(event.get("involvedObject", {}).get("name", ""))
    # Pods and ReplicaSets that are gone: Knative names a Deployment REVISION-deployment, Kubernetes adds to names.
    return not name or about in names or about.startswith((f"{name}-deployment", f"{name}-"))
