"""Fit the service-time model to half of the measured points of kube-scheduler, and predict the other half.

`python benchmarks/scheduler_service_time.py` prints the coefficients, each point's error, the errors of every other way
to halve the points, and how far the published thresholds of scheduler_perf are from the model.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlfn_policies.kube_service_time import ServiceTime, cycle_us, overrun


@dataclass(frozen=True)
class Point:
    """Hold one measurement of the real scheduler (v1.34.1, two shared cores, no API server)."""

    what: str
    nodes: int
    scored: int
    spread: bool
    placements_per_s: float

    @property
    def time_us(self) -> float:
        """Return the measured length of a cycle."""
        return 1e6 / self.placements_per_s

    @property
    def spread_nodes(self) -> int:
        """Return the nodes that spreading reads."""
        return self.nodes if self.spread else 0


POINTS = (
    Point("100 nodes", 100, 100, False, 3832),
    Point("500", 500, 230, False, 2239),
    Point("1,000", 1000, 420, False, 1372),
    Point("5,000", 5000, 500, False, 896),
    Point("10,000", 10000, 500, False, 918),
    Point("1,000, all scored", 1000, 1000, False, 655),
    Point("5,000, all scored", 5000, 5000, False, 158),
    Point("5,000, Service over 3 zones", 5000, 500, True, 411),
)
FITTED = (0, 4, 6, 7)
"""The corners: the fewest nodes, the most, the most scored, and the only one with spreading."""
THRESHOLDS = (
    # scheduler_perf, 5,000 nodes, in-process API server, other machines: a run below the figure fails.
    ("SchedulingBasic, 10k pods", False, 680),
    ("SchedulingBasic, 50k pods", False, 810),
    ("MixedChurn, 10k", False, 710),
    ("PreferredTopologySpreading, 5k", True, 340),
    ("DefaultTopologySpreading, 50k", True, 160),
)


def fitted(indices: tuple[int, ...]) -> ServiceTime | None:
    """Return the coefficients of least relative squares, None where the points do not determine them."""
    rows = [_terms(POINTS[i]) / POINTS[i].time_us for i in indices]
    table = np.array(rows)
    if np.linalg.matrix_rank(table) < table.shape[1]:
        return None
    found = np.linalg.lstsq(table, np.ones(len(rows)), rcond=None)[0]
    return ServiceTime(*(float(each) for each in found))


def error(model: ServiceTime, point: Point) -> float:
    """Return the relative error of a prediction."""
    return cycle_us(model, point.nodes, point.scored, point.spread_nodes) / point.time_us - 1


def main() -> None:
    """Print the fit."""
    model = fitted(FITTED)
    assert model is not None
    print("| point | measured us | model us | error | |\n| --- | --- | --- | --- | --- |")
    for i, point in enumerate(POINTS):
        predicted = cycle_us(model, point.nodes, point.scored, point.spread_nodes)
        role = "fitted" if i in FITTED else "predicted"
        print(f"| {point.what} | {point.time_us:.0f} | {predicted:.0f} | {error(model, point):+.0%} | {role} |")
    print(f"\n{model}")
    worst = sorted(
        max(abs(error(other, point)) for point in POINTS)
        for half in itertools.combinations(range(len(POINTS)), 4)
        if (other := fitted(half)) is not None
    )
    print(f"largest error of {len(worst)} other halves that determine the model: "
          f"best {worst[0]:.0%}, median {worst[len(worst) // 2]:.0%}, worst {worst[-1]:.0%}")  # fmt: skip
    everything = fitted(tuple(range(len(POINTS))))
    assert everything is not None
    print(f"fitted to all: {everything}, largest error {max(abs(error(everything, p)) for p in POINTS):.0%}")
    for what, spread, threshold in THRESHOLDS:
        rate = 1e6 / cycle_us(model, 5000, 500, 5000 if spread else 0)
        print(f"{what}: threshold {threshold} pods/s, model {rate:.0f} ({rate / threshold - 1:+.0%})")


def _terms(point: Point) -> npt.NDArray[np.float64]:
    return np.array([1.0, point.scored, overrun(point.nodes, point.scored), point.spread_nodes])


if __name__ == "__main__":
    main()
