"""Revisions and shares of traffic of a Knative Service, read from its objects. Pure.

mlfn names its revisions itself, as Knative would (``iris-00003``): only so can a failed deploy be taken back to the
very revision that served before, without a new one. The number is the generation that the change makes: none comes
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlfn.function import Traffic
from mlfn.platforms.kube.instances import condition
from mlfn.platforms.kube.kinds import Object

__all__ = [
    "KEPT",
    "REVISION_LABEL",
    "SERVICE_LABEL",
    "created_at",
    "is_current",
    "is_ready",
    "is_used",
    "kept_tags",
    "next_name",
    "pinned",
    "serving",
    "settled",
    "superfluous",
    "targets",
    "template_name",
    "traffic_of",
]

SERVICE_LABEL = "serving.knative.dev/service"
REVISION_LABEL = "serving.knative.dev/revision"
KEPT = 10
"""Revisions that stay as targets of a rollback besides those in use."""


def is_current(thing: Object) -> bool:
    """Say whether the status speaks of the object as it is now, not as it was."""
    return bool(thing.get("status", {}).get("observedGeneration") == thing["metadata"]["generation"])


def is_ready(thing: Object) -> bool:
    """Say whether a status is current and says Ready."""
    return is_current(thing) and condition(thing, "Ready").get("status") == "True"


def settled(service: Object, revision: str) -> bool:
    """Say whether a Service is ready with all of its traffic on ``revision``."""
    status = service.get("status", {})
    on_it = sum(each.get("percent") or 0 for each in status.get("traffic", ()) if each.get("revisionName") == revision)
    return is_ready(service) and on_it == 100 and bool(status.get("url"))


def serving(service: Object | None) -> str | None:
    """Return the revision that gets most of the requests, None while none does."""
    if service is None:
        return None
    shares = [each for each in service.get("status", {}).get("traffic", ()) if each.get("percent")]
    if not shares:
        return None
    name: str = max(shares, key=lambda each: int(each["percent"])).get("revisionName", "")
    return name or None


def next_name(service: Object | None, name: str) -> str:
    """Return the name of the revision that the next change of a Service makes."""
    generation = service["metadata"]["generation"] if service else 0
    return f"{name}-{generation + 1:05d}"


def template_name(service: Object) -> str:
    """Return the revision of the current template: the name that it carries, else the one that Knative gave."""
    named: str = service["spec"]["template"].get("metadata", {}).get("name", "")
    made: str = service.get("status", {}).get("latestCreatedRevisionName", "")
    return named or (made if is_current(service) else "")


def pinned(service: Object) -> list[Object]:
    """Return the traffic that now is, by revision names: it stays so whatever becomes ready."""
    shares = [
        {"revisionName": each["revisionName"], "percent": each["percent"]}
        for each in service.get("status", {}).get("traffic", ())
        if each.get("percent") and each.get("revisionName")
    ]
    return [*shares, *kept_tags(service)] if shares else list(service["spec"]["traffic"])


def kept_tags(service: Object | None) -> list[Object]:
    """Return the tags, each with no share of its own."""
    if service is None:
        return []
    tagged = [each for each in service.get("status", {}).get("traffic", ()) if each.get("tag")]
    return [{"revisionName": each["revisionName"], "percent": 0, "tag": each["tag"]} for each in tagged]


def targets(split: Sequence[Traffic]) -> list[Object]:
    """Return the traffic block for a split."""
    return [
        {"revisionName": each.revision, "percent": each.percent, **({"tag": each.tag} if each.tag else {})}
        for each in split
    ]


def traffic_of(service: Object) -> tuple[Traffic, ...]:
    """Return the shares and tags as they are; a share and a tag of the same revision are one entry."""
    found: list[Traffic] = []
    for each in service.get("status", {}).get("traffic", ()):
        name, percent = each.get("revisionName", ""), each.get("percent") or 0
        tag, url = each.get("tag", ""), each.get("url", "")
        untagged = next((known for known in found if known.revision == name and not known.tag), None)
        if tag and not percent and untagged is not None:
            found[found.index(untagged)] = replace(untagged, tag=tag, url=url)
        else:
            found.append(Traffic(name, percent, tag, url))
    return tuple(found)


def is_used(service: Object, revision: str) -> bool:
    """Say whether a Service refers to a revision: as its template, for traffic or under a tag."""
    status = service.get("status", {})
    routed = {each.get("revisionName") for each in (*service["spec"]["traffic"], *status.get("traffic", ()))}
    return revision in routed | {template_name(service), status.get("latestReadyRevisionName")}


def superfluous(service: Object, revisions: Sequence[Object]) -> tuple[str, ...]:
    """Return the names of the oldest revisions that nothing refers to, beyond the ones kept."""
    free = [each for each in revisions if not is_used(service, each["metadata"]["name"])]
    newest_first = sorted(free, key=created_at, reverse=True)
    return tuple(each["metadata"]["name"] for each in newest_first[KEPT:])


def created_at(thing: Object) -> str:
    """Return the sort key of age: the time stamp, and the name where they are alike."""
    return f"{thing['metadata']['creationTimestamp']} {thing['metadata']['name']}"
