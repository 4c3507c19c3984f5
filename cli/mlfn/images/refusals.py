"""What a registry's refusal means to the user: its answer, read into one of our errors. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mlfn.errors import BuildFailed, InvalidInput, MlfnError, NotAuthorised, NotFound, Unreachable
from mlfn.images.wire import Reply

__all__ = ["Asking", "is_full", "not_authorised", "refusal", "said"]

LONGEST_QUOTE = 256
"""Characters of a foreign text that go into a message."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Say what was asked of whom, for the message of a refusal."""

    registry: str
    what: str
    """Such as ``push to team/iris``."""
    asked_as: str = ""
    """Who asked, without secrets."""


def refusal(reply: Reply, asking: Asking) -> MlfnError:
    """Turn an answer that is no success into the error that the user sees."""
    codes, text = said(reply)
    where = f"registry {asking.registry}: cannot {asking.what}"
    if reply.status in {401, 403}:
        return not_authorised(reply, asking)
    if codes & {"DIGEST_INVALID", "SIZE_INVALID"}:
        return BuildFailed(f"{where}: the bytes that arrived have another digest than announced: {text}")
    if codes & {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"} and reply.status != 404:
        return BuildFailed(f"{where}: it misses a part of the image: {text}", hints=("push again",))
    if reply.status == 404:
        hint = "create the repository in the registry first, if it does not make them by itself"
        return NotFound(f"{where}: {text}", hints=(hint,) if "push" in asking.what else ())
    if is_full(reply):
        hint = "free space on the registry's disk (delete images, run its garbage collection), then try again"
        return Unreachable(f"{where}: the registry's disk is full: {text}", hints=(hint,))
    if reply.status == 413:
        return InvalidInput(f"{where}: a part is larger than the registry, or a proxy before it, accepts: {text}")
    if reply.status == 429:
        return Unreachable(f"{where}: too many requests: {text}", hints=("log in for higher limits, or wait",))
    if reply.status >= 500:
        return Unreachable(f"{where}: {text}", hints=("look at the registry's own log", "try again later"))
    return InvalidInput(f"{where}: {text}")


def not_authorised(reply: Reply, asking: Asking) -> NotAuthorised:
    """Say who was refused what, and how to log in; a registry may also answer so for what does not exist."""
    _, text = said(reply)
    who = f" ({asking.asked_as})" if asking.asked_as else ""
    return NotAuthorised(
        f"registry {asking.registry} refuses to let you {asking.what}{who}: {text}",
        hints=(f"docker login {asking.registry}", f"or: podman login {asking.registry}"),
    )


def is_full(reply: Reply) -> bool:
    """Tell whether the registry's disk is full: no further try empties it."""
    return reply.status == 507 or (reply.status >= 500 and b"no space left" in reply.body)


def said(reply: Reply) -> tuple[frozenset[str], str]:
    """Return the codes of an answer in the registries' error format, and one line to quote."""
    try:
        errors = json.loads(reply.body)["errors"]
        codes = [str(error.get("code", "")) for error in errors]
        texts = [_one_line(error) for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError):
        codes, texts = [], []
    status = f"HTTP {reply.status}"
    text = "; ".join(text for text in texts if text)
    return frozenset(codes), f"{status}, {text[:LONGEST_QUOTE]}" if text else status


def _one_line(error: dict[str, object]) -> str:
    detail = error.get("detail")
    parts = [str(error.get("code", "")), str(error.get("message") or "")]
    if detail:
        parts.append(json.dumps(detail) if not isinstance(detail, str) else detail)
    return " ".join(" ".join(part.split()) for part in parts if part)
