"""The contracts that one process answers at once; each module adds its routes and knows the service, not the others."""

from __future__ import annotations

__all__: list[str] = []
