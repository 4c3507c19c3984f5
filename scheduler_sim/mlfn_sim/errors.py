"""What can go wrong when the simulator reads what others wrote."""

from __future__ import annotations

__all__ = ["RecordingError"]


class RecordingError(Exception):
    """A recording cannot be read or is not one; the message names the file, the place in it and the value seen."""
