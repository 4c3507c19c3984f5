"""Functions as Knative Services, behind the :class:`mlfn.platforms.Platform` protocol.

One door leads to the cluster; what is told of a function is read from its objects, whoever deployed it. Only objects
that mlfn manages are changed. Connecting does no IO.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mlfn.errors import InvalidInput, MlfnError, NotFound, Unreachable
from mlfn.function import Answer, Deployed, Finding, FunctionSpec, FunctionStatus, LogLine, Severity, Traffic
from mlfn.platforms import Capabilities, DeployRequest, Planned, Progress
from mlfn.platforms.knative.deploying import Deploy, check_ours, planned
from mlfn.platforms.knative.keeping_warm import warm_status, warm_terms
from mlfn.platforms.knative.manifests import refuse_given_twice, service
from mlfn.platforms.knative.revisions import REVISION_LABEL, SERVICE_LABEL, is_ready, serving
from mlfn.platforms.knative.routing import remove_service, set_traffic
from mlfn.platforms.knative.scene import own, scene, service_in
from mlfn.platforms.knative.status import seen_by_tag, status_of
from mlfn.platforms.knative.ways import ways
from mlfn.platforms.kube.checks import check
from mlfn.platforms.kube.companions import dressed, tend
from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.evidence import Evidence
from mlfn.platforms.kube.findings import finding
from mlfn.platforms.kube.foresight import check_writable
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE, POD, REVISION, Object, kind_of
from mlfn.platforms.kube.labels import MANAGED, SPEC
from mlfn.platforms.kube.limits import CHECKED, read
from mlfn.platforms.kube.pod_logs import function_logs
from mlfn.platforms.kube.records import own_annotations
from mlfn.platforms.kube.ways_in import Request, send

if TYPE_CHECKING:
    from mlfn_policies.warm import WarmTerms

__all__ = ["KnativePlatform"]

_SETTINGS = frozenset(
    (
        "annotations",
        "concurrency",
        "cpu_millis",
        "env",
        "image_pull_secret",
        "labels",
        "max_scale",
        "memory_bytes",
        "metric",
        "min_scale",
        "secret_env",
        "service_account",
        "target",
        "timeout_s",
        "utilization",
        "visibility",
        "warm",
        "window_s",
    )
)
_LOOK_S = 20.0


class KnativePlatform:
    """Deploy to Knative Serving."""

    name = "knative"
    capabilities = Capabilities(
        scale_to_zero=True, traffic_split=True, logs_follow=True, revisions=True, images=True, settings=_SETTINGS
    )

    def __init__(self, door: ClusterDoor, *, ingress: str = "") -> None:
        self._door = door
        self._ingress = ingress

    def deploy(self, request: DeployRequest, *, progress: Progress) -> Deployed:
        """Make a revision of the request's image serve as ``spec.name``."""
        notes = self._checked(request.spec)
        deploy = Deploy(self._door, request, diagnose=self._evidence(), progress=progress)
        deployed, owner = deploy.run(service(request))
        notes += (_visibility(request, deployed.url), *self._tended(request, owner))
        return replace(deployed, findings=notes, warm=request.warm)

    def foresee(self, spec: FunctionSpec, *, force: bool) -> None:
        """Raise what a deploy would raise whatever the image is; changes nothing."""
        self._checked(spec)
        live = self._door.get(KNATIVE_SERVICE, spec.name)
        if live is not None:
            check_ours(live, force=force)
        check_writable(self._door, KNATIVE_SERVICE, spec.name)

    def manifests(self, request: DeployRequest) -> tuple[Object, ...]:
        """Return the objects that a deploy would apply; asks nobody."""
        return (service(request), *(dressed(each, request.spec.name) for each in request.companions))

    def dry_run(self, request: DeployRequest) -> tuple[Planned, ...]:
        """Have the API check them, change nothing, and return them as they are and as they would be stored."""
        self._checked(request.spec)
        live = self._door.get(KNATIVE_SERVICE, request.spec.name)
        if live is not None:
            check_ours(live, force=request.force)
        things = (planned(service(request), live), *self.manifests(request)[1:])
        before = (live, *(self._door.get(kind_of(each), each["metadata"]["name"]) for each in things[1:]))
        after = (self._door.apply(each, force=request.force, dry_run=True) for each in things)
        return tuple(Planned(*pair) for pair in zip(before, after, strict=True))

    def status(self, name: str) -> FunctionStatus:
        """Tell all about one function."""
        found = self._service(name)
        if SPEC not in own_annotations(found):
            check_ours(found, force=False)
        label = f"{SERVICE_LABEL}={name}"
        revisions, pods = (own(self._door.list(kind, label), found) for kind in (REVISION, POD))
        told = status_of(found, revisions, pods, self.diagnose(name))
        return replace(told, warm=warm_status(self._door, told.spec))

    def list(self) -> tuple[FunctionStatus, ...]:
        """Tell all about all functions, sorted by name."""
        services = self._door.list(KNATIVE_SERVICE, MANAGED)
        if not services:
            return ()
        revisions, pods = (self._door.list(kind, SERVICE_LABEL) for kind in (REVISION, POD))
        return tuple(status_of(each, _of(each, revisions), _of(each, pods)) for each in services)

    def invoke(
        self, name: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, tag: str = ""
    ) -> Answer:
        """Send ``POST path`` to a function, or to one of its tags, by the first way that leads there."""
        found = self._service(name)
        if serving(found) is None:
            raise self._not_ready(name)
        if tag:
            found = seen_by_tag(found, tag)
        return send(ways(self._door, found, self._ingress), Request(path, body, headers, timeout_s))

    def traffic(self, name: str, split: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
        """Set the shares and tags, and return them when they hold."""
        found = self._service(name)
        check_ours(found, force=False)
        return set_traffic(self._door, found, split)

    def logs(self, name: str, *, follow: bool, tail: int) -> Iterator[LogLine]:
        """Yield the last ``tail`` lines of each instance, then new ones with ``follow``."""
        self._service(name)
        yield from function_logs(self._door, f"{SERVICE_LABEL}={name}", follow=follow, tail=tail)

    def diagnose(self, name: str) -> tuple[Finding, ...]:
        """Say what is wrong with a function, nothing when it is well."""
        self._service(name)
        for sight in self._door.watch(*scene(name), timeout_s=_LOOK_S):
            found = service_in(sight.objects, name)
            if found is not None:
                # What is not ready is the newest revision, whatever serves meanwhile.
                revision = serving(found) or "" if is_ready(found) else ""
                _, findings = self._evidence()(replace(sight, objects=own(sight.objects, found)), revision)
                return findings
        return ()

    def warm_terms(self, spec: FunctionSpec) -> WarmTerms:
        """Return how this cluster scales such a function to zero, and what sends pings here."""
        return warm_terms(self._door, spec)

    def remove(self, name: str) -> None:
        """Delete a function; its last requests are still answered."""
        found = self._service(name)
        check_ours(found, force=False)
        remove_service(self._door, name, found["metadata"]["uid"])

    def _checked(self, spec: FunctionSpec) -> tuple[Finding, ...]:
        """Hold the settings against what the cluster allows. Raises InvalidInput with all that is wrong."""
        refuse_given_twice(spec)
        found = check(spec, read(self._door, CHECKED))
        wrong = [each for each in found if each.severity is Severity.ERROR]
        if wrong:
            message = "; ".join(each.message for each in wrong)
            hints = tuple(dict.fromkeys(each.fix for each in wrong if each.fix))
            raise InvalidInput(f"{spec.name} cannot be deployed so: {message}", hints=hints)
        return found

    def _tended(self, request: DeployRequest, owner: Object) -> tuple[Finding, ...]:
        """Make what keeps the function warm; it serves already, so that a refusal is a warning."""
        try:
            tend(self._door, owner, request.companions)
        except MlfnError as error:
            return (finding("warm-pings-refused", f"{request.spec.name} is not kept warm: {error.message}"),)
        return ()

    def _service(self, name: str) -> Object:
        found = self._door.get(KNATIVE_SERVICE, name)
        if found is None:
            raise NotFound(
                f"there is no function {name!r} in the namespace {self._door.namespace}",
                hints=("which there are: mlfn list --platform knative", "-n names another namespace"),
            )
        return found

    def _not_ready(self, name: str) -> Unreachable:
        """Return why nothing serves yet: what an ingress answers to that is about a host that it does not know."""
        found = self.diagnose(name)
        why = "; ".join(each.message for each in found) or "it is starting"
        hints = tuple(dict.fromkeys(each.fix for each in found if each.fix))
        return Unreachable(
            f"no revision of {name} is ready: {why}", hints=(*hints, f"mlfn describe {name}  # tells when one is")
        )

    def _evidence(self) -> Evidence:
        return Evidence(self._door, _is_of)


def _visibility(request: DeployRequest, url: str) -> Finding:
    name = request.spec.name
    if request.spec.visibility == "cluster":
        return finding("cluster-only", f"{name} is reached from within the cluster only, at {url or 'its address'}")
    where = url or "the address that describe tells"
    return finding(
        "reachable-from-outside",
        f"{name} is public: whoever reaches the cluster's ingress can call {where}, no password",
    )


def _is_of(pod: Object, revision: str) -> bool:
    label = (pod["metadata"].get("labels") or {}).get(REVISION_LABEL)
    return bool(label == revision or (label and not revision))


def _of(owner: Object, things: tuple[Object, ...]) -> tuple[Object, ...]:
    name = owner["metadata"]["name"]
    return own([each for each in things if each["metadata"]["labels"].get(SERVICE_LABEL) == name], owner)
