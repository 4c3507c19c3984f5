"""Clusters as values: read from kubectl's JSON, made up, kept in a file of our own."""

from __future__ import annotations

__all__: list[str] = []
