"""The values of the experiment: the designs that are compared, the grid, and one point of it."""

from __future__ import annotations

from dataclasses import dataclass

from mlfn_policies.kube_scores import nodes_to_find
from mlfn_policies.kube_service_time import DEFAULT, cycle_us
from mlfn_sim.scaling.constraints import price_us

__all__ = ["BURST", "DEFAULT_GRID", "DESIGNS", "QUICK_GRID", "Design", "Grid", "Point"]

BURST = 0.0
"""Stands for a rate: all pods come at once."""


@dataclass(frozen=True, slots=True)
class Design:
    """Describe a way to schedule."""

    name: str
    about: str
    copies: int = 1
    """Schedulers that work at the same time on the same nodes, each on its share of the pods."""
    percentage: int = 0
    """percentageOfNodesToScore; 0: adaptive."""
    choices: int = 0
    """Nodes drawn at random to choose from; 0: the search of kube-scheduler."""

    def cycle_us(self, nodes: int, constraints: int, speed: float) -> float:
        """Return the length of a scheduling cycle by the service-time model."""
        if self.choices:
            work = DEFAULT.base_us + self.choices * DEFAULT.per_scored_us
            return (work + price_us(constraints, self.choices)) / speed
        scored = nodes_to_find(nodes, self.percentage)
        return cycle_us(DEFAULT, nodes, scored, 0, speed) + price_us(constraints, nodes) / speed


DESIGNS: tuple[Design, ...] = (
    Design("default", "one kube-scheduler 1.34 as it comes, with adaptive sampling"),
    Design("sample-1", "the same, scoring 1 % of the nodes (percentageOfNodesToScore: 1)", percentage=1),
    Design("copies-4", "4 of them on the same nodes, each with its share of the pods; conflicts at the bind", 4),
    Design("copies-16", "16 of them", 16),
    Design(
        "two-choices", "the emptier of 2 nodes drawn at random; constraints are looked at on these alone", choices=2
    ),
)


@dataclass(frozen=True, slots=True)
class Grid:
    """Say which points are worked out."""

    nodes: tuple[int, ...]
    constraints: tuple[int, ...]
    rates: tuple[float, ...]
    """Pods/s; a burst is always added."""
    designs: tuple[str, ...]
    pods: int
    """At most; on a small cluster three for each node."""
    seed: int = 1
    speed: float = 1.0
    """Of the scheduler's machine; 1: the two shared cores that the model was fitted on."""


DEFAULT_GRID = Grid(
    (100, 1_000, 5_000, 20_000, 100_000),
    (0, 2, 6, 9, 10),
    (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    tuple(design.name for design in DESIGNS),
    500,
)
QUICK_GRID = Grid((100, 5_000), (0, 9), (10.0, 100.0), ("default", "copies-4", "two-choices"), 200)


@dataclass(frozen=True, slots=True)
class Point:
    """Ask for one design at one size and number of constraints, at all rates."""

    nodes: int
    constraints: int
    design: str
    rates: tuple[float, ...]
    pods: int
    seed: int
    speed: float

    @property
    def key(self) -> str:
        """Name the point."""
        return f"nodes={self.nodes},constraints={self.constraints},design={self.design}"
