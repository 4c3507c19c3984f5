"""What the objects of a function tell about it: Service, Revisions and pods become a FunctionStatus. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mlfn.errors import NotFound
from mlfn.function import Finding, FunctionStatus, Instance, Revision
from mlfn.nearest import did_you_mean
from mlfn.platforms.knative.revisions import REVISION_LABEL, created_at, is_ready, serving, traffic_of
from mlfn.platforms.kube.instances import condition, instance, unix_time
from mlfn.platforms.kube.kinds import Object
from mlfn.platforms.kube.labels import SIGNATURE, SPEC
from mlfn.platforms.kube.records import own_annotations, read_digest, read_format, read_signature, read_spec

__all__ = ["seen_by_tag", "status_of"]


def status_of(
    service: Object, revisions: Sequence[Object], pods: Sequence[Object], findings: tuple[Finding, ...] = ()
) -> FunctionStatus:
    """Tell about one function; what it is (settings, model, signature) is told of the revision that serves."""
    name, status = service["metadata"]["name"], service.get("status", {})
    current = _current(service, revisions)
    shares = traffic_of(service)
    inner = status.get("address", {}).get("url", "")
    addresses = (status.get("url", ""), inner, *(each.url for each in shares))
    return FunctionStatus(
        name=name,
        platform="knative",
        url=status.get("url", ""),
        ready=is_ready(service),
        spec=read_spec(current),
        digest=read_digest(current),
        format=read_format(current),
        signature=read_signature(current),
        created_at=unix_time(service["metadata"].get("creationTimestamp")),
        revisions=tuple(map(_revision, sorted(revisions, key=created_at))),
        traffic=shares,
        instances=_instances(pods),
        decisions=(),
        last_errors=(),
        findings=findings,
        urls=tuple(dict.fromkeys(each for each in addresses if each)),
    )


def seen_by_tag(service: Object, tag: str) -> Object:
    """Return a Service as seen through one of its tags: that address, that revision alone. Raises NotFound."""
    shares = service.get("status", {}).get("traffic", ())
    tags = {each["tag"]: each for each in shares if each.get("tag")}
    if tag not in tags:
        name = service["metadata"]["name"]
        known = ", ".join(sorted(tags)) or "none"
        raise NotFound(f"{name} has no tag {tag!r}", hints=(*did_you_mean(tag, tags), f"its tags: {known}"))
    share = {"revisionName": tags[tag]["revisionName"], "percent": 100}
    return {**service, "status": {**service["status"], "url": tags[tag].get("url", ""), "traffic": [share]}}


def _current(service: Object, revisions: Sequence[Object]) -> Object:
    """Return the object that carries the annotations of what serves."""
    name = serving(service)
    found = next((each for each in revisions if each["metadata"]["name"] == name), None)
    return found if found is not None and SPEC in own_annotations(found) else service


def _instances(pods: Sequence[Object]) -> tuple[Instance, ...]:
    living = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    found = [instance(pod, pod["metadata"]["labels"].get(REVISION_LABEL, "")) for pod in living]
    return tuple(sorted(found, key=lambda each: (each.started_at, each.id)))


def _revision(revision: Object) -> Revision:
    known = own_annotations(revision)
    return Revision(
        name=revision["metadata"]["name"],
        digest=read_digest(revision),
        created_at=unix_time(revision["metadata"]["creationTimestamp"]),
        state=_state(revision),
        settings=asdict(read_spec(revision)) if SPEC in known else {},
        signature=read_signature(revision) if SIGNATURE in known else None,
    )


def _state(revision: Object) -> str:
    told = condition(revision, "Ready").get("status")
    return {"True": "ready", "False": "failed"}.get(str(told), "pending")
