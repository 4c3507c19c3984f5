"""Run a scenario over its seeds, on all cores, and put the figures together."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlfn_sim.errors import NotWritten
from mlfn_sim.experiments.decisions_file import write_decisions
from mlfn_sim.experiments.figures import FIGURES, figures_of, latencies_of
from mlfn_sim.experiments.fitting import misfits
from mlfn_sim.experiments.intervals import CONFIDENCE, Interval, interval
from mlfn_sim.experiments.reading import check
from mlfn_sim.experiments.running import Simulation
from mlfn_sim.experiments.sampling import run_sampled
from mlfn_sim.experiments.scenario import Scenario
from mlfn_sim.experiments.world import KUBE_POLICIES, make_world
from mlfn_sim.placement.names import BUILT_IN, policy_named
from mlfn_sim.placement.programs import program
from mlfn_sim.sweeps import Where, sweep

__all__ = ["SCHEMA", "Report", "SeedTask", "run", "run_seed"]

SCHEMA = "mlfn.run/v1"
_Series = Mapping[str, list[float]]


@dataclass(frozen=True, slots=True)
class SeedTask:
    """Ask for one run."""

    scenario: Scenario
    source: Path
    seed: int
    decisions: Path | None
    """Where its decisions are written."""
    inputs: str
    """Digest of the files that the scenario names, and of its policy."""

    @property
    def key(self) -> str:
        """Name the run."""
        return f"seed-{self.seed}"


@dataclass(frozen=True, slots=True)
class SeedResult:
    """Hold what one run gave."""

    seed: int
    decision_hash: str
    cycles: int
    figures: Mapping[str, float | None]
    unplaced: Mapping[str, int]
    """Filter -> cycles without a node in which it rejected some."""
    series: _Series
    latency_ms: list[float]
    """Placement latency at 0, 1, … 100 percent of the pods bound; empty: none was."""


@dataclass(frozen=True, slots=True)
class Report:
    """Hold what a scenario gave over its seeds."""

    scenario: Scenario
    seeds: tuple[SeedResult, ...]
    notes: tuple[str, ...] = ()
    """What one should know before one reads the figures."""

    @property
    def figures(self) -> dict[str, Interval | None]:
        """Return each figure's mean and interval, over the seeds that have it."""
        columns = {name: [each.figures[name] for each in self.seeds] for name in FIGURES}
        return {name: interval([value for value in values if value is not None]) for name, values in columns.items()}

    @property
    def unplaced(self) -> dict[str, float]:
        """Return, for each filter, in how many cycles without a node it rejected some: the mean over seeds."""
        names = sorted({name for each in self.seeds for name in each.unplaced})
        return {name: sum(each.unplaced.get(name, 0) for each in self.seeds) / len(self.seeds) for name in names}

    @property
    def placed_anything(self) -> bool:
        """Tell whether any pod was bound in any run."""
        return any(each.figures["bound"] for each in self.seeds)

    def as_json(self) -> dict[str, Any]:
        """Return the report for ``-o json``; the same scenario gives the same bytes."""
        units = {name: unit for name, (unit, _) in FIGURES.items()}
        return {
            "schema": SCHEMA,
            "scenario": self.scenario.name,
            "engine": self.scenario.run.engine,
            "policy": self.scenario.scheduler.policy,
            "confidence": CONFIDENCE,
            "figures": {
                name: None
                if found is None
                else {"unit": units[name], "mean": found.mean, "low": found.low, "high": found.high}
                for name, found in self.figures.items()
            },
            "unplaced_by_filter": self.unplaced,
            "notes": list(self.notes),
            "seeds": [
                {
                    "seed": each.seed,
                    "decision_hash": each.decision_hash,
                    "cycles": each.cycles,
                    "figures": dict(each.figures),
                    "unplaced_by_filter": dict(each.unplaced),
                }
                for each in self.seeds
            ],
        }


def run(
    scenario: Scenario,
    source: Path = Path("scenario"),
    *,
    out: Path | None = None,
    where: Where = Where(),  # noqa: B008  # frozen
    progress: Callable[[str], None] = lambda message: None,
) -> Report:
    """Run a scenario; ``source`` is its file, beside which other files are looked for.

    With ``out``, each run's decisions are written to ``out/decisions``, and finished runs are not done again. Raises
    ScenarioError, RecordingError, NotWritten, and what :func:`~mlfn_sim.sweeps.sweep` raises.
    """
    check(scenario, str(source))
    world = make_world(scenario, source, scenario.run.first_seed)
    notes = (*misfits(scenario, source, world), *_fallback(scenario))
    for note in notes:
        progress(note)
    tasks = _tasks(scenario, source, out)
    kept = Where(out / "runs", where.on, where.workers, where.address) if out else where
    documents = sweep(tasks, run_seed, where=kept, progress=progress)
    # A run that is kept may have lost its decisions meanwhile.
    gone = [task for task in tasks if task.decisions and not task.decisions.exists()]
    sweep(gone, run_seed, where=where, progress=progress)
    return Report(scenario, tuple(SeedResult(**document) for document in documents), notes)


def run_seed(task: SeedTask) -> dict[str, Any]:
    """Do one run, and return its result as plain data."""
    simulation = Simulation(task.scenario, task.source, task.seed)
    samples = run_sampled(simulation)
    if task.decisions:
        write_decisions(simulation, task.decisions)
    outcome = simulation.scheduler.outcome()
    return {
        "seed": task.seed,
        "decision_hash": outcome.decision_hash,
        "cycles": len(outcome.cycle_node),
        "figures": figures_of(simulation, samples),
        "unplaced": dict(sorted(simulation.decisions.unplaced.items())),
        "series": samples.series,
        "latency_ms": latencies_of(simulation),
    }


def _tasks(scenario: Scenario, source: Path, out: Path | None) -> list[SeedTask]:
    folder = out / "decisions" if out else None
    if folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotWritten(f"{folder}: cannot be made: {error.strerror}") from error
    inputs, first = _inputs(scenario, source), scenario.run.first_seed
    return [
        SeedTask(scenario, source, seed, folder / f"seed-{seed}.parquet" if folder else None, inputs)
        for seed in range(first, first + scenario.run.seeds)
    ]


def _inputs(scenario: Scenario, source: Path) -> str:
    """Return a digest of what a scenario names but does not hold."""
    pods = scenario.workload.pods
    names = (scenario.cluster.file, pods.file, pods.trace, scenario.scheduler.profile)
    paths = [source.parent / name for name in names if name]
    policy = scenario.scheduler.policy
    if policy not in KUBE_POLICIES and policy not in BUILT_IN:
        spec = importlib.util.find_spec(policy.partition(":")[0])
        paths += [Path(spec.origin)] if spec and spec.origin else []
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _fallback(scenario: Scenario) -> tuple[str, ...]:
    """Return why a policy is not compiled, though the fast engine was asked for."""
    policy = scenario.scheduler.policy
    if policy in KUBE_POLICIES or scenario.run.engine != "fast":
        return ()
    why = program(policy_named(policy)).fallback
    return (f"{policy} runs as it stands, not compiled: {why}",) if why else ()
