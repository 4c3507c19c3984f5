"""What an API server's refusal means: an HTTP status and its document become an MlfnError. Pure."""

from __future__ import annotations

import json

from mlfn.errors import Conflict, InvalidInput, MlfnError, NotAuthorised, NotFound, Unreachable

__all__ = ["refusal"]

_KINDS: dict[int, type[MlfnError]] = {
    400: InvalidInput,
    401: NotAuthorised,
    403: NotAuthorised,
    404: NotFound,
    409: Conflict,
    422: InvalidInput,
}


def refusal(status_code: int, body: str, verb: str, what: str) -> MlfnError:
    """Return the error that an answer of 400 or more stands for."""
    try:
        told = json.loads(body)
        message = str(told["message"]) if isinstance(told, dict) else body
    except (ValueError, KeyError):
        message = body
    kind = _KINDS.get(status_code, Unreachable if status_code >= 500 else MlfnError)
    return kind(f"the cluster refuses to {verb} {what}: {message.strip()}")
