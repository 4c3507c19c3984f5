"""Measure placements per second on the fixed workload, with a hash of the decisions taken."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.engine import Batch, make_engine
from mlfn_sim.kube.hashing import decision_hash
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.ties import Draws
from mlfn_sim.kube.workload import fixed_batch, fixed_nodes, fixed_shapes

__all__ = ["SCORINGS", "Order", "measure_placement"]

SCORINGS = {"adaptive": 0, "full": 100}
"""Scoring -> percentage of the nodes; 0 is the scheduler's adaptive share."""
_SEED = 1
_HASHED = 2000


@dataclass(frozen=True, slots=True)
class Order:
    """Say what to measure."""

    nodes: int
    pods: int
    scoring: str = "adaptive"
    engine: str = "fast"
    services: bool = False


def measure_placement(order: Order, progress: Callable[[str], None]) -> dict[str, object]:
    """Run the workload; return figures and hashes. ``progress`` hears what takes long."""
    nodes, shapes = fixed_nodes(order.nodes), fixed_shapes(_SEED, services=order.services)
    progress(f"working out {len(shapes)} pod shapes for {order.nodes} nodes")
    began = time.perf_counter()
    engine = make_engine(order.engine, Catalog(nodes), Profile(percentage=SCORINGS[order.scoring]), Draws(_SEED))
    for shape in shapes:
        engine.catalog.plan(shape)
    planned = time.perf_counter()
    if order.engine == "fast":
        progress("compiling the rules (once after an install, some 30 s)")
    engine.run(Batch(shapes, np.empty(0, np.int32)))
    batch = fixed_batch(shapes, order.pods, _SEED)
    ready = time.perf_counter()
    progress(f"placing {order.pods} pods")
    before = time.process_time()
    outcome = engine.run(batch)
    seconds, of_cpu = time.perf_counter() - ready, time.process_time() - before
    return {
        "schema": "mlfn.bench/v1",
        "what": "placement",
        "nodes": order.nodes,
        "pods": order.pods,
        "scoring": order.scoring,
        "engine": order.engine,
        "services": order.services,
        "placements_per_s": round(order.pods / seconds, 1),
        "placements_per_cpu_s": round(order.pods / of_cpu, 1),
        "seconds": round(seconds, 4),
        "unplaced": int((outcome.chosen < 0).sum()),
        "decision_hash": decision_hash(outcome.chosen[:_HASHED]),
        "decision_hash_all": decision_hash(outcome.chosen),
        "plan_seconds": round(planned - began, 3),
        "compile_seconds": round(ready - planned, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "calibration": _calibration(),
    }


def _calibration() -> float:
    """Return million iterations per second of a plain Python loop: how fast the machine was just then."""
    count, total = 1_000_000, 0
    began = time.perf_counter()
    for i in range(count):
        total += i & 7
    return round(count / (time.perf_counter() - began) / 1e6, 2)
