"""Functions on a Kubernetes cluster without Knative: a Deployment, a Service and an autoscaler each.

Keeps the :class:`mlfn.platforms.Platform` protocol. At least one instance of each function always runs, and all
requests go to one revision; going back to an earlier one is setting it to 100 percent.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlfn.errors import Conflict, InvalidInput, NotFound
from mlfn.function import (
    Answer,
    Deployed,
    Finding,
    FunctionSpec,
    FunctionStatus,
    LogLine,
    Traffic,
    WarmStatus,
)
from mlfn.nearest import did_you_mean
from mlfn.platforms import Capabilities, DeployRequest, Planned, Progress
from mlfn.platforms.kube.door import ClusterDoor, Sight
from mlfn.platforms.kube.evidence import Evidence
from mlfn.platforms.kube.findings import finding
from mlfn.platforms.kube.foresight import check_writable
from mlfn.platforms.kube.kinds import DEPLOYMENT, EVENT, POD, REPLICA_SET, Object, kind_of
from mlfn.platforms.kube.pod_logs import function_logs
from mlfn.platforms.kube.pods import PORT
from mlfn.platforms.kube.records import read_spec
from mlfn.platforms.kube.ways_in import Request, send
from mlfn.platforms.kubernetes.changes import locked, with_template_of
from mlfn.platforms.kubernetes.deploying import Change, Live, check_ours, read_live, scaled
from mlfn.platforms.kubernetes.manifests import KINDS, SELECTOR, at_least_one, beside, objects, scales, selector
from mlfn.platforms.kubernetes.revisions import current, is_of, sets_of, template_record, told_apart
from mlfn.platforms.kubernetes.status import address, status_of
from mlfn.platforms.kubernetes.ways import ways

if TYPE_CHECKING:
    from mlfn_policies.warm import WarmTerms

__all__ = ["KubernetesPlatform"]

_SETTINGS = frozenset(
    (
        "utilization",
        "min_scale",
        "max_scale",
        "window_s",
        "cpu_millis",
        "memory_bytes",
        "timeout_s",
        "env",
        "secret_env",
        "visibility",
        "service_account",
        "image_pull_secret",
        "labels",
        "annotations",
        "warm",
    )
)

_TAGS_HINT = "shares and tags: --platform knative"


class KubernetesPlatform:
    """Deploy to one namespace of a cluster."""

    name = "kubernetes"
    capabilities = Capabilities(
        scale_to_zero=False, traffic_split=False, logs_follow=True, revisions=True, images=True, settings=_SETTINGS
    )

    def __init__(self, door: ClusterDoor) -> None:
        self._door = door

    def deploy(self, request: DeployRequest, *, progress: Progress) -> Deployed:
        """Roll the request's image out; on failure what served before serves on and nothing of the new one stays."""
        _check(request.spec)
        name = request.spec.name
        live = read_live(self._door, name)
        check_ours(live, force=request.force)
        change = Change(
            self._door,
            self._evidence(),
            progress,
            force=request.force,
            wait=request.wait,
            timeout_s=request.wait_timeout_s,
        )
        done = change.run(objects(request), live)
        return Deployed(
            name=name,
            platform=self.name,
            url=address(name, self._door.namespace),
            revision=done.revision,
            previous=done.previous,
            digest=request.package.digest,
            changed=done.changed,
            ready=done.ready,
            seconds=done.seconds,
            findings=_notes(request.spec, self._door.namespace),
            image=request.image,
        )

    def foresee(self, spec: FunctionSpec, *, force: bool) -> None:
        """Raise what a deploy would raise whatever the image is; changes nothing."""
        _check(spec)
        check_ours(read_live(self._door, spec.name), force=force)
        check_writable(self._door, DEPLOYMENT, spec.name)

    def manifests(self, request: DeployRequest) -> tuple[dict[str, Any], ...]:
        """Return the objects that a deploy would apply; asks nobody."""
        _check(request.spec)
        return objects(request)

    def dry_run(self, request: DeployRequest) -> tuple[Planned, ...]:
        """Have the API check them, change nothing, and return them as they are and as they would be stored."""
        _check(request.spec)
        live = read_live(self._door, request.spec.name)
        check_ours(live, force=request.force)
        wanted = objects(request)
        if (deployment := live[DEPLOYMENT]) is not None:
            wanted = (told_apart(wanted[0], deployment, self._sets(deployment)), *wanted[1:])
        kept = locked(wanted[0], live[DEPLOYMENT])
        after = [self._door.apply(each, force=request.force, dry_run=True) for each in (kept, *wanted[1:])]
        # As a deploy does it: the number of instances is taken from whoever set it, and nothing else.
        after[0] = self._door.apply(scaled(kept, wanted), force=True, dry_run=True)
        planned = [Planned(live[kind_of(each)], each) for each in after]
        made = [kind_of(each) for each in wanted]
        return (*planned, *(Planned(thing, None) for kind, thing in live.items() if thing and kind not in made))

    def status(self, name: str) -> FunctionStatus:
        """Tell all about one function."""
        deployment = self._deployment(name)
        sight = self._look(name)
        told = status_of(deployment, sight.objects, self._findings(deployment, sight))
        return replace(told, warm=WarmStatus(told.spec.warm, always=max(told.spec.min_scale, 1)))

    def warm_terms(self, spec: FunctionSpec) -> WarmTerms:
        """Return how a function is kept warm here: always, since nothing goes to zero."""
        from mlfn_policies.warm import WarmTerms

        return WarmTerms(min_scale=max(spec.min_scale, 1), max_scale=spec.max_scale, to_zero=False)

    def list(self) -> tuple[FunctionStatus, ...]:
        """Tell all about all functions, sorted by name; what is wrong with each, ``status`` tells."""
        deployments = self._door.list(DEPLOYMENT, SELECTOR)
        if not deployments:
            return ()
        things = (*self._door.list(REPLICA_SET, SELECTOR), *self._door.list(POD, SELECTOR))
        return tuple(status_of(each, things, ()) for each in deployments)

    def invoke(
        self, name: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, tag: str = ""
    ) -> Answer:
        """Send ``POST path`` to a function by the first way that opens; there are no tags."""
        self._deployment(name)
        if tag:
            raise InvalidInput(f"{name} has no tag {tag!r}: on {self.name} there are none", hints=(_TAGS_HINT,))
        return send(ways(self._door, name), Request(path, body, headers, timeout_s))

    def traffic(self, name: str, split: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
        """Go to the one revision that is given 100 percent; a share of less cannot be had here."""
        deployment = self._deployment(name)
        wanted = [each for each in split if each.percent]
        if len(wanted) != 1 or wanted[0].percent != 100 or any(each.tag for each in split):
            raise InvalidInput(
                f"the traffic of {name} cannot be split: on {self.name} one revision gets all requests, without tags",
                hints=(f"mlfn rollback {name} --to REVISION", _TAGS_HINT),
            )
        self._go_to(deployment, wanted[0].revision)
        return (Traffic(wanted[0].revision, 100),)

    def logs(self, name: str, *, follow: bool, tail: int) -> Iterator[LogLine]:
        """Yield what a function's instances wrote."""
        self._deployment(name)
        yield from function_logs(self._door, selector(name), follow=follow, tail=tail)

    def diagnose(self, name: str) -> tuple[Finding, ...]:
        """Say what is wrong with a function."""
        return self._findings(self._deployment(name), self._look(name))

    def remove(self, name: str) -> None:
        """Delete a function's objects; its instances end when they have answered what they have."""
        self._deployment(name)
        live = read_live(self._door, name)
        check_ours(live, force=False)
        for kind in reversed(KINDS):
            if live[kind] is not None:
                self._door.delete(kind, name, foreground=False)

    def _deployment(self, name: str) -> Object:
        found = self._door.get(DEPLOYMENT, name)
        if found is None or "deletionTimestamp" in found["metadata"]:
            raise NotFound(
                f"there is no function {name!r} in the namespace {self._door.namespace}",
                hints=("mlfn list shows what there is; -n names another namespace",),
            )
        if not self._is_ours(found):
            raise NotFound(
                f"there is no function {name!r} in the namespace {self._door.namespace}: "
                "the Deployment of that name is not managed by mlfn",
                hints=(f"take it over with mlfn deploy MODEL --name {name} --force",),
            )
        return found

    def _is_ours(self, deployment: Object) -> bool:
        try:
            check_ours({DEPLOYMENT: deployment}, force=False)
        except Conflict:
            return False
        return True

    def _look(self, name: str) -> Sight:
        things: builtins.list[Object] = []
        for kind in (REPLICA_SET, POD):
            things += self._door.list(kind, selector(name))
        return Sight(tuple(things), now=0.0, after_s=0.0)

    def _findings(self, deployment: Object, sight: Sight) -> tuple[Finding, ...]:
        now = current(deployment, sets_of(deployment, sight.objects))
        if now is None:
            return ()
        events = self._door.list(EVENT)
        seen = replace(sight, objects=(deployment, *sight.objects, *events))
        return self._evidence()(seen, now["metadata"]["name"])[1]

    def _evidence(self) -> Evidence:
        return Evidence(self._door, is_of)

    def _go_to(self, deployment: Object, revision: str) -> None:
        name = deployment["metadata"]["name"]
        sets = {each["metadata"]["name"]: each for each in self._sets(deployment)}
        if revision not in sets:
            raise InvalidInput(
                f"{name} has no revision {revision!r}",
                hints=(*did_you_mean(revision, sets), f"its revisions: {', '.join(sets)}"),
            )
        live = read_live(self._door, name)
        spec = at_least_one(read_spec(template_record(sets[revision])))
        back = with_template_of(deployment, sets[revision])
        back["spec"]["replicas"] = spec.min_scale
        if scales(spec):
            del back["spec"]["replicas"]
        Change(self._door, self._evidence(), _silent, fresh=False).run((back, *beside(spec)), _now(live, deployment))

    def _sets(self, deployment: Object) -> Sequence[Object]:
        return sets_of(deployment, self._door.list(REPLICA_SET, selector(deployment["metadata"]["name"])))


def _now(live: Live, deployment: Object) -> Live:
    """Return what is there, with the Deployment as it was when the way back was found."""
    return {**live, DEPLOYMENT: deployment}


def _check(spec: FunctionSpec) -> None:
    least = at_least_one(spec).min_scale
    if spec.max_scale and spec.max_scale < least:
        raise InvalidInput(
            f"--max-scale {spec.max_scale} is below the {least} that --min-scale asks for",
            hints=(f"--max-scale {least}, or leave it out for a fixed number of instances",),
        )
    if "PORT" in spec.env or "PORT" in spec.secret_env:
        raise InvalidInput(f"--env PORT: the platform sets it; the function listens on {PORT}")


def _notes(spec: FunctionSpec, namespace: str) -> tuple[Finding, ...]:
    where = address(spec.name, namespace)
    notes = [
        finding("behind-a-service", f"{spec.name} is reached from within the cluster, at {where}, and by mlfn invoke")
    ]
    if not spec.min_scale:
        message = f"{spec.name} keeps one instance: without Knative nothing wakes a function that has none"
        notes.append(finding("one-instance-kept", message, seen="--min-scale 0", expected="--min-scale 1 or more"))
    return tuple(notes)


def _silent(stage: str) -> None:
    """Take a stage and tell nobody."""
