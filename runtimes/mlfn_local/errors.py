"""What can go wrong on the local platform, as one value that travels over the control socket.

``kind`` is one of the kinds of ``mlfn.errors`` (this package must not import the deployer, so it names them).
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Kind", "LocalError"]


class Kind(StrEnum):
    """The class of a failure; the deployer maps each to an exception of its own."""

    FAILURE = "failure"
    INVALID_INPUT = "invalid_input"
    NOT_FOUND = "not_found"
    TIMED_OUT = "timed_out"
    DEPLOY_FAILED = "deploy_failed"
    UNREACHABLE = "unreachable"
    CONFLICT = "conflict"


class LocalError(Exception):
    """A failure that is told to the user as it stands."""

    def __init__(self, kind: Kind, message: str, *, hints: tuple[str, ...] = (), details: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hints = hints
        self.details = details

    def as_json(self) -> dict[str, object]:
        """Return the failure for the control socket."""
        return {"kind": self.kind.value, "message": self.message, "hints": list(self.hints), "details": self.details}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> LocalError:
        """Read a failure from the control socket; an unknown kind is a plain failure."""
        kinds = {kind.value: kind for kind in Kind}
        hints = value.get("hints")
        return cls(
            kinds.get(str(value.get("kind")), Kind.FAILURE),
            str(value.get("message", "")),
            hints=tuple(map(str, hints)) if isinstance(hints, list) else (),
            details=str(value.get("details", "")),
        )
