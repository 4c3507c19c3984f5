"""What keeps instances warm from outside: pings on a plan. Knows neither models nor platforms."""

from __future__ import annotations

__all__: list[str] = []
