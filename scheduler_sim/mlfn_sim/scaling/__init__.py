"""The scalability experiment: what a scheduler can do on 100 to 100,000 nodes, and what limits it."""

from __future__ import annotations

__all__: list[str] = []
