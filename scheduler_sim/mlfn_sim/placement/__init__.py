"""Place pods by policies that are plain functions: nodes as columns, and one kernel that runs as it is or compiled."""

from __future__ import annotations

__all__: list[str] = []
