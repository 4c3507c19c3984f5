"""Run the whole grid and gather one document, ``mlfn.scale/v1``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mlfn_sim.scaling.constraints import CONSTRAINTS, price_us
from mlfn_sim.scaling.origins import CLAIM_NODES, CLAIM_PER_S, most_constraints, origins
from mlfn_sim.scaling.values import DESIGNS, Grid, Point
from mlfn_sim.sweeps import Where, sweep

__all__ = ["SCHEMA", "points", "run_grid"]

SCHEMA = "mlfn.scale/v1"


def points(grid: Grid) -> list[Point]:
    """Return the points of a grid, the longest first, so that no core waits for a long last one."""
    return [
        Point(nodes, constraints, design, grid.rates, grid.pods, grid.seed, grid.speed)
        for nodes in sorted(grid.nodes, reverse=True)
        for constraints in sorted(grid.constraints, reverse=True)
        for design in grid.designs
    ]


def run_grid(grid: Grid, where: Where, progress: Callable[[str], None]) -> dict[str, Any]:
    """Return the document; what is kept in ``where.out`` is not worked out again."""
    found = sweep(points(grid), "mlfn_sim.scaling.running:run_point", where=where, progress=progress)
    place = {name: i for i, name in enumerate(grid.designs)}
    ordered = sorted(found, key=lambda each: (each["nodes"], each["constraints"], place[each["design"]]))
    return {
        "schema": SCHEMA,
        "grid": asdict(grid),
        "designs": [asdict(design) for design in DESIGNS if design.name in grid.designs],
        "constraints": [
            {"name": each.name, "adds_us": round(price_us(count + 1, CLAIM_NODES) - price_us(count, CLAIM_NODES), 1)}
            for count, each in enumerate(CONSTRAINTS)
        ],
        "points": ordered,
        "claim": {
            "nodes": CLAIM_NODES,
            "per_s": CLAIM_PER_S,
            "most_constraints": {
                name: most_constraints(name, CLAIM_NODES, CLAIM_PER_S, grid.speed) for name in grid.designs
            },
            "origins": [asdict(origin) for origin in origins(grid.speed)],
        },
    }
