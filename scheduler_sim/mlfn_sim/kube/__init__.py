"""kube-scheduler 1.34: its objects, rules, queue and recordings, equal to the real one's decisions."""

from __future__ import annotations

__all__: list[str] = []
