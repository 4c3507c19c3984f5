"""sim run and sim explain on scenarios, as one types them."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

SCENARIO = """\
name: tiny
cluster:
  generate: {shape: zones, nodes: 6}
workload:
  functions:
    - {name: a, cpu: 1, service: true}
    - {name: b, cpu: 2, constraints: {nodeSelector: {topology.kubernetes.io/zone: zone-a}}}
  pods:
    arrivals: {process: constant, rate_per_s: 2}
run: {duration_s: 8, seeds: 2, engine: reference}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """A scenario that takes no time."""
    path = tmp_path / "tiny.yaml"
    path.write_text(SCENARIO)
    return path


def test_run_writes_a_report_that_needs_nothing_else(run: Any, scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run("sim", "run", scenario, "--out", out, "--jobs", "1", "-o", "json")
    assert outcome.code == 0
    document = outcome.json
    assert document["schema"] == "mlfn.run/v1"
    assert [each["seed"] for each in document["seeds"]] == [1, 2]
    assert document["figures"]["throughput"]["low"] <= document["figures"]["throughput"]["mean"]
    page = (out / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 5
    assert not any(word in page for word in ("<script", "<link", "http://", "https://", "url("))
    assert document["seeds"][0]["decision_hash"] in page
    assert all((out / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in ("pods", "nodes", "balance"))
    rows = pq.read_table(out / "decisions" / "seed-2.parquet").to_pylist()
    assert {row["seed"] for row in rows} == {2}
    assert not list(out.rglob("*.part"))


def test_options_stand_in_for_the_file(run: Any, scenario: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "own_place.py").write_text(
        "from mlfn_policies.place import Policy, fits\n\n\n"
        "def score(pod, nodes, i):\n    return -i\n\n\nlowest = Policy(fits, score)\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    asked = ("--seeds", "1", "--policy", "own_place:lowest", "--out", tmp_path / "out", "-o", "json")
    document = run("sim", "run", scenario, *asked).json
    assert document["policy"] == "own_place:lowest"
    assert len(document["seeds"]) == 1
    placed = pq.read_table(tmp_path / "out" / "decisions" / "seed-1.parquet").to_pydict()
    first = [node for pod, node in zip(placed["pod"], placed["node"], strict=True) if pod.startswith("a-")][:2]
    assert first == ["node-0", "node-0"]


def test_refusals_name_line_and_nearest(run: Any, scenario: Path) -> None:
    scenario.write_text(SCENARIO.replace("shape: zones", "shap: zones").replace("seeds: 2", "seeds: 0"))
    outcome = run("sim", "run", scenario)
    assert outcome.code == 2
    assert f"{scenario}:3: cluster.generate.shap is unknown" in outcome.err
    assert f"{scenario}:10: run.seeds is 0; expected 1 or more" in outcome.err
    assert "did you mean 'shape'?" in outcome.err


def test_a_run_that_places_nothing_fails_the_check(run: Any, scenario: Path) -> None:
    alone = "{podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: t, labelSelector: {}}]}}"
    scenario.write_text(
        SCENARIO.replace("cpu: 1, service: true", f"cpu: 1, constraints: {{affinity: {alone}}}").replace(
            "- {name: b", "#"
        )
    )
    outcome = run("sim", "run", scenario, "--jobs", "1")
    assert outcome.code == 9
    assert "no pod was placed in any run" in outcome.err
    assert "InterPodAffinity" in outcome.err


def test_a_full_disk_leaves_nothing_half_written(scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    code = (
        "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from mlfn.command.main import main; sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "sim", "run", str(scenario), "--seeds", "1", "--out", str(out)],
        preexec_fn=small,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=100,
    )
    assert ended.returncode == 1, ended.stderr
    assert "seed-1.parquet: cannot be written" in ended.stderr
    assert [path.name for path in out.rglob("*") if path.is_file()] == []


def test_explain_a_pod_of_a_run(run: Any, scenario: Path, tmp_path: Path) -> None:
    run("sim", "run", scenario, "--seeds", "1", "--out", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "decisions" / "seed-1.parquet").to_pylist()
    placed = next(row for row in rows if row["node"] and row["feasible"] > 1 and row["cycle"] > 3)
    told = run("sim", "explain", scenario, "--pod", placed["pod"], "-o", "json").json
    assert (told["chosen"], told["feasible"]) == (placed["node"], placed["feasible"])
    assert told["scores"][0]["total"] == placed["score"]
    assert len(told["ties"]) == placed["ties"]
    assert told["at_s"] == placed["time_us"] / 1e6
    refused = next(row for row in rows if not row["node"])
    asked = ("--pod", refused["pod"], "--attempt", "1", "--picture", tmp_path / "why.png")
    outcome = run("sim", "explain", scenario, *asked)
    assert f"try 1 of {sum(row['pod'] == refused['pod'] for row in rows)}" in outcome.out
    assert f"{refused['rejected_NodeAffinity']} node(s) didn't match" in outcome.out
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--pod", "c-1"), "the run has no pod 'c-1'; it created"),
        (("--pod", "a-0", "--attempt", "9"), "the pod 'a-0' was tried 1 times; there is no try 9"),
        (("--pod", "a-0", "--alone"), "--alone"),
    ],
)
def test_explain_refuses(run: Any, scenario: Path, asked: tuple[str, ...], words: str) -> None:
    outcome = run("sim", "explain", scenario, *asked)
    assert outcome.code == 2
    assert words in outcome.err
