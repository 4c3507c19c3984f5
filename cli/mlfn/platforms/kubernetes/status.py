"""What the objects of a function tell about it: Deployment, ReplicaSets and pods become a FunctionStatus. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mlfn.function import Finding, FunctionStatus, Instance, Severity
from mlfn.platforms.kube.instances import instance, unix_time
from mlfn.platforms.kube.kinds import Object
from mlfn.platforms.kube.records import read_digest, read_format, read_signature, read_spec
from mlfn.platforms.kubernetes.revisions import current, pods_of, revisions, sets_of, shares

__all__ = ["address", "status_of"]


def address(name: str, namespace: str) -> str:
    """Return a function's address inside the cluster."""
    return f"http://{name}.{namespace}.svc.cluster.local"


def status_of(deployment: Object, things: Sequence[Object], findings: tuple[Finding, ...]) -> FunctionStatus:
    """Tell about one function; ``things`` are ReplicaSets and pods, others' too."""
    metadata = deployment["metadata"]
    sets = sets_of(deployment, things)
    now = current(deployment, sets)
    url = address(metadata["name"], metadata["namespace"])
    return FunctionStatus(
        name=metadata["name"],
        platform="kubernetes",
        url=url,
        ready=bool(deployment.get("status", {}).get("availableReplicas")),
        spec=read_spec(deployment),
        digest=read_digest(deployment),
        format=read_format(deployment),
        signature=read_signature(deployment),
        created_at=unix_time(metadata.get("creationTimestamp")),
        revisions=revisions(sets, now),
        traffic=shares(sets, now),
        instances=_instances(sets, things),
        decisions=(),
        last_errors=tuple(each.message for each in findings if each.severity is Severity.ERROR),
        findings=findings,
        urls=(url,),
    )


def _instances(sets: Sequence[Object], things: Sequence[Object]) -> tuple[Instance, ...]:
    found = [instance(pod, each["metadata"]["name"]) for each in sets for pod in pods_of(each, things)]
    return tuple(sorted(found, key=lambda each: (each.started_at, each.id)))
