"""What can be set, and what it is set to: flag > environment > mlfn.yaml > user file > default."""

from __future__ import annotations

from mlfn.settings.fields import FIELDS, Field, Settings
from mlfn.settings.resolver import Origin, Resolved, resolve, resolve_here

__all__ = ["FIELDS", "Field", "Origin", "Resolved", "Settings", "resolve", "resolve_here"]
