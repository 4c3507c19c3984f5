"""The Knative platform behind the :class:`mlfn.platforms.Platform` protocol: functions as Knative Services."""

from __future__ import annotations

__all__: list[str] = []
