"""Fit the service-time model to half of the points of kube-scheduler's throughput, and predict the other half.

`python benchmarks/scheduler_service_time.py` prints the coefficients and the table of
docs/explanation/scheduler-service-time.md: each point of tests/data/kube_scheduler_throughput.json with its error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlfn_policies.kube_service_time import Constraints, ServiceTime, constraints_us, cycle_us, overrun

DATA = Path(__file__).parent.parent / "tests" / "data" / "kube_scheduler_throughput.json"


@dataclass(frozen=True)
class Point:
    """Hold one figure of the real scheduler."""

    what: str
    nodes: int
    scored: int
    per_s: float
    threshold: bool
    """A floor of another machine, with an API server; else measured without one."""
    fitted: bool = False
    spread_nodes: int = 0
    constraints: Constraints = field(default_factory=Constraints)

    @property
    def time_us(self) -> float:
        """Return the length of a cycle."""
        return 1e6 / self.per_s

    def terms(self) -> npt.NDArray[np.float64]:
        """Return what the coefficients are multiplied by: those of the model, and the threshold's own share."""
        plain = [1.0, self.scored, overrun(self.nodes, self.scored), self.spread_nodes]
        return np.array([*plain, *self.constraints, self.threshold], np.float64)


def points(path: Path = DATA) -> list[Point]:
    """Return all points."""
    found = []
    for group, items in json.loads(path.read_text()).items():
        for item in items["points"]:
            rest: dict[str, Any] = {**item, "constraints": Constraints(**item.get("constraints", {}))}
            found.append(Point(threshold=group == "thresholds", **rest))
    return found


def fit(given: list[Point]) -> tuple[ServiceTime, float]:
    """Return the coefficients of least relative squares, and what a threshold's machine adds to each pod."""
    table = np.array([point.terms() / point.time_us for point in given if point.fitted])
    if np.linalg.matrix_rank(table) < table.shape[1]:
        raise ValueError("the fitted points do not determine the coefficients")
    found = np.linalg.lstsq(table, np.ones(len(table)), rcond=None)[0]
    return ServiceTime(*(round(float(each), 4) for each in found[:-1])), round(float(found[-1]), 1)


def predicted_us(model: ServiceTime, extra_us: float, point: Point) -> float:
    """Return what the model says of a point."""
    plain = cycle_us(model, point.nodes, point.scored, point.spread_nodes)
    return plain + constraints_us(model, point.constraints) + extra_us * point.threshold


def table() -> list[str]:
    """Return the table of every point."""
    given = points()
    model, extra_us = fit(given)
    lines = ["| point | real us | model us | error | |", "| --- | --- | --- | --- | --- |"]
    for point in given:
        says = predicted_us(model, extra_us, point)
        role = "fitted" if point.fitted else "predicted"
        lines.append(f"| {point.what} | {point.time_us:.0f} | {says:.0f} | {says / point.time_us - 1:+.0%} | {role} |")
    return lines


def main() -> None:
    """Print the fit."""
    print(*fit(points()), sep="\n")
    print("\n".join(table()))


if __name__ == "__main__":
    main()
