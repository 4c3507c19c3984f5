"""Change which revisions of a function get its requests, and under which tags they are reached, on any platform.

The words are those of ``kn``: ``REVISION=PERCENT`` (``@latest`` is the newest ready one), tags, untags. Everything that
is wrong is said at once, with the command that would be right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlfn.errors import InvalidInput, NotFound
from mlfn.function import FunctionStatus, Traffic
from mlfn.nearest import did_you_mean
from mlfn.platforms import Platform

__all__ = ["LATEST", "TrafficChange", "change_traffic", "ready_revisions", "require"]

LATEST = "@latest"
"""Stands for the newest ready revision."""


@dataclass(frozen=True, slots=True)
class TrafficChange:
    """Say what is to be different; what is not named stays, but shares, once one is given, are given whole."""

    shares: tuple[tuple[str, int], ...] = ()
    """Revision and percentage; they sum to 100."""
    tags: tuple[tuple[str, str], ...] = ()
    """Revision and its tag."""
    untags: tuple[str, ...] = ()


def change_traffic(platform: Platform, name: str, change: TrafficChange) -> tuple[Traffic, ...]:
    """Make the change and return the split that is in force then. Raises NotFound, InvalidInput, Conflict."""
    require(platform, "traffic_split", "split traffic")
    status = platform.status(name)
    change = _named(status, change)
    unknown = [*_unknown(status, change), *_unknown_tags(status, change)]
    wrong = [*_wrong_sum(status, change), *_wrong_tags(status, change)]
    problems = unknown + wrong
    if problems:
        raise (InvalidInput if wrong else NotFound)(
            "; ".join(message for message, _ in problems),
            hints=tuple(dict.fromkeys(hint for _, hints in problems for hint in hints)),
        )
    return platform.traffic(name, _split(status, change))


def require(platform: Platform, capability: str, what: str) -> None:
    """Refuse what the platform says it cannot do. Raises InvalidInput."""
    if not getattr(platform.capabilities, capability):
        raise InvalidInput(
            f"the platform {platform.name} cannot {what}",
            hints=("choose a platform that can: --platform knative, or --platform local",),
        )


def ready_revisions(status: FunctionStatus) -> list[str]:
    """Return the names of the revisions that can serve, oldest first."""
    ready = [revision for revision in status.revisions if revision.state == "ready"]
    return [revision.name for revision in sorted(ready, key=lambda each: (each.created_at, each.name))]


def _named(status: FunctionStatus, change: TrafficChange) -> TrafficChange:
    """Put names in place of ``@latest``."""
    ready = ready_revisions(status)

    def name(revision: str) -> str:
        if revision != LATEST:
            return revision
        if not ready:
            raise InvalidInput(
                f"{status.name} has no ready revision yet, so there is no {LATEST}",
                hints=(f"mlfn describe {status.name}",),
            )
        return ready[-1]

    return TrafficChange(
        tuple((name(revision), percent) for revision, percent in change.shares),
        tuple((name(revision), tag) for revision, tag in change.tags),
        change.untags,
    )


Problem = tuple[str, tuple[str, ...]]
"""What is wrong, and what to do about it."""


def _unknown(status: FunctionStatus, change: TrafficChange) -> Iterable[Problem]:
    ready = ready_revisions(status)
    for revision in dict.fromkeys(revision for revision, _ in (*change.shares, *change.tags)):
        if revision not in ready:
            known = ", ".join(ready) or "none"
            yield f"{status.name} has no ready revision {revision!r}; ready: {known}", did_you_mean(revision, ready)


def _wrong_sum(status: FunctionStatus, change: TrafficChange) -> Iterable[Problem]:
    named = [revision for revision, _ in change.shares]
    for revision in dict.fromkeys(each for each in named if named.count(each) > 1):
        yield f"{revision} is given two shares", ()
    total = sum(percent for _, percent in change.shares)
    if change.shares and total != 100:
        words = " ".join(f"{revision}={percent}" for revision, percent in _corrected(status, dict(change.shares)))
        hints = (f"mlfn traffic {status.name} {words}",) if set(named) <= set(ready_revisions(status)) else ()
        yield f"the shares sum to {total}, expected 100", hints


def _corrected(status: FunctionStatus, shares: dict[str, int]) -> list[tuple[str, int]]:
    """Return shares that sum to 100 and are as near to those given as can be said without knowing the wish."""
    missing = 100 - sum(shares.values())
    serving = sorted(status.traffic, key=lambda each: -each.percent)
    others = [each.revision for each in serving if each.percent and each.revision not in shares]
    if missing > 0 and others:
        return [*shares.items(), (others[0], missing)]
    last = next(reversed(shares))
    if shares[last] + missing >= 0:
        return list({**shares, last: shares[last] + missing}.items())
    whole = sum(shares.values())
    scaled = {revision: percent * 100 // whole for revision, percent in shares.items()}
    return list({**scaled, last: scaled[last] + 100 - sum(scaled.values())}.items())


def _unknown_tags(status: FunctionStatus, change: TrafficChange) -> Iterable[Problem]:
    held = {each.tag for each in status.traffic if each.tag}
    for tag in change.untags:
        if tag not in held:
            known = ", ".join(sorted(held)) or "none"
            yield f"{status.name} has no tag {tag!r}; tags: {known}", did_you_mean(tag, held)


def _wrong_tags(status: FunctionStatus, change: TrafficChange) -> Iterable[Problem]:
    held = {each.tag: each.revision for each in status.traffic if each.tag}
    wanted: dict[str, str] = {}
    for revision, tag in change.tags:
        if wanted.setdefault(tag, revision) != revision:
            yield f"the tag {tag} is given to two revisions, {wanted[tag]} and {revision}", ()
        elif tag in held and held[tag] != revision and tag not in change.untags:
            command = f"mlfn traffic {status.name} --untag {tag} --tag {revision}={tag}"
            yield f"the tag {tag} belongs to {held[tag]}", (f"{command}  # moves it",)


def _split(status: FunctionStatus, change: TrafficChange) -> tuple[Traffic, ...]:
    """Return the whole split: each revision once with its share, and once more for each further tag."""
    shares: dict[str, int] = {}
    tags: dict[str, list[str]] = {}
    for each in status.traffic:
        shares[each.revision] = shares.get(each.revision, 0) + each.percent
        if each.tag and each.tag not in change.untags:
            tags.setdefault(each.revision, []).append(each.tag)
    for revision, tag in change.tags:
        if tag not in tags.setdefault(revision, []):
            tags[revision].append(tag)
    if change.shares:
        shares = dict(change.shares)
    found = []
    busy = {revision for revision, percent in shares.items() if percent}
    for revision in sorted(busy | {revision for revision in tags if tags[revision]}):
        first, *further = tags.get(revision) or [""]
        found.append(Traffic(revision, shares.get(revision, 0), first))
        found += [Traffic(revision, 0, tag) for tag in further]
    return tuple(found)
