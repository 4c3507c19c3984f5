"""What travels between OpenWhisk's front and its invoker: a job goes down, an outcome comes back."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from mlfn_local.openwhisk.entities import Action
from mlfn_policies.openwhisk_proxy import Status

__all__ = ["Job", "Jobs", "Outcome"]


@dataclass(frozen=True, slots=True)
class Job:
    """One activation to run.

    ``params`` is the merged JSON value (parameters of package, action and call), ``environment`` goes to ``/init``.
    ``namespace`` is the caller's, ``key`` the caller's credential, handed to the container only where the action asks
    for it. ``created_ms`` is when the front took the call (ms since the epoch).
    """

    activation_id: str
    transaction_id: str
    namespace: str
    action: Action
    params: object
    key: str
    blocking: bool
    created_ms: int
    environment: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an activation ended. Times are ms since the epoch; ``init_ms`` is None unless this activation initialised.

    ``size`` is the length in bytes of the container's answer, None where there was none.
    """

    status: Status
    result: object
    start_ms: int
    end_ms: int
    wait_ms: int
    init_ms: int | None = None
    size: int | None = None
    timed_out: bool = False
    logs: Awaitable[tuple[str, ...]] | None = None
    """The activation's log lines, which are read after the caller has its answer; None: none are kept."""


class Jobs(Protocol):
    """What the front needs of an invoker."""

    async def run(self, job: Job) -> Outcome | None:
        """Run a job; None when it is lost, as OpenWhisk loses it when ``/init`` or a first ``/run`` answers 503."""

    async def close(self) -> None:
        """Destroy every container."""
