"""Pods as instances of a function. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlfn.function import Instance
from mlfn.platforms.kube.kinds import Object
from mlfn.platforms.kube.labels import CONTAINER
from mlfn.platforms.kube.pods import PORT

__all__ = ["condition", "instance", "is_ready_pod", "unix_time"]


def instance(pod: Object, revision: str) -> Instance:
    """Return what a pod tells of an instance; its memory and its requests in flight are not in the API."""
    status = pod.get("status", {})
    address = status.get("podIP", "")
    container = _container(pod)
    return Instance(
        id=pod["metadata"]["name"],
        revision=revision,
        state=_state(pod, container),
        pid=None,
        address=f"{address}:{PORT}" if address else "",
        started_at=unix_time(status.get("startTime") or pod["metadata"].get("creationTimestamp")),
        memory_bytes=0,
        in_flight=0,
        restarts=container.get("restartCount", 0),
    )


def is_ready_pod(pod: Object) -> bool:
    """Say whether a pod takes requests."""
    return "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready").get("status") == "True"


def condition(thing: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return a condition of an object, an empty one where it is not there."""
    conditions = thing.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def unix_time(stamp: str | None) -> float:
    """Return a time stamp of the API as Unix time, 0 where there is none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def _state(pod: Object, container: Mapping[str, Any]) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "draining"
    if is_ready_pod(pod):
        return "ready"
    waiting = (container.get("state") or {}).get("waiting") or {}
    ended = pod.get("status", {}).get("phase") == "Failed" or "terminated" in (container.get("state") or {})
    # ContainerCreating and PodInitializing are the two reasons to wait that are no trouble.
    troubled = waiting.get("reason", "ContainerCreating") not in ("ContainerCreating", "PodInitializing")
    return "failed" if ended or troubled else "starting"


def _container(pod: Object) -> Mapping[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return next((each for each in statuses if each["name"] == CONTAINER), {})
