"""What a simulated scheduler did, as columns: one row a pod, and one row a scheduling cycle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.hashing import decision_hash

__all__ = ["NEVER", "Journal", "Outcome"]

NEVER = -1
"""Stands in a column of times for what did not happen, and in one of nodes for none."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold columns by pod (in order of arrival) and by scheduling cycle. Times are in microseconds, -1 = never."""

    arrival_us: Ints
    popped_us: Ints
    """First scheduling cycle."""
    assumed_us: Ints
    """When the last cycle that found a node ended."""
    bound_us: Ints
    ended_us: Ints
    node: Ints
    """Number of the node that the pod is or was bound to."""
    attempts: Ints
    preempted_by: Ints
    """The pod for which it had to end."""
    cycle_pod: Ints
    cycle_us: Ints
    """When the cycle began."""
    cycle_node: Ints
    """Number of the node that was chosen."""
    cycle_nominated: Ints
    """Number of the node on which others have to end."""
    nodes: tuple[str, ...]
    """Names of all nodes that there were, by number."""

    @property
    def decision_hash(self) -> str:
        """Return 16 hexadecimal digits over (cycle, node) of all cycles: equal runs have equal ones."""
        return decision_hash(self.cycle_node)


@dataclass(slots=True)
class Journal:
    """Collect the columns while time passes."""

    rows: dict[str, list[int]] = field(
        default_factory=lambda: {
            name: []
            for name in (
                *("arrival_us", "popped_us", "assumed_us", "bound_us", "ended_us", "node", "attempts", "preempted_by"),
                *("cycle_pod", "cycle_us", "cycle_node", "cycle_nominated"),
            )
        }
    )

    def arrive(self, now_us: int) -> int:
        """Begin a pod's row and return its number."""
        number = len(self.rows["arrival_us"])
        self.rows["arrival_us"].append(now_us)
        self.rows["attempts"].append(0)
        for name in ("popped_us", "assumed_us", "bound_us", "ended_us", "node", "preempted_by"):
            self.rows[name].append(NEVER)
        return number

    def put(self, pod: int, **values: int) -> None:
        """Set columns of a pod."""
        for name, value in values.items():
            self.rows[name][pod] = value

    def get(self, name: str, pod: int) -> int:
        """Return one value of a pod."""
        return self.rows[name][pod]

    def cycle(self, pod: int, now_us: int, node: int, nominated: int) -> None:
        """Add a scheduling cycle."""
        values = {"cycle_pod": pod, "cycle_us": now_us, "cycle_node": node, "cycle_nominated": nominated}
        for name, value in values.items():
            self.rows[name].append(value)
        if self.rows["popped_us"][pod] == NEVER:
            self.rows["popped_us"][pod] = now_us
        self.rows["attempts"][pod] += 1

    def outcome(self, nodes: tuple[str, ...]) -> Outcome:
        """Return the columns."""
        columns = {name: np.array(values, np.int64) for name, values in self.rows.items()}
        return Outcome(**columns, nodes=nodes)
