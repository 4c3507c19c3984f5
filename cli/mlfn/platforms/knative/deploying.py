"""Deploy on Knative, all or nothing: a new revision gets requests only once it is ready, and else leaves no trace.

In two steps. First the template changes while the traffic is held where it is, by revision names; when the revision is
ready, all requests go to it. So nothing that happens between (a crash of the revision, of this program, a rollback
before) moves traffic to what is not ready. A failure puts the Service back to the template that served, under the same
revision name, and deletes the revision that failed; a first deploy that fails deletes the Service. What a deploy leaves
that is killed between the two steps, the next one deletes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from mlfn.errors import Conflict, DeployFailed, InvalidInput, MlfnError, NotFound, TimedOut, Unreachable
from mlfn.function import Deployed
from mlfn.platforms import DeployRequest, Progress
from mlfn.platforms.knative.applying import apply_over
from mlfn.platforms.knative.manifests import LATEST
from mlfn.platforms.knative.objects import (
    as_applied,
    left_over,
    same_template,
    under_way,
    with_template_of,
    with_traffic,
)
from mlfn.platforms.knative.revisions import (
    SERVICE_LABEL,
    is_used,
    kept_tags,
    next_name,
    serving,
    settled,
    superfluous,
    template_name,
)
from mlfn.platforms.knative.taking_back import Change, take_back
from mlfn.platforms.knative.waiting import Awaited, wait_for_revision, wait_for_traffic
from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.failing import Diagnose, taken_back
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE, REVISION, Object
from mlfn.platforms.kube.records import is_managed

__all__ = ["Deploy", "check_ours", "planned"]

_NO_GC = {"metadata": {"annotations": {"serving.knative.dev/no-gc": "true"}}}


class Deploy:
    """Carry out one deploy."""

    def __init__(
        self,
        door: ClusterDoor,
        request: DeployRequest,
        *,
        diagnose: Diagnose,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door = door
        self._request = request
        self._diagnose = diagnose
        self._progress = progress
        self._clock = clock
        self._name = request.spec.name
        self._started = clock()
        self._seconds: dict[str, float] = {}

    def run(self, wanted: Object) -> tuple[Deployed, Object]:
        """Make ``wanted`` serve and return what came of it, with the Service as it is now.

        Raises Conflict, DeployFailed, TimedOut and what the cluster refuses.
        """
        live = self._door.get(KNATIVE_SERVICE, self._name)
        if live is not None:
            check_ours(live, force=self._request.force)
        before = serving(live)
        if live is not None and same_template(wanted, live) and settled(live, template_name(live)):
            return self._told(live, live, previous=None), live
        if not self._request.wait:
            stored = self._at_once(wanted, live, before)
            return self._told(stored, live, previous=before), stored
        service = self._in_two_steps(wanted, live, before)
        previous = before if before != template_name(service) else None
        if previous:
            self._keep(service, previous)
        if live is not None and (unused := left_over(live)) and not is_used(service, unused):
            self._door.delete(REVISION, unused, foreground=False)
        return self._told(service, live, previous=previous), service

    def _at_once(self, wanted: Object, live: Object | None, before: str | None) -> Object:
        """Write both steps in one, for who does not wait: Knative shifts the traffic when the revision is ready."""
        newest = live.get("status", {}).get("latestReadyRevisionName") if live is not None else None
        if before is not None and before != newest:
            raise InvalidInput(
                f"{before} serves {self._name}, not its newest revision {newest}: without waiting, Knative would first "
                f"send its requests to {newest}",
                hints=("deploy without --no-wait",),
            )
        return self._apply(_final(wanted, live), live)

    def _in_two_steps(self, wanted: Object, live: Object | None, before: str | None) -> Object:
        self._progress("applying")
        first = _staged(wanted, live)
        change = Change(self._name, template_name(first), live)
        if live is not None:
            first = under_way(first, change.revision)
        try:
            self._write(change, first, live)
            self._wait(change, "revision")
            self._seconds["start"] = self._clock() - self._started
            if live is not None:
                self._progress("shifting the traffic")
                current = self._current(change)
                self._write(change, with_traffic(as_applied(current), _all_to_latest(live)), current)
            self._wait(change, "traffic")
            return self._current(change)
        except (DeployFailed, TimedOut, Unreachable) as error:
            serves = f"{before} serves on" if before else f"nothing of {self._name} stays"
            self._progress("taking it back")
            undo = partial(take_back, self._door, change)
            raise taken_back(error, undo, change=change.revision, serves=serves) from error
        except BaseException:
            # Ctrl-C, a conflict, a right that is missing, and whatever nobody thought of.
            take_back(self._door, change)
            raise

    def _write(self, change: Change, thing: Object, base: Object | None) -> None:
        """Apply, and note the generation first: an interrupt may come between the write and its answer."""
        change.generations.add(base["metadata"]["generation"] + 1 if base is not None else 1)
        try:
            stored = self._apply(thing, base)
        except MlfnError:
            change.generations.clear()
            raise
        change.generations = {stored["metadata"]["generation"]}

    def _wait(self, change: Change, what: str) -> None:
        left_s = max(1.0, self._request.wait_timeout_s - (self._clock() - self._started))
        awaited = Awaited(self._name, change.revision, max(change.generations), left_s)
        if what == "revision":
            wait_for_revision(self._door, awaited, self._diagnose, self._progress)
        else:
            wait_for_traffic(self._door, awaited, self._diagnose)

    def _current(self, change: Change) -> Object:
        live = self._door.get(KNATIVE_SERVICE, self._name)
        if live is None or not change.is_ours(live):
            raise Conflict(
                f"somebody else changed {self._name} while {change.revision} was being deployed",
                hints=(f"see what it is: mlfn describe {self._name}", "deploy again to replace it"),
            )
        return live

    def _apply(self, thing: Object, base: Object | None) -> Object:
        return apply_over(self._door, thing, base, force=self._request.force)

    def _keep(self, service: Object, previous: str) -> None:
        """Keep the revision that served as a target of a rollback, and no more old ones than are of use."""
        try:
            self._door.patch(REVISION, previous, _NO_GC)
            revisions = self._door.list(REVISION, f"{SERVICE_LABEL}={self._name}")
            for name in superfluous(service, revisions):
                self._door.delete(REVISION, name, foreground=False)
        except NotFound:
            return

    def _told(self, service: Object, live: Object | None, *, previous: str | None) -> Deployed:
        revision = template_name(service)
        return Deployed(
            name=self._name,
            platform="knative",
            url=service.get("status", {}).get("url", ""),
            revision=revision,
            previous=previous,
            digest=self._request.package.digest,
            changed=live is None or service["metadata"]["generation"] != live["metadata"]["generation"],
            ready=settled(service, revision),
            seconds={**self._seconds, "total": self._clock() - self._started},
            image=self._request.image,
        )


def check_ours(live: Object, *, force: bool) -> None:
    """Refuse to change what mlfn does not manage, or what is about to go. Raises Conflict."""
    metadata = live["metadata"]
    if "deletionTimestamp" in metadata:
        raise Conflict(f"{metadata['name']} is being deleted", hints=("try again when it is gone",))
    if is_managed(live) or force:
        return
    owner = (metadata.get("annotations") or {}).get("serving.knative.dev/creator", "somebody else")
    raise Conflict(
        f"the Knative Service {metadata['name']} in {metadata['namespace']} is not managed by mlfn: {owner} made it",
        hints=("choose another --name", "or take it over with --force"),
    )


def planned(wanted: Object, live: Object | None) -> Object:
    """Return what a Service would be in the end, for the API to check, whatever moves meanwhile."""
    thing = _final(wanted, live)
    metadata = {key: value for key, value in thing["metadata"].items() if key != "resourceVersion"}
    return {**thing, "metadata": metadata}


def _final(wanted: Object, live: Object | None) -> Object:
    return with_traffic(_staged(wanted, live), _all_to_latest(live))


def _staged(wanted: Object, live: Object | None) -> Object:
    """Return the first step: the new template under its name, with the traffic held where it is."""
    if live is not None and same_template(wanted, live):
        return as_applied(live)
    return with_template_of(wanted, live, next_name(live, wanted["metadata"]["name"]))


def _all_to_latest(live: Object | None) -> list[Object]:
    return [dict(LATEST), *kept_tags(live)]
