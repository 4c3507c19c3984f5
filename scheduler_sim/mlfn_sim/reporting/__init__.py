"""Show results: plots as PNG, and a page of HTML that needs nothing else. Knows no experiment."""

from __future__ import annotations

__all__: list[str] = []
