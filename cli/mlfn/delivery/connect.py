"""Find the platform that the settings name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from mlfn.platforms import Connect, Platform
from mlfn.plugins import PLATFORMS, load

__all__ = ["connect"]


def connect(platform: str, settings: Mapping[str, str]) -> Platform:
    """Return a platform by name. Raises InvalidInput (no such platform), MissingExtra (it does not load)."""
    # The table holds any object; what stands under a platform's name is a Connect, which the conformance suite checks.
    return cast(Connect, load(PLATFORMS, platform))(settings)
