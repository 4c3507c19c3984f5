"""What the API refuses, in OpenWhisk's own words."""

from __future__ import annotations

__all__ = ["Refused", "malformed", "not_allowed", "not_found", "reserved"]


class Refused(Exception):
    """Ends a request: an HTTP status and the text of ``error``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def not_found() -> Refused:
    """Return the refusal for an entity that is not there, or must not be seen."""
    return Refused(404, "The requested resource does not exist.")


def malformed(why: str) -> Refused:
    """Return the refusal for a body that cannot be read."""
    return Refused(400, f"The request content was malformed:\n{why}")


def not_allowed(path: str) -> Refused:
    """Return the refusal for somebody else's namespace."""
    return Refused(403, f"The supplied authentication is not authorized to access '{path}'.")


def reserved() -> Refused:
    """Return the refusal for parameters that are final, or OpenWhisk's own."""
    return Refused(400, "Request defines parameters that are not allowed (e.g., reserved properties).")
