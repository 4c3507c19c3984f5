"""Deploy on Knative, all or nothing: a new revision gets requests only once it is ready, and else leaves no trace.

In two steps. First the template changes while the traffic is held where it is, by revision names; when the revision is
ready, all requests go to it. So nothing that happens between (a crash of the revision, of this program, a rollback
before) moves traffic to what is not ready. A failure puts the Service back to the template that served, under the same
revision name, and deletes the revision that failed; a first deploy that fails deletes the Service.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mlfn.errors import Conflict, DeployFailed, MlfnError, NotFound, TimedOut, Unreachable
from mlfn.function import Deployed
from mlfn.platforms import DeployRequest, Progress
from mlfn.platforms.knative.applying import apply_over
from mlfn.platforms.knative.manifests import LATEST
from mlfn.platforms.knative.objects import as_applied, same_template, with_template_of, with_traffic
from mlfn.platforms.knative.revisions import (
    SERVICE_LABEL,
    kept_tags,
    next_name,
    serving,
    settled,
    superfluous,
    template_name,
)
from mlfn.platforms.knative.routing import remove_service
from mlfn.platforms.knative.waiting import Awaited, wait_for_revision, wait_for_traffic, wait_until_seen
from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.failing import Diagnose
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE, REVISION, Object
from mlfn.platforms.kube.records import is_managed

__all__ = ["Deploy", "check_ours", "staged"]

_RESTORED_S = 10.0
"""How long Knative may take to say that a Service is again what it was; it serves meanwhile."""
_NO_GC = {"metadata": {"annotations": {"serving.knative.dev/no-gc": "true"}}}


@dataclass(frozen=True, slots=True)
class _Written:
    """What a deploy has changed so far."""

    revision: str
    generation: int
    before: Object | None
    """The Service as it was; None for a first deploy."""


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

    def run(self, wanted: Object) -> Deployed:
        """Make ``wanted`` serve. Raises Conflict, DeployFailed, TimedOut and what the cluster refuses."""
        live = self._door.get(KNATIVE_SERVICE, self._name)
        if live is not None:
            check_ours(live, force=self._request.force)
        previous = serving(live)
        if live is not None and same_template(wanted, live) and settled(live, template_name(live)):
            return self._told(live, template_name(live), previous=None, changed=False)
        if not self._request.wait:
            stored = self._apply(_final(wanted, live), live)
            return self._told(stored, template_name(stored), previous=previous, changed=True)
        service, revision = self._in_two_steps(wanted, live, previous)
        if previous and previous != revision:
            self._keep(service, previous)
        changed = live is None or service["metadata"]["generation"] != live["metadata"]["generation"]
        return self._told(service, revision, previous=previous if previous != revision else None, changed=changed)

    def _in_two_steps(self, wanted: Object, live: Object | None, previous: str | None) -> tuple[Object, str]:
        self._progress("applying")
        stored = self._apply(staged(wanted, live), live)
        written = _Written(template_name(stored), stored["metadata"]["generation"], live)
        try:
            self._wait(written, wait_for_revision)
            self._seconds["start"] = self._clock() - self._started
            if live is None:
                return self._wait(written, wait_for_traffic), written.revision
            self._progress("shifting the traffic")
            current = self._current(written)
            stored = self._apply(with_traffic(as_applied(current), _all_to_latest(live)), current)
            written = replace(written, generation=stored["metadata"]["generation"])
            return self._wait(written, wait_for_traffic), written.revision
        except (DeployFailed, TimedOut, Unreachable) as error:
            raise self._undone(written, previous, error) from error
        except BaseException as error:
            # Ctrl-C, and whatever nobody thought of: what served before serves on.
            if not isinstance(error, Conflict):
                self._undo(written)
            raise

    def _wait(self, written: _Written, until: Callable[..., object]) -> Object:
        left_s = max(1.0, self._request.wait_timeout_s - (self._clock() - self._started))
        awaited = Awaited(self._name, written.revision, written.generation, left_s)
        if until is wait_for_revision:
            wait_for_revision(self._door, awaited, self._diagnose, self._progress)
        else:
            wait_for_traffic(self._door, awaited, self._diagnose)
        return self._current(written)

    def _current(self, written: _Written) -> Object:
        live = self._door.get(KNATIVE_SERVICE, self._name)
        if live is None or live["metadata"]["generation"] != written.generation:
            raise Conflict(
                f"somebody else changed {self._name} while {written.revision} was being deployed",
                hints=(f"see what it is: mlfn describe {self._name}", "deploy again to replace it"),
            )
        return live

    def _apply(self, thing: Object, base: Object | None) -> Object:
        return apply_over(self._door, thing, base, force=self._request.force)

    def _undone(self, written: _Written, previous: str | None, error: MlfnError) -> MlfnError:
        """Take the change back and return the error with what now serves."""
        serves = f"{previous} serves on" if previous else f"nothing of {self._name} stays"
        told = f"{written.revision} did not become ready: " if isinstance(error, DeployFailed) else ""
        try:
            self._progress("taking it back")
            self._undo(written)
        except MlfnError as failure:
            left = f"and {written.revision} could not be taken back: {failure.message}"
            return type(error)(
                f"{told}{error.message}; {left}", hints=(*error.hints, *failure.hints), details=error.details
            )
        return type(error)(f"{told}{error.message}; {serves}", hints=error.hints, details=error.details)

    def _undo(self, written: _Written) -> None:
        """Put back what was, unless somebody else changed it meanwhile: then it is theirs."""
        try:
            live = self._current(written)
            if written.before is None:
                remove_service(self._door, self._name, live["metadata"]["uid"])
                return
            restored = as_applied(written.before)
            restored["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
            stored = apply_over(self._door, restored, live, force=True)
        except (Conflict, NotFound):
            return
        seen = wait_until_seen(self._door, stored, timeout_s=_RESTORED_S)
        # Before Knative has seen what is wanted now, it would make the revision again.
        if seen and written.revision != template_name(written.before):
            self._door.delete(REVISION, written.revision, foreground=False)

    def _keep(self, service: Object, previous: str) -> None:
        """Keep the revision that served as a target of a rollback, and no more old ones than are of use."""
        try:
            self._door.patch(REVISION, previous, _NO_GC)
            revisions = self._door.list(REVISION, f"{SERVICE_LABEL}={self._name}")
            for name in superfluous(service, revisions):
                self._door.delete(REVISION, name, foreground=False)
        except NotFound:
            return

    def _told(self, service: Object, revision: str, *, previous: str | None, changed: bool) -> Deployed:
        return Deployed(
            name=self._name,
            platform="knative",
            url=service.get("status", {}).get("url", ""),
            revision=revision,
            previous=previous,
            digest=self._request.package.digest,
            changed=changed,
            ready=settled(service, revision),
            seconds={**self._seconds, "total": self._clock() - self._started},
            image=self._request.image,
        )


def check_ours(live: Object, *, force: bool) -> None:
    """Refuse to change what mlfn does not manage. Raises Conflict."""
    if is_managed(live) or force:
        return
    metadata = live["metadata"]
    owner = (metadata.get("annotations") or {}).get("serving.knative.dev/creator", "somebody else")
    raise Conflict(
        f"the Knative Service {metadata['name']} in {metadata['namespace']} is not managed by mlfn: {owner} made it",
        hints=("choose another --name", "or take it over with --force"),
    )


def staged(wanted: Object, live: Object | None) -> Object:
    """Return the first step: the new template under its name, with the traffic held where it is."""
    if live is not None and same_template(wanted, live):
        return as_applied(live)
    return with_template_of(wanted, live, next_name(live, wanted["metadata"]["name"]))


def _final(wanted: Object, live: Object | None) -> Object:
    """Return both steps in one, for who does not wait: Knative shifts the traffic when the revision is ready."""
    return with_traffic(staged(wanted, live), _all_to_latest(live))


def _all_to_latest(live: Object | None) -> list[Object]:
    return [dict(LATEST), *kept_tags(live)]
