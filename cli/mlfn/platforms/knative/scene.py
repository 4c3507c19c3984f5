"""Which objects tell of a function: the selections to watch, and what of it belongs to this very Service. Pure.

A Service that was deleted and made again has pods and events of its forerunner beside its own for minutes, under the
same names: unique ids tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlfn.platforms.knative.revisions import SERVICE_LABEL
from mlfn.platforms.kube.door import Selection
from mlfn.platforms.kube.kinds import (
    CONFIGURATION,
    DEPLOYMENT,
    EVENT,
    KNATIVE_SERVICE,
    POD,
    POD_AUTOSCALER,
    REPLICA_SET,
    REVISION,
    ROUTE,
    Object,
)

__all__ = ["own", "scene", "service_in"]

_UID_LABEL = "serving.knative.dev/serviceUID"


def scene(name: str) -> tuple[Selection, ...]:
    """Return what tells how a function does; what is not needed is left out where rights are missing."""
    own_label = f"{SERVICE_LABEL}={name}"
    return (
        Selection(KNATIVE_SERVICE, fields=f"metadata.name={name}"),
        Selection(REVISION, own_label),
        Selection(CONFIGURATION, own_label, needed=False),
        Selection(ROUTE, own_label, needed=False),
        Selection(POD_AUTOSCALER, own_label, needed=False),
        Selection(DEPLOYMENT, own_label, needed=False),
        Selection(REPLICA_SET, own_label, needed=False),
        Selection(POD, own_label, needed=False),
        Selection(EVENT, needed=False),
    )


def service_in(objects: Sequence[Object], name: str) -> Object | None:
    """Return the Knative Service among objects."""
    return next((each for each in objects if each["kind"] == "Service" and each["metadata"]["name"] == name), None)


def own(objects: Sequence[Object], service: Object) -> tuple[Object, ...]:
    """Return the objects that belong to a Service, and the events of these or of objects that are gone."""
    uid, born = service["metadata"]["uid"], service["metadata"]["creationTimestamp"]
    foreign = {
        each["metadata"]["uid"]
        for each in objects
        if (each["metadata"].get("labels") or {}).get(_UID_LABEL, uid) != uid
    }
    return tuple(
        each
        for each in objects
        if each["metadata"]["uid"] not in foreign
        and not (each["kind"] == EVENT.kind and _is_foreign(each, foreign, since=born))
    )


def _is_foreign(event: Object, foreign: set[str], *, since: str) -> bool:
    # Time stamps of the API are UTC, in one format: they compare as text.
    seen = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return seen < since or event["involvedObject"].get("uid") in foreign
