"""sim import and sim generate: a file of ours, or one clear refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlfn_sim.cluster.files import read_cluster

NODE = {"kind": "Node", "metadata": {"name": "n0"}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": 9}}}
POD = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n0", "containers": [{"name": "c"}]}}


def listed(path: Path, *items: object) -> Path:
    """Write a list as kubectl does."""
    path.write_text(json.dumps({"kind": "List", "items": items}))
    return path


def test_import_keeps_a_cluster(run: Any, tmp_path: Path) -> None:
    nodes, pods = listed(tmp_path / "nodes.json", NODE), listed(tmp_path / "pods.json", POD)
    outcome = run("sim", "import", "--nodes", nodes, "--pods", pods, "-o", tmp_path / "c.parquet")
    assert (outcome.code, outcome.out) == (0, "")
    assert "1 nodes, 1 pods on them, 0 waiting, 0 Services" in outcome.err
    assert read_cluster(tmp_path / "c.parquet").bound[0].pod.name == "p"


@pytest.mark.parametrize(
    ("items", "out", "words"),
    [
        ((NODE, NODE), "c.parquet", "nodes.json: Node 'n0' is there twice"),
        ((NODE,), "c.csv", "a cluster's file ends in .parquet or .arrow"),
    ],
)
def test_import_refuses(run: Any, tmp_path: Path, items: tuple[object, ...], out: str, words: str) -> None:
    nodes = listed(tmp_path / "nodes.json", *items)
    outcome = run("sim", "import", "--nodes", nodes, "-o", tmp_path / out)
    assert outcome.code == 2
    assert words in outcome.err
    assert not (tmp_path / out).exists()


def test_generate_makes_the_nodes_asked_for(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.arrow"
    assert run("sim", "generate", "--nodes", "12", "--shape", "core-edge", "--seed", "3", "-o", path).code == 0
    assert len(read_cluster(path).nodes) == 12


def test_generate_offers_the_nearest_shape(run: Any, tmp_path: Path) -> None:
    outcome = run("sim", "generate", "--nodes", "12", "--shape", "zone", "-o", tmp_path / "c.arrow")
    assert outcome.code == 2
    assert "did you mean 'zones'?" in outcome.err


def test_a_write_that_fails_is_told(run: Any, tmp_path: Path) -> None:
    outcome = run("sim", "generate", "--nodes", "1", "-o", tmp_path / "none" / "c.arrow")
    assert outcome.code == 1
    assert "c.arrow: cannot be written: No such file or directory" in outcome.err


def clustered(tmp_path: Path, *pods: object) -> Path:
    """Write a cluster as JSON."""
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps({"nodes": [NODE], "bound": [], "pods": pods, "services": []}))
    return path


def waiting(name: str, cpu: str) -> dict[str, Any]:
    """Return a pod that waits."""
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


def test_explain_as_a_page(run: Any, tmp_path: Path) -> None:
    outcome = run("sim", "explain", clustered(tmp_path, waiting("p", "5")), "--pod", "p")
    assert outcome.code == 0
    assert "default/p fits nowhere: 0/1 nodes are available: 1 Insufficient cpu." in outcome.out
    assert "n0 (Insufficient cpu): 1000m more cpu on n0 (or the pod asking 4000m instead of 5000m)" in outcome.out


def test_explain_as_a_document_with_a_picture(run: Any, tmp_path: Path) -> None:
    picture = tmp_path / "why.svg"
    told = run(
        "sim", "explain", clustered(tmp_path, waiting("p", "1")), "--pod", "p", "--picture", picture, "-o", "json"
    )
    assert told.json["schema"] == "mlfn.explanation/v1"
    assert (told.json["chosen"], told.json["feasible"]) == ("n0", 1)
    assert picture.read_text().startswith("<?xml")


def test_explain_refuses_a_pod_that_is_not_there(run: Any, tmp_path: Path) -> None:
    outcome = run("sim", "explain", clustered(tmp_path, waiting("p", "1")), "--pod", "x")
    assert outcome.code == 2
    assert "there is no pod 'x'; there are p, for instance" in outcome.err
