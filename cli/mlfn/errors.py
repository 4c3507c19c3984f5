"""Every failure that a user can meet, with its stable exit code and the way out.

::

    MlfnError                1   failure
    ├── InvalidInput         2   a value, a file or a combination that cannot work
    ├── NotAuthorised        3
    ├── NotFound             4
    ├── TimedOut             5
    ├── BuildFailed          6
    ├── DeployFailed         7   the previous revision, if any, serves on
    ├── MissingExtra         8   an optional package or an outside tool is not installed
    ├── CheckNotMet          9   a check, a comparison or an objective did not hold
    ├── Unreachable         10   platform or registry
    └── Conflict            11   someone else's object, or a concurrent change

Interrupted (Ctrl-C, SIGTERM) exits with 130. Doors turn foreign exceptions into these with ``from``; nobody below the
command line prints or exits.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BuildFailed",
    "CheckNotMet",
    "Conflict",
    "DeployFailed",
    "InvalidInput",
    "MissingExtra",
    "MlfnError",
    "NotAuthorised",
    "NotFound",
    "TimedOut",
    "Unreachable",
]


class MlfnError(Exception):
    """A failure that is told to the user as it stands.

    ``message`` says what failed, on which thing, which value was seen and what was expected; ``hints`` are the
    commands or edits that fix it, one per line; ``details`` is longer evidence, such as the last lines of a log.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "failure"

    def __init__(self, message: str, *, hints: tuple[str, ...] = (), details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints
        self.details = details


class InvalidInput(MlfnError):
    """A value, a file or a combination of options that cannot work."""

    exit_code = 2
    kind = "invalid_input"


class NotAuthorised(MlfnError):
    """The platform or registry knows who asks and says no."""

    exit_code = 3
    kind = "not_authorised"


class NotFound(MlfnError):
    """The named function, revision or file does not exist."""

    exit_code = 4
    kind = "not_found"


class TimedOut(MlfnError):
    """Something did not finish in the time that was allowed."""

    exit_code = 5
    kind = "timed_out"


class BuildFailed(MlfnError):
    """An image could not be built."""

    exit_code = 6
    kind = "build_failed"


class DeployFailed(MlfnError):
    """A revision did not become ready; what served before serves on."""

    exit_code = 7
    kind = "deploy_failed"


class MissingExtra(MlfnError):
    """An optional package or an outside tool is not installed."""

    exit_code = 8
    kind = "missing_extra"


class CheckNotMet(MlfnError):
    """A check, a comparison or an objective did not hold."""

    exit_code = 9
    kind = "check_not_met"


class Unreachable(MlfnError):
    """The platform or registry does not answer."""

    exit_code = 10
    kind = "unreachable"


class Conflict(MlfnError):
    """The object belongs to someone else, or changed meanwhile."""

    exit_code = 11
    kind = "conflict"
