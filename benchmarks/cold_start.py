"""From the spawn of `mlfn serve` to its first right answer, beside FastAPI's."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator

import machine
from options import Options
from prepare import Home
from rows import Row
from servers import serving


def measure(home: Home, options: Options) -> Iterator[Row]:
    """Yield the row of the cold start."""
    seconds = starts(home, ("mlfn", "FastAPI"), options.samples)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    yield Row(
        "cold start of mlfn serve, spawn to first answer vs FastAPI",
        medians["mlfn"] / medians["FastAPI"],
        "x",
        "<=",
        0.45,
        {f"{name} seconds": [round(each, 4) for each in found] for name, found in seconds.items()},
    )


def starts(home: Home, names: tuple[str, ...], samples: int) -> dict[str, list[float]]:
    """Start each contestant ``samples`` times, in turn, and return the seconds to the first right answer."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    try:
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for sample in range(samples + 1):
            for name in names:
                with serving(home, name, "iris") as server:
                    if sample > 0:  # the first start brings the files into memory
                        seconds[name].append(server.up_s)
    finally:
        os.sched_setaffinity(0, before)
    for name, found in seconds.items():
        print(f"  start of {name}: median {statistics.median(found) * 1e3:.0f} ms", file=sys.stderr)
    return seconds
