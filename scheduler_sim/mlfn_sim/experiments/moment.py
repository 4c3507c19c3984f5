"""Find the moment of a run at which one pod was decided, with the cluster as it was just then.

The run is done twice: once to learn in which cycle the pod was decided, and again up to that cycle. Both are the same,
as every run of a scenario and a seed is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlfn_sim.cluster.model import Bound, ClusterSnapshot
from mlfn_sim.errors import RecordingError
from mlfn_sim.experiments.problems import Problem
from mlfn_sim.experiments.reading import refuse_at
from mlfn_sim.experiments.running import Simulation
from mlfn_sim.experiments.sampling import run_sampled
from mlfn_sim.experiments.scenario import Scenario
from mlfn_sim.experiments.world import KUBE_POLICIES
from mlfn_sim.kernel import SECOND_US
from mlfn_sim.kube.decisions import Decision
from mlfn_sim.kube.objects import Pod
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.scheduler import Cycle

__all__ = ["Moment", "Wanted", "moment_of"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Name a decision."""

    pod: str
    """FUNCTION-NUMBER, as in the file of decisions."""
    attempt: int = 0
    """Which try, from 1; 0: the last."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Hold a decision, and the cluster that it was about."""

    pod: Pod
    snapshot: ClusterSnapshot
    """Without the pod."""
    profile: Profile
    decision: Decision
    start: int
    """Where the search began."""
    time_us: int
    attempt: int
    attempts: int


def moment_of(scenario: Scenario, source: Path, seed: int, wanted: Wanted) -> Moment:
    """Return the moment of a decision. Raises RecordingError when there is no such pod or try."""
    policy = scenario.scheduler.policy
    if policy not in KUBE_POLICIES:
        expected = f"expected {', '.join(KUBE_POLICIES)}: only kube-scheduler's decisions can be taken apart"
        refuse_at(source, Problem(("scheduler", "policy"), f"is {policy!r}; {expected}", policy, KUBE_POLICIES))
    first = Simulation(scenario, source, seed)
    run_sampled(first)
    outcome, names = first.scheduler.outcome(), first.pod_names()
    cycles = np.flatnonzero(outcome.cycle_pod == _number(wanted.pod, names))
    attempt = wanted.attempt or len(cycles)
    if not 1 <= attempt <= len(cycles):
        raise RecordingError(f"the pod {wanted.pod!r} was tried {len(cycles)} times; there is no try {attempt}")
    return _at(Simulation(scenario, source, seed), int(cycles[attempt - 1]), _Place(wanted.pod, attempt, len(cycles)))


@dataclass(frozen=True, slots=True)
class _Place:
    """Say which decision of a pod it is."""

    name: str
    attempt: int
    attempts: int


def _number(name: str, names: list[str]) -> int:
    """Return the scheduler's number of a pod."""
    try:
        return names.index(name)
    except ValueError:
        some = f"; it created {len(names)}, for instance {', '.join(names[:3])}" if names else "; it created none"
        raise RecordingError(f"the run has no pod {name!r}{some}") from None


def _at(simulation: Simulation, number: int, place: _Place) -> Moment:
    """Let a run happen up to a cycle, and return what was there."""
    found: list[Moment] = []

    def keep(cycle_number: int, cycle: Cycle) -> None:
        if cycle_number == number:
            found.append(_kept(simulation, cycle, place))

    simulation.decisions.shown = keep
    while not found:
        simulation.kernel.run(simulation.kernel.now_us + SECOND_US)
    return found[0]


def _kept(simulation: Simulation, cycle: Cycle, place: _Place) -> Moment:
    cluster, decision = simulation.cluster, cycle.decision
    names = simulation.pod_names()
    nodes = tuple(cluster.nodes)
    bound = tuple(
        Bound(Pod(names[resident.pod], resident.shape), i)
        for i, node in enumerate(nodes)
        for resident in cluster.residents(node.name)
    )
    # Where the search began: it moved on by as many nodes as it looked at.
    start = (cluster.engine.start - decision.evaluated) % max(1, len(nodes))
    return Moment(
        pod=Pod(place.name, cycle.shape),
        snapshot=ClusterSnapshot(nodes, bound),
        profile=simulation.world.profile,
        decision=decision,
        start=start,
        time_us=simulation.kernel.now_us,
        attempt=place.attempt,
        attempts=place.attempts,
    )
