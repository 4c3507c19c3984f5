"""What can be said of an image beside that it was built: every code, what it means, how to fix it.

The table is the single list of codes; docs/reference/findings.md is generated from it.
"""

from __future__ import annotations

from mlfn.function import Finding, Severity

__all__ = ["FINDINGS", "finding"]

FINDINGS: dict[str, tuple[Severity, str, str]] = {
    "no-bytecode": (
        Severity.WARNING,
        "no Python of the base's version runs here, so every start compiles what it imports: 0.4 s instead of 0.12 s",
        "install that Python (uv python install 3.x), or build on a machine of the base's architecture",
    ),
    "other-interpreter": (
        Severity.INFO,
        "the byte code is of another patch release than the base's Python: another machine may give another digest",
        "build on a Linux machine of the base's architecture, where the base's own interpreter is used",
    ),
    "other-zlib": (
        Severity.INFO,
        "this Python compresses with a variant of zlib (zlib-ng and others): other machines give another digest",
        "build with a Python that uses zlib, such as Debian's or uv's, where equal digests matter",
    ),
}
"""Code -> how much it matters, what it means, what to do."""


def finding(what: str, message: str, *, seen: str = "", expected: str = "", fix: str = "") -> Finding:
    """Make a finding of a code of the table, with its fix where none is given."""
    severity, _, usual_fix = FINDINGS[what]
    return Finding(severity, what, message, seen, expected, fix or usual_fix)
