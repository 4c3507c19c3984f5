"""A platform that keeps everything in memory: it obeys the protocol, and answers what a test told it to.

It stands in the same table as the built-ins, as a package that somebody installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from mlfn.errors import MlfnError, NotFound
from mlfn.function import (
    Answer,
    Deployed,
    Finding,
    FunctionSpec,
    FunctionStatus,
    Instance,
    LogLine,
    ModelPackage,
    Revision,
    ScaleDecision,
    Traffic,
)
from mlfn.platforms import Capabilities, DeployRequest, Progress

CREATED_AT = 1_700_000_000.0


@dataclass
class World:
    """Hold what is deployed, and what goes wrong next."""

    functions: dict[str, FunctionStatus] = field(default_factory=dict)
    sent: list[tuple[str, bytes, Mapping[str, str], float]] = field(default_factory=list)
    specs: list[FunctionSpec] = field(default_factory=list)
    answer: Answer = field(default_factory=lambda: Answer(200, {}, b'{"outputs": []}', 0.0123))
    fails_with: BaseException | None = None
    log: tuple[LogLine, ...] = ()
    denies: frozenset[str] = frozenset()
    """Capabilities that the platform does not have."""


WORLD = World()


class MemoryPlatform:
    """Deploy to a dictionary."""

    name = "memory"

    @property
    def capabilities(self) -> Capabilities:
        """Return what it can do, as the test says."""
        return Capabilities(
            scale_to_zero=False,
            traffic_split="traffic_split" not in WORLD.denies,
            logs_follow=True,
            revisions="revisions" not in WORLD.denies,
            images=False,
            settings=frozenset(each.name for each in fields(FunctionSpec)) - {"warm"},
        )

    def deploy(self, request: DeployRequest, *, progress: Progress) -> Deployed:
        """Keep the function."""
        spec, package = request.spec, request.package
        WORLD.specs.append(spec)
        progress("starting instance")
        if WORLD.fails_with:
            raise WORLD.fails_with
        before = WORLD.functions.get(spec.name)
        changed = before is None or (before.digest, before.spec) != (package.digest, spec)
        number = len(before.revisions) + 1 if before and changed else len(before.revisions) if before else 1
        revision = f"{spec.name}-{number:05d}"
        if changed:
            WORLD.functions[spec.name] = _status(spec, package, revision, before)
        return Deployed(
            name=spec.name,
            platform=self.name,
            url=f"memory:{spec.name}",
            revision=revision,
            previous=before.revisions[-1].name if before else None,
            digest=package.digest,
            changed=changed,
            ready=request.wait,
            seconds={"start": 0.5},
            findings=package.findings,
        )

    def status(self, name: str) -> FunctionStatus:
        """Return the function."""
        if name not in WORLD.functions:
            raise NotFound(f"there is no function {name!r} on memory")
        return WORLD.functions[name]

    def list(self) -> tuple[FunctionStatus, ...]:
        """Return all functions."""
        return tuple(WORLD.functions[name] for name in sorted(WORLD.functions))

    def invoke(
        self, name: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, tag: str = ""
    ) -> Answer:
        """Keep the request, answer what was told."""
        self.status(name)
        WORLD.sent.append((path, body, headers, timeout_s))
        if WORLD.fails_with:
            raise WORLD.fails_with
        return WORLD.answer

    def traffic(self, name: str, split: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
        """Set it, with an address for each tag."""
        placed = tuple(replace(each, url=f"memory:{each.tag}-{name}" if each.tag else "") for each in split)
        WORLD.functions[name] = replace(self.status(name), traffic=placed)
        return placed

    def logs(self, name: str, *, follow: bool, tail: int) -> Iterator[LogLine]:
        """Yield what was told."""
        self.status(name)
        yield from WORLD.log if tail < 0 else WORLD.log[len(WORLD.log) - tail :]
        if follow:
            raise KeyboardInterrupt

    def diagnose(self, name: str) -> tuple[Finding, ...]:
        """Return the findings."""
        return self.status(name).findings

    def remove(self, name: str) -> None:
        """Forget the function."""
        self.status(name)
        del WORLD.functions[name]


def connect(settings: Mapping[str, str]) -> MemoryPlatform:
    """Return the platform. Two ports are bad luck: 13 fails as a platform should, 14 as none should."""
    if settings.get("local.port") == "13":
        raise MlfnError("no platform on port 13")
    if settings.get("local.port") == "14":
        raise ZeroDivisionError("division by zero")
    return MemoryPlatform()


def _status(spec: FunctionSpec, package: ModelPackage, revision: str, before: FunctionStatus | None) -> FunctionStatus:
    revisions = before.revisions if before else ()
    return FunctionStatus(
        name=spec.name,
        platform="memory",
        url=f"memory:{spec.name}",
        ready=True,
        spec=spec,
        digest=package.digest,
        format=package.format,
        signature=package.signature,
        created_at=CREATED_AT,
        revisions=(*revisions, Revision(revision, package.digest, CREATED_AT, "ready", {})),
        traffic=(Traffic(revision, 100),),
        instances=(Instance("i-1", revision, "ready", 42, "127.0.0.1:1", CREATED_AT, 2**25, 0, 0),),
        decisions=(ScaleDecision(CREATED_AT, revision, 0, 1, "first request"),),
        last_errors=("it was tired",),
        urls=(f"memory:{spec.name}",),
    )
