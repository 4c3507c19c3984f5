"""What can go wrong when the simulator reads what others wrote, or writes."""

from __future__ import annotations

__all__ = ["NeedsExtra", "NotWritten", "RecordingError", "UnknownPolicy"]


class RecordingError(Exception):
    """A file cannot be read or is not what it should be; the message names the file, the place in it and the value."""


class NeedsExtra(Exception):  # named for what the user has to do
    """A package of the extra ``sim`` is not installed; the message names it."""


class NotWritten(Exception):
    """A file could not be written; what was there before is still there."""


class UnknownPolicy(Exception):
    """A placement policy is not there or is not one; the message says what is expected."""
