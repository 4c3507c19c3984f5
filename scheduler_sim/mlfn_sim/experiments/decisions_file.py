"""Write every decision of a run as a Parquet file: one row for each scheduling cycle. Needs the extra ``sim``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlfn_sim.aside import written_aside
from mlfn_sim.errors import NeedsExtra
from mlfn_sim.experiments.running import Simulation
from mlfn_sim.kube.profile import FILTERS

__all__ = ["COLUMNS", "write_decisions"]

COLUMNS = {
    "seed": "seed of the run",
    "cycle": "number of the scheduling cycle, from 0",
    "time_us": "simulated time at which it began",
    "length_us": "how long it took",
    "pod": "the pod it was about",
    "function": "its function",
    "attempt": "which try this was for the pod, from 1",
    "node": "the node chosen; empty: none was feasible",
    "victims_on": "the node on which other pods have to end for it; empty: none",
    "evaluated": "nodes looked at",
    "feasible": "nodes that could take it",
    "ties": "nodes that shared the highest score",
    "score": "weighted score of the node chosen; empty: nothing was scored",
    "image_hit": "whether the node had the pod's images; empty: it has none, or no node",
    **{f"rejected_{name}": f"nodes that {name} rejected" for name in FILTERS},
    "rejected_policy": "nodes that the placement policy refused",
}
"""Column -> meaning."""


def write_decisions(simulation: Simulation, path: Path) -> None:
    """Write the decisions of a run that has ended. Raises NotWritten; nothing half-written is left."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise NeedsExtra("a file of decisions needs pyarrow, which is not installed") from error
    table = pa.table(_columns(simulation, pa))
    with written_aside(path, (pa.ArrowException,)) as aside, aside.open("xb") as sink:
        pq.write_table(table, sink, compression="zstd")


def _columns(simulation: Simulation, arrow: Any) -> dict[str, Any]:
    outcome, seen = simulation.scheduler.outcome(), simulation.decisions
    cycles = len(outcome.cycle_pod)
    nodes = np.array([*outcome.nodes, ""], object)  # -1, none, is the last
    names = np.array(simulation.pod_names(), object)
    functions = np.array([simulation.function_of(pod) for pod in range(len(names))], object)
    hits = np.frombuffer(seen.image, np.int8) if cycles else np.zeros(0, np.int8)
    totals = np.array(seen.total, np.int64)

    def words(values: Any) -> Any:
        empty = np.array([value == "" for value in values], np.bool_)
        return arrow.array(values, arrow.string(), mask=empty).dictionary_encode()

    found = {
        "seed": np.full(cycles, simulation.seed, np.int64),
        "cycle": np.arange(cycles),
        "time_us": outcome.cycle_us,
        "length_us": np.array(seen.length_us, np.int64),
        "pod": arrow.array(names[outcome.cycle_pod], arrow.string()),
        "function": words(functions[outcome.cycle_pod]),
        "attempt": _attempts(outcome.cycle_pod),
        "node": words(nodes[outcome.cycle_node]),
        "victims_on": words(nodes[outcome.cycle_nominated]),
        "evaluated": np.array(seen.evaluated, np.int32),
        "feasible": np.array(seen.feasible, np.int32),
        "ties": np.array(seen.ties, np.int32),
        "score": arrow.array(totals, mask=totals < 0),
        "image_hit": arrow.array(hits == 1, mask=hits < 0),
    }
    for column, name in zip(list(COLUMNS)[len(found) :], (*FILTERS, "placement policy"), strict=True):
        found[column] = np.array([rejected.get(name, 0) for rejected in seen.rejections], np.int32)
    return found


def _attempts(pods: Any) -> Any:
    """Return which cycle of its pod each cycle is."""
    order = np.argsort(pods, kind="stable")
    ordered = pods[order]
    first = np.searchsorted(ordered, ordered)
    attempts = np.empty(len(pods), np.int64)
    attempts[order] = np.arange(len(pods)) - first + 1
    return attempts
