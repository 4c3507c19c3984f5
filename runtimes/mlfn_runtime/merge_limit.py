"""How many rows one run may have, learned from the runs themselves; no timer and no load test."""

from __future__ import annotations

__all__ = ["MergeLimit"]


class MergeLimit:
    """Learn from the runs themselves how many rows a run may have.

    Starts at what calibration allowed, doubles when full runs give more rows per second than runs of half the size,
    and goes back when they do not: transformers gain to 8 or 16 rows, convolutions lose from 2 or 4 on.
    """

    _CEILING = 32
    _GAIN = 1.04
    _SAMPLES = 8

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._seconds_per_row: dict[int, float] = {}
        self._samples = 0
        self._settled = rows <= 1

    def seed(self, rows: int, run_s: float) -> None:
        """Note a run measured before."""
        self._seconds_per_row[rows] = run_s / rows

    def observe(self, rows: int, run_s: float) -> None:
        """Note one run; may change ``rows``."""
        if self._settled or rows != self.rows:
            return
        best = self._seconds_per_row.get(rows)
        self._seconds_per_row[rows] = run_s / rows if best is None else min(best, run_s / rows)
        self._samples += 1
        if self._samples < self._SAMPLES:
            return
        self._samples = 0
        half = self._seconds_per_row.get(rows // 2)
        if half is not None and half < self._seconds_per_row[rows] * self._GAIN:
            self.rows, self._settled = rows // 2, True
        elif rows * 2 > self._CEILING:
            self._settled = True
        else:
            self.rows = rows * 2
