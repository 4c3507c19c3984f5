"""Bring an earlier revision of a function back, on any platform."""

from __future__ import annotations

from dataclasses import dataclass

from mlfn.delivery.traffic import LATEST, ready_revisions, require
from mlfn.errors import InvalidInput, NotFound
from mlfn.function import FunctionStatus, Traffic
from mlfn.nearest import did_you_mean
from mlfn.platforms import Platform

__all__ = ["RolledBack", "roll_back"]


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Tell what came of it."""

    revision: str
    """What has all traffic now."""
    previous: str
    """What had the most traffic before."""
    changed: bool
    """False when the revision had all traffic already: nothing was done."""
    traffic: tuple[Traffic, ...]


def roll_back(platform: Platform, name: str, to: str = "") -> RolledBack:
    """Give all traffic to revision ``to``, else to the newest ready one before that with the most traffic.

    Tags stay where they are. Raises NotFound, InvalidInput, and what the platform's ``traffic`` raises.
    """
    require(platform, "revisions", "go back: it keeps no revisions")
    status = platform.status(name)
    shares: dict[str, int] = {}
    for each in status.traffic:
        shares[each.revision] = shares.get(each.revision, 0) + each.percent
    ready = ready_revisions(status)
    serving = max(shares, key=lambda revision: (shares[revision], revision), default="")
    target = _chosen(status, ready, to) if to else _before(status, ready, serving)
    if shares.get(target) == 100:
        return RolledBack(target, serving, False, status.traffic)
    return RolledBack(target, serving, True, platform.traffic(name, _all_to(target, status)))


def _chosen(status: FunctionStatus, ready: list[str], to: str) -> str:
    if to == LATEST and ready:
        return ready[-1]
    if to in ready:
        return to
    states = {revision.name: revision.state for revision in status.revisions}
    known = ", ".join(ready) or "none"
    if to in states:
        raise InvalidInput(f"revision {to} of {status.name} is {states[to]}, expected ready; ready: {known}")
    raise NotFound(f"{status.name} has no revision {to!r}; ready: {known}", hints=did_you_mean(to, ready))


def _before(status: FunctionStatus, ready: list[str], serving: str) -> str:
    """Return the newest ready revision that is older than the one that serves."""
    order = [each.name for each in sorted(status.revisions, key=lambda each: (each.created_at, each.name))]
    older = order[: order.index(serving)] if serving in order else order
    found = [revision for revision in older if revision in ready]
    if not found:
        split = len([each for each in status.traffic if each.percent]) > 1
        alone = (f"mlfn rollback {status.name} --to {serving}  # all requests to it",) if split else ()
        raise InvalidInput(
            f"{status.name} has no ready revision before {serving or 'the first'}; ready: {', '.join(ready) or 'none'}",
            hints=(*alone, f"mlfn describe {status.name}  # shows all revisions"),
        )
    return found[-1]


def _all_to(target: str, status: FunctionStatus) -> tuple[Traffic, ...]:
    """Return the split with all requests to one revision and every tag where it was."""
    tags = [(each.revision, each.tag) for each in status.traffic if each.tag]
    own, *further = [tag for revision, tag in tags if revision == target] or [""]
    found = [Traffic(target, 100, own), *(Traffic(target, 0, tag) for tag in further)]
    found += [Traffic(revision, 0, tag) for revision, tag in tags if revision != target]
    return tuple(sorted(found, key=lambda each: (each.revision, each.tag)))
