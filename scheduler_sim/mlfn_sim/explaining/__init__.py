"""Why a pod goes where it goes, and what would have to change."""

from __future__ import annotations

__all__: list[str] = []
