"""Set the shares of traffic and the tags of a function, and take all of it away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlfn.errors import DeployFailed, InvalidInput, MlfnError, NotFound, TimedOut
from mlfn.function import Traffic
from mlfn.nearest import did_you_mean
from mlfn.platforms.knative.applying import apply_over
from mlfn.platforms.knative.objects import as_applied, with_traffic
from mlfn.platforms.knative.revisions import (
    SERVICE_LABEL,
    is_current,
    is_ready,
    targets,
    traffic_of,
)
from mlfn.platforms.kube.door import ClusterDoor, Selection
from mlfn.platforms.kube.instances import condition
from mlfn.platforms.kube.kinds import (
    CONFIGURATION,
    DEPLOYMENT,
    KNATIVE_SERVICE,
    POD_AUTOSCALER,
    REVISION,
    ROUTE,
    Object,
)
from mlfn.settings.values import FUNCTION_NAME

__all__ = ["remove_service", "set_traffic"]

_ROUTE_S = 60.0
_GONE_S = 60.0


def set_traffic(door: ClusterDoor, live: Object, split: Sequence[Traffic]) -> tuple[Traffic, ...]:
    """Set the shares and tags, wait until they hold, and return them with the tags' addresses.

    Raises InvalidInput (they do not sum to 100, no such revision …), Conflict (changed meanwhile), TimedOut, and
    DeployFailed when Knative refuses them: then they are as they were.
    """
    name = live["metadata"]["name"]
    revisions = {each["metadata"]["name"]: each for each in door.list(REVISION, f"{SERVICE_LABEL}={name}")}
    _check(name, split, revisions)
    stored = apply_over(door, with_traffic(as_applied(live), targets(split)), live)
    try:
        return traffic_of(_wait(door, stored))
    except DeployFailed:
        before = as_applied(live)
        before["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
        apply_over(door, before, stored)
        raise


def _check(name: str, split: Sequence[Traffic], revisions: dict[str, Object]) -> None:
    problems = []
    hints: tuple[str, ...] = ()
    total = sum(each.percent for each in split)
    if total != 100 or any(not 0 <= each.percent <= 100 for each in split):
        problems.append(f"the shares sum to {total}, expected 100")
    for each in split:
        if each.revision not in revisions:
            problems.append(f"{name} has no revision {each.revision!r}")
            hints += (*did_you_mean(each.revision, revisions), f"its revisions: {', '.join(sorted(revisions))}")
        elif condition(revisions[each.revision], "Ready").get("status") == "False" and each.percent:
            problems.append(f"revision {each.revision} is not ready and cannot take requests")
            hints += (f"why it is not: mlfn describe {name}",)
        if each.tag and not FUNCTION_NAME.fullmatch(each.tag):
            problems.append(f"{each.tag!r} is no tag: expected lower-case letters, digits and '-', a letter first")
    tags = Counter(each.tag for each in split if each.tag)
    problems += [f"the tag {tag} is given {count} times" for tag, count in tags.items() if count > 1]
    if problems:
        raise InvalidInput(
            f"the traffic of {name} cannot be set: {'; '.join(problems)}", hints=tuple(dict.fromkeys(hints))
        )


def _wait(door: ClusterDoor, stored: Object) -> Object:
    name, generation = stored["metadata"]["name"], stored["metadata"]["generation"]
    told: Object = {}
    for sight in door.watch(Selection(KNATIVE_SERVICE, fields=f"metadata.name={name}"), timeout_s=_ROUTE_S):
        for service in sight.objects:
            if service["metadata"]["generation"] < generation:
                continue
            if is_ready(service):
                return service
            told = dict(condition(service, "RoutesReady"))
            if is_current(service) and told.get("status") == "False":
                raise _refused(name, told)
    reason = told.get("message") or told.get("reason") or "no reason is given"
    raise TimedOut(
        f"the traffic of {name} was set, but did not hold within {_ROUTE_S:g} s: {reason}",
        hints=(f"what it is now: mlfn describe {name}",),
    )


def _refused(name: str, told: Object) -> MlfnError:
    return DeployFailed(
        f"the traffic of {name} cannot be as asked, and stays: {told.get('message') or told.get('reason')}",
        hints=(f"what it is now: mlfn describe {name}",),
    )


def remove_service(door: ClusterDoor, name: str, uid: str) -> None:
    """Delete a Service and return when its name is free: all is gone but pods that finish their requests.

    Deleted in the background: in the foreground the Service would stand there until its last pod has drained.
    """
    if not door.delete(KNATIVE_SERVICE, name, foreground=False, uid=uid):
        raise NotFound(f"there is no function {name!r} in the namespace {door.namespace}")
    own = f"{SERVICE_LABEL}={name}"
    selections = (
        Selection(KNATIVE_SERVICE, fields=f"metadata.name={name}"),
        Selection(REVISION, own),
        Selection(CONFIGURATION, own, needed=False),
        Selection(ROUTE, own, needed=False),
        # Named like their revision: a function of the same name, made at once, would find them in its way.
        Selection(DEPLOYMENT, own, needed=False),
        Selection(POD_AUTOSCALER, own, needed=False),
    )
    for sight in door.watch(*selections, timeout_s=_GONE_S):
        if not sight.objects:
            return
        left = ", ".join(f"{each['kind']} {each['metadata']['name']}" for each in sight.objects)
    raise TimedOut(f"{name} is deleted, but after {_GONE_S:g} s this is still there: {left}")
