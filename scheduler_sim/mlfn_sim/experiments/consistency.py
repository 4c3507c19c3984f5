"""What values of a scenario do not go together."""

from __future__ import annotations

from collections.abc import Iterator

from mlfn_sim.experiments.problems import Problem
from mlfn_sim.experiments.scenario import Scenario

__all__ = ["inconsistencies"]


def inconsistencies(scenario: Scenario) -> list[Problem]:
    """Return every problem between values that are right on their own."""
    return [*_cluster(scenario), *_workload(scenario), *_scheduler(scenario), *_run(scenario)]


def _cluster(scenario: Scenario) -> Iterator[Problem]:
    cluster = scenario.cluster
    if bool(cluster.file) == bool(cluster.generate):
        both = "both file and generate" if cluster.file else "neither file nor generate"
        yield Problem(("cluster",), f"has {both}; expected one of them")
    for i, event in enumerate(cluster.events):
        path = ("cluster", "events", i)
        if event.nodes and event.names:
            yield Problem(path, "has both nodes and names; expected one of them")
        if event.what in ("fail", "cordon", "add") and not event.nodes and not event.names:
            yield Problem(path, f"does not say which nodes {event.what}; expected nodes or names")
        if event.what == "add" and not cluster.generate:
            yield Problem(path, "adds nodes to a cluster from a file; expected cluster.generate")
        if event.what == "add" and event.names:
            yield Problem(path, "names the nodes to add; expected how many, as nodes")
        if event.at_s > scenario.run.duration_s:
            yield Problem((*path, "at_s"), f"is {event.at_s}; the run ends at {scenario.run.duration_s} s")


def _workload(scenario: Scenario) -> Iterator[Problem]:
    work = scenario.workload
    if bool(work.functions) == bool(work.pods.file):
        seen = "both functions and pods.file" if work.functions else "neither functions nor pods.file"
        yield Problem(("workload",), f"has {seen}; expected one of them")
    if work.pods.file and work.pods.trace:
        yield Problem(("workload", "pods"), "has both file and trace; expected one of them")
    names: dict[str, int] = {}
    for i, function in enumerate(work.functions):
        copies = [f"{function.name}-{k}" for k in range(function.copies)] if function.copies > 1 else [function.name]
        for name in copies:
            if name in names:
                text = f"gives a second function {name!r}; the first is functions[{names[name]}]"
                yield Problem(("workload", "functions", i, "name"), text)
                break
            names[name] = i
        if function.image_on and not function.image:
            yield Problem(("workload", "functions", i, "image_on"), "is there without image; expected both")


def _scheduler(scenario: Scenario) -> Iterator[Problem]:
    scheduler = scenario.scheduler
    if scheduler.profile_name and not scheduler.profile:
        yield Problem(("scheduler", "profile_name"), "is there without profile; expected both")


def _run(scenario: Scenario) -> Iterator[Problem]:
    run = scenario.run
    if run.warm_up_s >= run.duration_s:
        yield Problem(("run", "warm_up_s"), f"is {run.warm_up_s}; expected less than duration_s, {run.duration_s}")
    arrivals = scenario.workload.pods.arrivals
    most = 100_000_000
    rate = arrivals.burst_pods / arrivals.every_s if arrivals.process == "burst" else arrivals.rate_per_s
    if not run.pods and rate * run.duration_s > most:
        yield Problem(
            ("run", "duration_s"), f"lets some {rate * run.duration_s:.0f} pods come; expected at most {most}"
        )
