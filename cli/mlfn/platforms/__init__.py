"""Where functions run: one protocol, and one module per platform behind the ``mlfn.platforms`` entry points.

The platforms do not know each other, nor the models. ``tests/conformance`` is one suite for all of them; a platform
skips only what its ``capabilities`` deny.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from mlfn.function import (
    Answer,
    Deployed,
    Finding,
    FunctionSpec,
    FunctionStatus,
    LogLine,
    ModelPackage,
    Traffic,
)

__all__ = ["Capabilities", "Connect", "Platform", "Progress"]


class Progress(Protocol):
    """Take short present-tense stage names ("copying model", "starting instance") as they begin."""

    def __call__(self, stage: str) -> None:
        """Tell that ``stage`` begins."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Say what a platform can do; the conformance suite skips what is denied here, and the docs list it."""

    scale_to_zero: bool
    traffic_split: bool
    logs_follow: bool
    revisions: bool


class Platform(Protocol):
    """Deploy, look at and remove functions. Every method raises :class:`mlfn.errors.MlfnError` and nothing else."""

    name: str
    capabilities: Capabilities

    def deploy(self, spec: FunctionSpec, package: ModelPackage, *, wait: bool, progress: Progress) -> Deployed:
        """Make a revision of ``package`` serve as ``spec.name``; return when ready (at once, without ``wait``).

        On failure, or when interrupted, what served before serves on and nothing of the new revision stays.
        """

    def status(self, name: str) -> FunctionStatus:
        """Tell all about one function. Raises NotFound."""

    def list(self) -> tuple[FunctionStatus, ...]:
        """Tell all about all functions, sorted by name."""

    def invoke(self, name: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """Send ``POST path`` to a function and return its answer, whatever its status. Raises NotFound, Unreachable."""

    def traffic(self, name: str, split: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
        """Set the shares (they sum to 100) and return them. Raises NotFound, InvalidInput."""

    def logs(self, name: str, *, follow: bool, tail: int) -> Iterator[LogLine]:
        """Yield the last ``tail`` lines of a function's instances (-1 = all), then new ones with ``follow``."""

    def diagnose(self, name: str) -> tuple[Finding, ...]:
        """Say what is wrong with a function, nothing when it is well."""

    def remove(self, name: str) -> None:
        """Delete a function and all that belongs to it. Raises NotFound."""


class Connect(Protocol):
    """Make a platform from the user's settings (``local.state_dir``, ``local.port`` …); does no IO by itself."""

    def __call__(self, settings: Mapping[str, str]) -> Platform:
        """Return the platform."""
