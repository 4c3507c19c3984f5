"""What an invoker needs of containers, whatever they are: processes of the runtime, docker, or recorded ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mlfn_policies.openwhisk_proxy import Answer, Silence, Status

__all__ = ["CannotStart", "Container", "Containers", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container to create; ``name`` is ``namespace_action``, for people."""

    name: str
    image: str
    memory_mb: int
    concurrency: int


class CannotStart(Exception):
    """A container did not come up: what the caller is told, and whose fault it is."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Container(Protocol):
    """One running container."""

    async def post(self, path: str, body: bytes, timeout_s: float) -> Answer | Silence:
        """Send ``/init`` or ``/run``; while nobody listens yet it is tried again within the time."""

    async def logs(self, most_bytes: int) -> tuple[str, ...]:
        """Return the lines that were written since this was last called."""

    async def pause(self) -> None:
        """Stop it where it stands."""

    async def resume(self) -> None:
        """Let it go on."""

    async def destroy(self) -> None:
        """End it and remove it; harmless the second time."""


class Containers(Protocol):
    """Where containers come from."""

    async def create(self, wanted: Wanted) -> Container:
        """Start one. Raises CannotStart."""
