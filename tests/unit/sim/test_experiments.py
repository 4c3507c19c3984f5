"""Scenarios as values and files, and what runs of them give."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from mlfn_sim.errors import RecordingError
from mlfn_sim.experiments.intervals import interval, t_quantile
from mlfn_sim.experiments.problems import ScenarioError
from mlfn_sim.experiments.reading import check, read_scenario
from mlfn_sim.experiments.report import Report, run
from mlfn_sim.experiments.scenario import (
    Api,
    Arrivals,
    Cluster,
    Function,
    Generator,
    Lifetime,
    NodeEvent,
    Pods,
    Run,
    Scenario,
    Scheduler,
    ServiceTime,
    Workload,
)
from mlfn_sim.experiments.schema import schema

REPOSITORY = Path(__file__).parents[3]
EXAMPLES = sorted((REPOSITORY / "examples" / "simulations").glob("*.yaml"))
GIB = 1 << 30


def scenario(*functions: Function, **more: Any) -> Scenario:
    """Return a scenario of three nodes with 4 cores and 32 GiB in one zone, without any chance in the times."""
    nodes = more.pop("nodes", 3)
    events = more.pop("events", ())
    pods = Pods(more.pop("arrivals", Arrivals("constant", 1.0)), more.pop("lifetime", Lifetime()))
    how = {"service_time": ServiceTime("fixed", fixed_us=1000), "api": Api(latency_ms=2), **more.pop("scheduler", {})}
    return Scenario(
        name="tiny",
        cluster=Cluster(generate=Generator("homogeneous", nodes), events=events),
        workload=Workload(functions or (Function("f", cpu="1"),), pods=pods),
        scheduler=Scheduler(**how),
        run=Run(**{"duration_s": 10.0, "engine": "reference", **more}),
    )


def figures(report: Report, seed: int = 0) -> dict[str, Any]:
    return dict(report.seeds[seed].figures)


# -- what a run gives, worked out by hand --


def test_figures_of_a_run_that_can_be_counted() -> None:
    # 11 pods at 0, 1, … 10 s; the last is still in its cycle at the end. Three nodes of 4 cores: none waits.
    found = figures(run(scenario()))
    assert (found["arrivals"], found["bound"], found["waiting_at_end"]) == (11, 10, 1)
    assert found["throughput"] == 1.0
    assert found["placement_latency_p50"] == found["placement_latency_p99"] == 3.0
    assert found["queueing_delay_p99"] == 0
    assert found["scheduler_busy"] == pytest.approx(11 * 0.001 / 10)
    assert found["image_hits"] is None
    assert found["gpu_utilisation"] is None


def test_a_burst_waits_in_line() -> None:
    found = figures(run(scenario(arrivals=Arrivals("burst", burst_pods=8, every_s=60))))
    # The k-th cycle begins after k milliseconds; a percentile is a time that occurred.
    assert found["queueing_delay_p50"] == 3.0
    assert found["queueing_delay_p99"] == 7.0
    assert found["placement_latency_p99"] == 10.0


def test_pods_leave_after_their_life_and_are_counted_while_they_stay() -> None:
    report = run(scenario(lifetime=Lifetime("constant", mean_s=2.5), samples=10))
    running = report.seeds[0].series["running"]
    # Seen at 1 s, 2 s, …: the k-th is bound at k + 0.003 s and goes at k + 2.503 s.
    assert running == [1, *[2] * 9]
    assert report.seeds[0].series["cpu"][-1] == pytest.approx(2 / 12)


def test_a_run_of_so_many_pods_ends_once_none_waits() -> None:
    report = run(scenario(pods=4, duration_s=1000.0))
    assert figures(report)["bound"] == 4
    assert 3.003 <= report.seeds[0].series["time_s"][-1] < 20
    full = run(scenario(Function("big", cpu="3"), nodes=2, pods=4, duration_s=100.0))
    assert full.seeds[0].series["time_s"][-1] == 100.0


def test_no_room_is_told_by_filter() -> None:
    report = run(scenario(Function("big", cpu="3"), nodes=2, duration_s=5.0))
    found = figures(report)
    assert (found["bound"], found["waiting_at_end"]) == (2, 4)
    assert set(report.unplaced) == {"NodeResourcesFit"}
    assert found["failed_cycles"] == pytest.approx(report.unplaced["NodeResourcesFit"] / report.seeds[0].cycles)
    # A core is free on each node, and nobody can use it.
    assert report.seeds[0].series["fragmentation"][-1] == 1.0


def test_a_higher_priority_pushes_out_and_the_victim_comes_again() -> None:
    low, high = Function("low", cpu="4", share=1), Function("high", cpu="4", priority=5, share=1)
    for seed in range(1, 6):
        found = figures(run(scenario(low, high, nodes=1, duration_s=3.0, first_seed=seed)))
        if found["preempted"]:
            assert found["preempted"] == 1
            assert found["bound"] == 2  # the low one, then the high one; the low one's successor waits
            assert found["waiting_at_end"] == found["arrivals"] - 2
            assert found["arrivals"] == 5
            return
    pytest.fail("in five seeds no low pod came before a high one")


def test_a_node_that_is_away_keeps_its_zone() -> None:
    events = (NodeEvent(0.0, "fail", names=("node-0",)), NodeEvent(4.5, "repair"))
    asked = scenario(events=events, arrivals=Arrivals("burst", burst_pods=6), samples=10, nodes=6)
    zones = replace(asked.cluster, generate=Generator("zones", 6))
    skew = run(replace(asked, cluster=zones)).seeds[0].series["zone_skew"]
    assert skew == [skew[0]] * 10  # its node is back, empty, in the zone where it was
    assert skew[0] < 1 / 3


@pytest.mark.parametrize("policy", ["kube-default", "best-fit"])
def test_pods_of_a_node_that_fails_come_again(policy: str) -> None:
    events = (NodeEvent(3.5, "fail", names=("node-0",)), NodeEvent(6.5, "repair"), NodeEvent(8.0, "cordon", 1))
    asked = scenario(events=events, duration_s=9.5, samples=19, scheduler={"policy": policy})
    report = run(asked)
    series, found = report.seeds[0].series, figures(report)
    assert series["nodes"][5:14] == [3, 2, 2, 2, 2, 2, 2, 3, 3]
    assert found["lost"] == found["arrivals"] - 10
    assert found["waiting_at_end"] == 0
    alone = replace(asked, workload=replace(asked.workload, pods=replace(asked.workload.pods, replaced=False)))
    assert figures(run(alone))["arrivals"] == 10


# -- a trace --

TRACE = "time_s,function,lifetime_s\n0.5,f,\n0.5,g,1.5\n4,f,0.25\n99,g,\n"


def traced(folder: Path, text: str) -> Report:
    (folder / "trace.csv").write_text(text)
    asked = scenario(Function("f", cpu="1"), Function("g", cpu="2"), samples=20)
    pods = replace(asked.workload.pods, trace="trace.csv")
    return run(replace(asked, workload=replace(asked.workload, pods=pods)), folder / "s.yaml")


def test_pods_come_and_go_as_a_trace_says(tmp_path: Path) -> None:
    report = traced(tmp_path, TRACE)
    assert figures(report)["arrivals"] == 3  # the last comes after the end
    # Seen at 0.5 s (they just come), 1 s (both), …, 2.5 s (g has gone), …, 4.5 s (the third came and went).
    assert report.seeds[0].series["running"][:9] == [0, 2, 2, 2, 1, 1, 1, 1, 1]
    assert report.seeds[0].series["cpu"][1] == pytest.approx(3 / 12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("4,f", "0.4,f"), "trace.csv:4: time_s is 0.4, and the row before it has 0.5; expected rising times"),
        (("4,f", "-4,f"), "trace.csv:4: time_s is '-4'; expected seconds"),
        (("4,f", "nan,f"), "trace.csv:4: time_s is 'nan'; expected seconds"),
        (("g,1.5", "h,1.5"), "trace.csv:3: function is 'h'; expected one of the scenario's: f, g"),
        (("0.25", "0"), "trace.csv:4: lifetime_s is 0; expected more than 0"),
        (("time_s", "time"), "trace.csv:1: column 'time' is unknown; expected time_s, function, lifetime_s"),
        ((",0.25", ""), "trace.csv:4: has another number of cells"),
        ((TRACE[27:], ""), "trace.csv: has no rows"),
    ],
)
def test_a_bad_trace_is_refused_with_its_line(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(RecordingError) as caught:
        traced(tmp_path, TRACE.replace(*change))
    assert words in str(caught.value)


# -- the same again --


def test_the_same_scenario_gives_the_same_bytes_and_other_seeds_do_not(tmp_path: Path) -> None:
    asked = read_scenario(EXAMPLES[-1])
    asked = replace(asked, run=replace(asked.run, duration_s=40.0, warm_up_s=5.0, seeds=2, engine="reference"))
    first = run(asked, EXAMPLES[-1], out=tmp_path)
    table = pq.read_table(tmp_path / "decisions" / "seed-1.parquet")
    assert table.num_rows == first.seeds[0].cycles
    bound = [node for node in table["node"].to_pylist() if node]
    assert len(bound) >= figures(first)["bound"]
    assert len(set(zip(table["pod"].to_pylist(), table["attempt"].to_pylist(), strict=True))) == table.num_rows
    assert first.seeds[0].decision_hash != first.seeds[1].decision_hash
    (tmp_path / "decisions" / "seed-1.parquet").unlink()  # made again, though its run is kept
    again = run(asked, EXAMPLES[-1], out=tmp_path)
    assert json.dumps(again.as_json()) == json.dumps(first.as_json())
    assert pq.read_table(tmp_path / "decisions" / "seed-1.parquet").equals(table)


@pytest.mark.parametrize("policy", ["kube-default", "best-fit"])
def test_both_engines_take_the_same_decisions(policy: str) -> None:
    asked = read_scenario(REPOSITORY / "examples" / "simulations" / "small.yaml")
    hashes = set()
    for engine in ("reference", "fast"):
        short = replace(asked.run, duration_s=60.0, warm_up_s=0.0, seeds=1, engine=engine)
        report = run(replace(asked, run=short, scheduler=Scheduler(policy=policy)))
        assert figures(report)["bound"] > 100
        hashes.add((report.seeds[0].decision_hash, json.dumps(figures(report))))
    assert len(hashes) == 1


def test_another_policy_does_not_reshuffle_arrivals(tmp_path: Path) -> None:
    def arrivals(policy: str) -> list[tuple[str, int]]:
        asked = scenario(Function("a", share=2), Function("b"), arrivals=Arrivals("poisson", 5.0))
        run(replace(asked, scheduler=Scheduler(policy=policy)), out=tmp_path / policy)
        table = pq.read_table(tmp_path / policy / "decisions" / "seed-1.parquet").to_pydict()
        return [
            (pod, time)
            for pod, time, attempt in zip(table["pod"], table["time_us"], table["attempt"], strict=True)
            if attempt == 1
        ]

    assert arrivals("kube-default") == arrivals("random")


# -- statistics --


def test_intervals_are_those_of_the_tables() -> None:
    # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2: upper critical values of Student's t, 0.975.
    for freedom, value in ((1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (100, 1.984)):
        assert t_quantile(0.975, freedom) == pytest.approx(value, abs=6e-4)
    found = interval([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.mean, found.low) == (2.0, pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5))


def test_intervals_hold_what_they_promise() -> None:
    draws = np.random.default_rng(1).normal(7.0, 2.0, (4000, 5))
    inside = sum(found.low <= 7 <= found.high for row in draws if (found := interval(row.tolist())))
    assert 0.935 <= inside / len(draws) <= 0.965


# -- files --


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_takes_what_the_reader_takes(path: Path) -> None:
    read_scenario(path)
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())
    written = json.loads((REPOSITORY / "docs" / "reference" / "scenario.schema.json").read_text())
    assert written == schema(), "run python docs/generate.py"


GOOD = """\
name: x
cluster:
  generate: {shape: zones, nodes: 3}
workload:
  functions:
    - {name: a}
"""


@pytest.mark.parametrize(
    ("change", "line", "words", "by_schema"),
    [
        (("generate", "generte"), 3, "cluster.generte is unknown; expected one of file, generate", True),
        (("zones", "zone"), 3, "cluster.generate.shape is 'zone'; expected one of homogeneous, zones", True),
        (("nodes: 3", "nodes: 0"), 3, "cluster.generate.nodes is 0; expected 1 or more", True),
        (("nodes: 3", "nodes: .inf"), 3, "cluster.generate.nodes is inf; expected a whole number", True),
        (("{name: a}", "{name: a, cpu: 12x}"), 6, "functions[0].cpu is '12x'; expected a quantity", False),
        (("{name: a}", "{name: a, cpu: -1}"), 6, "functions[0].cpu is '-1'; expected 0 or more", False),
        (("{name: a}", "{name: A_}"), 6, "functions[0].name is 'A_'; expected small letters", True),
        (("{name: a}", "{name: a}\n    - {name: a}"), 7, "a second function 'a'", False),
        (
            ("{name: a}", "{name: a, constraints: {tolerations: [{kee: b}]}}"),
            6,
            "constraints.tolerations[0].kee is unknown; expected one of key, operator",
            True,
        ),
        (
            ("{name: a}", "{name: a, constraints: {tolerations: [{operator: Is}]}}"),
            6,
            "functions[0] cannot be used: Pod 'a' has a toleration with operator 'Is'",
            False,
        ),
        (("workload:", "run: {warm_up_s: 60}\nworkload:"), 4, "run.warm_up_s is 60.0; expected less", False),
        (("workload:", "run: {seeds: 1.5}\nworkload:"), 4, "run.seeds is 1.5; expected a whole number", True),
        (("workload:", "scheduler: {policy: bestfit}\nworkload:"), 4, "scheduler.policy cannot be used", False),
        (("{name: a}", "{name: a, cpu: 5000m}"), 4, "cannot place anything: a fits no node", False),
        (("name: x\n", ""), 1, "the scenario has no name", True),
        (("name: x\n", "name: x\nname: y\n"), 2, "'name' stands twice, first on line 1", False),
        (("name: x\n", "name: [x\n"), 2, "is not YAML", False),
    ],
)
def test_bad_scenarios_are_refused_with_their_line(
    change: tuple[str, str], line: int, words: str, by_schema: bool, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ScenarioError) as caught:
        run(replace(read_scenario(path)), path)
    assert f"{path}:{line}: " in str(caught.value)
    assert words in str(caught.value)
    if by_schema:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(path.read_text()), schema())


def test_values_made_in_python_are_judged_alike() -> None:
    with pytest.raises(ScenarioError, match=r"scenario: workload.functions\[0\].cpu is 'much'"):
        check(scenario(Function("a", cpu="much")))
    with pytest.raises(ScenarioError, match=r"run\.duration_s is nan; expected a finite number"):
        check(scenario(duration_s=math.nan))


PYTHON = """\
from mlfn_sim.experiments.scenario import Cluster, Function, Generator, Scenario, Workload

SCENARIO = Scenario(
    name="made", cluster=Cluster(generate=Generator(nodes=2)), workload=Workload((Function("a", copies=COPIES),))
)
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PYTHON, ":4: failed while it ran: NameError: name 'COPIES' is not defined"),
        ("x = ", ":1: is not Python"),
        ("SCENARIO = 3", "defines a int; expected SCENARIO"),
        ("x = 3", "defines nothing; expected SCENARIO"),
        (PYTHON.replace("COPIES", "-1"), "workload.functions[0].copies is -1; expected 1 or more"),
    ],
)
def test_a_python_file_that_makes_no_scenario(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s.py"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        read_scenario(path)
    assert f"{path}" in str(caught.value)
    assert words in str(caught.value)
    path.write_text(PYTHON.replace("COPIES", "2"))
    assert read_scenario(path).workload.functions[0].copies == 2
