"""How a command gets its settings and the platform that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlfn.plugins import PLATFORMS, load
from mlfn.settings import Resolved, resolve_here

if TYPE_CHECKING:
    from mlfn.platforms import Platform

__all__ = ["connect"]


def connect(flags: Mapping[str, object]) -> tuple[Resolved, Platform]:
    """Return the settings of a command that was given ``flags``, and the platform that they name.

    Raises InvalidInput, MissingExtra (mlfn.plugins).
    """
    resolved = resolve_here(flags)
    return resolved, load(PLATFORMS, resolved.settings.platform)(resolved.for_platform())
