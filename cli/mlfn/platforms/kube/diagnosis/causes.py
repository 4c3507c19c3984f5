"""The value that every source of evidence gives: a cause, and whether waiting can still help. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mlfn.function import Finding
from mlfn.platforms.kube.findings import finding

__all__ = ["Cause", "cause", "quoted"]

LONGEST_QUOTE = 400
"""Characters of foreign words in a message; a pull error alone repeats the image three times."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Hold a finding and whether the deploy should fail now because of it."""

    finding: Finding
    conclusive: bool


def cause(what: str, message: str, *, conclusive: bool, seen: str = "", fix: str = "") -> Cause:
    """Make a cause of a code of the cluster's table."""
    return Cause(finding(what, message, seen=seen, fix=fix), conclusive)


def quoted(text: str, longest: int = LONGEST_QUOTE) -> str:
    """Return foreign words on one line, cut where they are long: the beginning, and the end, which says why."""
    flat = " ".join(text.split())
    if len(flat) <= longest:
        return flat
    head = longest // 3
    return f"{flat[:head]} … {flat[-(longest - head) :]}"
