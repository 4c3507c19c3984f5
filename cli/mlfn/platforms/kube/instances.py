"""Pods as instances of a function. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mlfn.function import Instance
from mlfn.platforms.kube.kinds import Object
from mlfn.platforms.kube.labels import CONTAINER
from mlfn.platforms.kube.pods import PORT

__all__ = ["instances", "unix_time"]


def instances(pods: Iterable[Object], revision_label: str) -> tuple[Instance, ...]:
    """Return the pods that have not ended, oldest first."""
    living = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    return tuple(
        sorted((_instance(pod, revision_label) for pod in living), key=lambda each: (each.started_at, each.id))
    )


def unix_time(stamp: str | None) -> float:
    """Return the Unix time of a time stamp of the API, 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def _instance(pod: Object, revision_label: str) -> Instance:
    metadata, status = pod["metadata"], pod.get("status", {})
    address = status.get("podIP", "")
    own = next((each for each in status.get("containerStatuses", ()) if each["name"] == CONTAINER), {})
    return Instance(
        id=metadata["name"],
        revision=(metadata.get("labels") or {}).get(revision_label, ""),
        state=_state(pod, own),
        pid=None,
        address=f"{address}:{PORT}" if address else "",
        started_at=unix_time(status.get("startTime") or metadata.get("creationTimestamp")),
        memory_bytes=0,
        in_flight=0,
        restarts=int(own.get("restartCount", 0)),
    )


def _state(pod: Object, own: Object) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "draining"
    conditions = pod.get("status", {}).get("conditions") or ()
    if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
        return "ready"
    state = own.get("state", {})
    waiting = state.get("waiting", {}).get("reason", "ContainerCreating")
    failed = "terminated" in state or waiting not in ("ContainerCreating", "PodInitializing")
    return "failed" if own and failed else "starting"
