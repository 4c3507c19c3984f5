"""The objects that a deploy sends, made from the one that is there and the one that is wanted. Pure."""

from __future__ import annotations

from typing import Any

from mlfn.platforms.knative.revisions import pinned, template_name
from mlfn.platforms.kube.kinds import Object

__all__ = [
    "NO_SUCH_VERSION",
    "as_applied",
    "covers",
    "left_over",
    "same_template",
    "under_way",
    "with_template_of",
    "with_traffic",
]

NO_SUCH_VERSION = "1"
"""A resourceVersion that no Service has: with it an object can be made, but not changed."""
_UNDER_WAY = "mlfn.dev/deploying"
"""Annotation of a Service: the revision that a deploy has made and not given any traffic yet."""
_NOT_OURS = (_UNDER_WAY, "serving.knative.dev/creator", "serving.knative.dev/lastModifier", "kubectl.kubernetes.io/")


def as_applied(live: Object) -> Object:
    """Return a live object as one that can be applied again, valid only while it is unchanged."""
    metadata = live["metadata"]
    annotations = {
        key: value for key, value in (metadata.get("annotations") or {}).items() if not key.startswith(_NOT_OURS)
    }
    kept = {key: metadata[key] for key in ("name", "namespace", "labels", "resourceVersion") if key in metadata}
    spec = dict(live["spec"])
    template = dict(spec["template"])
    # Knative notes the time of a kn change or the like in labels and annotations; the name makes it the same revision.
    template["metadata"] = {**template.get("metadata", {}), "name": template_name(live)}
    template["metadata"].pop("creationTimestamp", None)
    return {
        "apiVersion": live["apiVersion"],
        "kind": live["kind"],
        "metadata": {**kept, "annotations": annotations},
        "spec": {**spec, "template": template},
    }


def under_way(thing: Object, revision: str) -> Object:
    """Return an object with the note that a deploy of ``revision`` goes on; the next change takes the note away."""
    metadata = thing["metadata"]
    return {**thing, "metadata": {**metadata, "annotations": {**metadata["annotations"], _UNDER_WAY: revision}}}


def left_over(live: Object) -> str:
    """Return the revision of a deploy that was killed before it gave it any traffic, "" where there is none."""
    found: str = (live["metadata"].get("annotations") or {}).get(_UNDER_WAY, "")
    return found


def with_traffic(thing: Object, traffic: list[Object]) -> Object:
    """Return an object with another traffic block."""
    return {**thing, "spec": {**thing["spec"], "traffic": traffic}}


def with_template_of(wanted: Object, live: Object | None, revision: str) -> Object:
    """Return the wanted object as the next change of the live one: named, and without any traffic of its own yet.

    The first deploy has no other revision to keep the traffic, and gives it to the newest.
    """
    metadata = {**wanted["spec"]["template"]["metadata"], "name": revision}
    template = {**wanted["spec"]["template"], "metadata": metadata}
    version = live["metadata"]["resourceVersion"] if live else NO_SUCH_VERSION
    return {
        **wanted,
        "metadata": {**wanted["metadata"], "resourceVersion": version},
        "spec": {
            **wanted["spec"],
            "template": template,
            "traffic": pinned(live) if live else wanted["spec"]["traffic"],
        },
    }


def same_template(wanted: Object, live: Object) -> bool:
    """Say whether a live Service has all that is wanted, traffic apart; what Knative added does not count."""
    parts = ((wanted["metadata"][key], live["metadata"].get(key) or {}) for key in ("labels", "annotations"))
    return all(covers(has, want) for want, has in parts) and covers(
        live["spec"]["template"], wanted["spec"]["template"]
    )


def covers(has: Any, wanted: Any) -> bool:
    """Say whether every value that is wanted is there: keys may be added, items of a list may not."""
    if isinstance(wanted, dict):
        return isinstance(has, dict) and all(
            key in has and covers(has[key], value) if value not in ({}, []) else not has.get(key)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        same_length = isinstance(has, list) and len(has) == len(wanted)
        return same_length and all(covers(*pair) for pair in zip(has, wanted, strict=True))
    return bool(has == wanted)
