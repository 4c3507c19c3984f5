"""Where functions run: one protocol, and one module per platform behind the ``mlfn.platforms`` entry points.

The platforms do not know each other, nor the models. ``tests/conformance`` is one suite for all of them; a platform
skips only what its ``capabilities`` deny.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mlfn.function import (
    Answer,
    Deployed,
    Finding,
    FunctionSpec,
    FunctionStatus,
    ImageRef,
    LogLine,
    ModelPackage,
    Traffic,
    Warmth,
)

if TYPE_CHECKING:
    from mlfn_policies.warm import WarmTerms
    from mlfn_policies.warm_openwhisk import TouchPlan

__all__ = [
    "Capabilities",
    "Connect",
    "DeployRequest",
    "Foresees",
    "KeepsWarm",
    "Manifests",
    "Planned",
    "Platform",
    "Progress",
    "Project",
    "Projects",
    "Touches",
]


class Progress(Protocol):
    """Take short present-tense stage names ("copying model", "starting instance") as they begin."""

    def __call__(self, stage: str) -> None:
        """Tell that ``stage`` begins."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Say what a platform can do; the conformance suite skips what is denied here, and the docs list it."""

    scale_to_zero: bool
    traffic_split: bool
    """Shares in percent, and tags."""
    logs_follow: bool
    revisions: bool
    images: bool
    """Functions are container images: a deploy builds one and needs a registry."""
    settings: frozenset[str]
    """The fields of FunctionSpec that the platform honours; a deploy that sets another one is refused."""
    instances: bool = True
    """Whether it tells which copies of a function run."""
    paths: bool = True
    """Whether a request has a path; else a function is called, and answers its inference."""


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """Hold all that a deploy is about."""

    spec: FunctionSpec
    package: ModelPackage
    image: ImageRef | None = None
    """The pushed image; None where the platform's capabilities deny images."""
    wait: bool = True
    """Return when ready; else at once."""
    wait_timeout_s: float = 600.0
    force: bool = False
    """Take over objects that mlfn does not manage yet."""
    companions: tuple[dict[str, Any], ...] = ()
    """Objects to keep beside the function and owned by it, such as what pings it; those of before go."""
    warm: str = ""
    """How it is kept warm and what that costs, in words."""


class Platform(Protocol):
    """Deploy, look at and remove functions. Every method raises :class:`mlfn.errors.MlfnError` and nothing else."""

    name: str
    capabilities: Capabilities

    def deploy(self, request: DeployRequest, *, progress: Progress) -> Deployed:
        """Make a revision of the request's model serve as ``spec.name``; return when ready (at once, without ``wait``).

        On failure, or when interrupted, what served before serves on and nothing of the new revision stays.
        """

    def status(self, name: str) -> FunctionStatus:
        """Tell all about one function. Raises NotFound."""

    def list(self) -> tuple[FunctionStatus, ...]:
        """Tell all about all functions, sorted by name."""

    def invoke(
        self, name: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, tag: str = ""
    ) -> Answer:
        """Send ``POST path`` to a function and return its answer, whatever its status. Raises NotFound, Unreachable.

        With ``tag`` the request goes to that tag's revision alone.
        """

    def traffic(self, name: str, split: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
        """Set the shares (they sum to 100) and tags, and return them. Raises NotFound, InvalidInput.

        What is not named loses its share and its tag.
        """

    def logs(self, name: str, *, follow: bool, tail: int) -> Iterator[LogLine]:
        """Yield the last ``tail`` lines of a function's instances (-1 = all), then new ones with ``follow``."""

    def diagnose(self, name: str) -> tuple[Finding, ...]:
        """Say what is wrong with a function, nothing when it is well."""

    def remove(self, name: str) -> None:
        """Delete a function and all that belongs to it. Raises NotFound."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Hold what a deploy would make of one object of an API."""

    before: dict[str, Any] | None
    """None where it would be made."""
    after: dict[str, Any] | None
    """None where it would be deleted."""


@runtime_checkable
class Manifests(Protocol):
    """What a platform can do besides whose deploys are objects of an API."""

    def manifests(self, request: DeployRequest) -> tuple[dict[str, Any], ...]:
        """Return the objects that a deploy would apply; asks nobody."""

    def dry_run(self, request: DeployRequest) -> tuple[Planned, ...]:
        """Have the API check them, change nothing, and return them as they are and as they would be stored."""


@dataclass(frozen=True, slots=True)
class Project:
    """What a deploy would do on a platform that is driven by commands: a manifest, and the commands."""

    name: str
    manifest: dict[str, Any]
    commands: tuple[tuple[str, ...], ...]
    """The words of each, without the program."""


@runtime_checkable
class Projects(Protocol):
    """What a platform can do besides whose deploys are commands."""

    def project(self, request: DeployRequest) -> Project:
        """Return what a deploy would do, for Git; asks nobody."""


@runtime_checkable
class Foresees(Protocol):
    """What a platform of images can do besides: refuse before one is built and pushed, which may take minutes."""

    def foresee(self, spec: FunctionSpec, *, force: bool) -> None:
        """Raise what ``deploy`` would raise whatever the image is; changes nothing."""


class KeepsWarm(Protocol):
    """What a platform can do besides whose capabilities list the setting ``warm``."""

    def warm_terms(self, spec: FunctionSpec) -> WarmTerms:
        """Return how the platform scales such a function to zero, what may be set, and what would send pings.

        ``status`` then tells in ``warm`` what was made of it.
        """


@runtime_checkable
class Touches(Protocol):
    """What a platform can do besides where a call keeps one instance, and records tell which calls were cold."""

    def touch_plan(self, name: str, instances: int, period_s: int) -> TouchPlan:
        """Return how often ``instances`` calls at once keep as many warm. Raises InvalidInput, NotFound."""

    def touch(self, name: str, plan: TouchPlan) -> None:
        """Send one round of calls. Raises MlfnError."""

    def warmth(self, name: str) -> Warmth:
        """Tell from the newest records how warm a function has been. Raises NotFound."""


class Connect(Protocol):
    """Make a platform from the user's settings (``local.state_dir``, ``cluster.namespace`` …); does no IO by itself."""

    def __call__(self, settings: Mapping[str, str]) -> Platform:
        """Return the platform."""
