"""The openb study: a production GPU cluster's trace, inflated until it is full, under every placement policy."""

from __future__ import annotations

__all__: list[str] = []
