"""The Deployment that is sent, made of the one that is there and the one that is wanted. Pure."""

from __future__ import annotations

from typing import Any

from mlfn.platforms.kube.kinds import Object
from mlfn.platforms.kubernetes.revisions import COUNTER

__all__ = ["differs", "locked", "restored", "with_replicas", "with_template_of", "without_hash"]

NO_SUCH_VERSION = "1"
"""A resourceVersion that no object has: with it one can be made, but not changed."""
_HASH = "pod-template-hash"
_NOT_OURS = (COUNTER, "kubectl.kubernetes.io/last-applied-configuration")


def locked(wanted: Object, live: Object | None) -> Object:
    """Return an object as one that is valid only while the live one (or that there is none) stays as it is.

    The number of instances stays as well: how many there are is the autoscaler's last word, or somebody's.
    """
    version = live["metadata"]["resourceVersion"] if live else NO_SUCH_VERSION
    kept = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}}
    return with_replicas(kept, live["spec"].get("replicas", 1)) if live else kept


def with_replicas(deployment: Object, count: int) -> Object:
    """Return a Deployment with another number of instances."""
    return {**deployment, "spec": {**deployment["spec"], "replicas": count}}


def restored(live: Object) -> Object:
    """Return a live object as one that can be applied again."""
    metadata = live["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _NOT_OURS}
    return {
        "apiVersion": live["apiVersion"],
        "kind": live["kind"],
        "metadata": {"name": metadata["name"], "labels": metadata.get("labels") or {}, "annotations": annotations},
        "spec": live["spec"],
    }


def with_template_of(live: Object, replica_set: Object) -> Object:
    """Return a Deployment that goes back to the template of one of its ReplicaSets, as ``kubectl rollout undo`` does.

    Labels and annotations stand on both alike, so they go back as well.
    """
    template = without_hash(replica_set["spec"]["template"])
    metadata = {key: template["metadata"].get(key) or {} for key in ("labels", "annotations")}
    spec = {**live["spec"], "template": template}
    return {**restored(live), "metadata": {"name": live["metadata"]["name"], **metadata}, "spec": spec}


def without_hash(template: Object) -> Object:
    """Return a ReplicaSet's template as it stands in its Deployment."""
    metadata = template["metadata"]
    labels = {key: value for key, value in metadata["labels"].items() if key != _HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def differs(before: Object | None, after: Object) -> bool:
    """Say whether an object is another than before in anything that is asked of it."""
    return before is None or _asked(before) != _asked(after)


def _asked(thing: Object) -> Any:
    metadata = thing["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _NOT_OURS}
    return thing["spec"], metadata.get("labels") or {}, annotations
