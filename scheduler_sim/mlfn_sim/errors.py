"""What can go wrong when the simulator reads what others wrote, writes, or spreads work over processes."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Interrupted", "NeedsExtra", "NoCluster", "NotWritten", "RecordingError", "UnknownPolicy", "WorkerDied"]


class RecordingError(Exception):
    """A file cannot be read or is not what it should be; the message names the file, the place in it and the value."""


class NeedsExtra(Exception):  # named for what the user has to do
    """A package of an extra is not installed; the message names it."""

    def __init__(self, message: str, extra: str = "sim") -> None:
        super().__init__(message)
        self.extra = extra


class NotWritten(Exception):
    """A file could not be written; what was there before is still there."""


class UnknownPolicy(Exception):
    """A placement policy is not there or is not one; the message says what is expected.

    ``name`` is the one that is not known, ``known`` those that are; both empty when it is something else.
    """

    def __init__(self, message: str, name: str = "", known: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.known = tuple(known)


class WorkerDied(Exception):
    """A process was killed at its work; the message names the task. What others finished is kept."""


class NoCluster(Exception):
    """The machines that work should be spread over do not answer; the message names the address."""


class Interrupted(KeyboardInterrupt):
    """Someone pressed Ctrl-C in the middle; the message says what is kept, and how to go on."""
