"""The simulator decides as kube-scheduler 1.34 did: every recorded pod and score, and any tampering is seen."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn_sim.agreement import verify_files
from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.engine import ENGINES

DATA = Path(__file__).parents[1] / "data" / "kube_scheduler"
STEPS = DATA / "decisions.json.gz"
SCORES = sorted(path for path in DATA.glob("*.json.gz") if path != STEPS)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_recorded_step_is_reproduced(engine: str) -> None:
    (result,) = verify_files([STEPS], engine=engine).results
    assert (result.kind, result.cases) == ("kube-scheduler steps", 10)
    assert (result.decisions, result.equal_decisions) == (2050, 2050)
    assert (result.rows, result.equal_rows, result.first_difference) == (59840, 59840, None)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_recorded_score_is_reproduced(engine: str) -> None:
    report = verify_files(SCORES, engine=engine)
    assert len(report.results) == 17
    assert report.agrees
    assert sum(result.decisions for result in report.results) == 1928
    assert sum(result.rows for result in report.results) == sum(r.equal_rows for r in report.results) == 110_078


def tampered(folder: Path, name: str, change: Callable[[dict[str, Any]], None], line: int = 0) -> Path:
    """Copy a recording of scores with one line of its answers changed."""
    for path in DATA.glob(f"{name}.*"):
        shutil.copy(path, folder / path.name)
    companion = folder / f"{name}.out.jsonl.gz"
    lines = [json.loads(text) for text in gzip.decompress(companion.read_bytes()).splitlines()]
    change(lines[line])
    companion.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return folder / f"{name}.json.gz"


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("r7_all", lambda line: line["scores"][3].__setitem__(0, 7), "scores of"),
        ("r1_resources", lambda line: line.update(feasible=line["feasible"] - 1), "feasible"),
        ("r9_sampled", lambda line: line.update(evaluated=line["evaluated"] + 1), "evaluated"),
        ("hand5_default_spread", lambda line: line.update(host="n0"), "host"),
        ("r2_images", lambda line: line["plugins"].__setitem__(0, "Nobody"), "plugins"),
    ],
)
def test_a_changed_answer_is_found(name: str, change: Callable[[Any], None], what: str, tmp_path: Path) -> None:
    report = verify_files([tampered(tmp_path, name, change)])
    assert not report.agrees
    difference = report.results[0].first_difference
    assert difference is not None
    assert str(difference["what"]).startswith(what)


def test_changed_words_are_found(tmp_path: Path) -> None:
    lines = gzip.decompress((DATA / "r8_full.out.jsonl.gz").read_bytes()).splitlines()
    refused = next(i for i, text in enumerate(lines) if not json.loads(text)["host"])
    path = tampered(tmp_path, "r8_full", lambda line: line.update(err="0/12 nodes are available: 12 moons."), refused)
    difference = verify_files([path]).results[0].first_difference
    assert difference is not None
    assert difference["what"] == "err"


@pytest.mark.parametrize("key", ["totals", "ties", "rejected_by", "chosen_plugin_scores"])
def test_a_changed_step_is_found(key: str, tmp_path: Path) -> None:
    document = json.loads(gzip.decompress(STEPS.read_bytes()))[:8]
    step = next(each for case in document for each in case["steps"] if each.get(key))
    if key == "ties":
        step[key] = step[key][:-1] or ["nobody"]
    else:
        name = next(iter(step[key]))
        step[key][name] = [1000] if isinstance(step[key][name], list) else 1000
    path = tmp_path / "steps.json"
    path.write_text(json.dumps(document))
    report = verify_files([path])
    assert not report.agrees
    assert report.results[0].decisions - report.results[0].equal_decisions >= 1


def test_another_profile_gives_other_scores() -> None:
    report = verify_files([DATA / "r1_resources.json.gz"], DATA / "r1_most.profile.yaml")
    assert not report.agrees


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod\n", "is no KubeSchedulerConfiguration"),
        ("kind: KubeSchedulerConfiguration\nextenders: [{urlPrefix: x}]\n", "has extenders"),
        (
            "kind: KubeSchedulerConfiguration\nprofiles: [{plugins: {score: {enabled: [{name: Mine}]}}}]\n",
            "names the plugin 'Mine'",
        ),
        ("kind: KubeSchedulerConfiguration\npercentageOfNodesToScore: 900\n", "0 to 100"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_configuration_that_cannot_be_simulated_is_refused(text: str, words: str, tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text(text)
    with pytest.raises(RecordingError, match=words):
        verify_files([DATA / "hand1_resources.json.gz"], profile)


def test_a_missing_companion_is_named(tmp_path: Path) -> None:
    shutil.copy(DATA / "hand1_resources.json.gz", tmp_path)
    with pytest.raises(RecordingError, match=r"hand1_resources\.out\.jsonl\.gz: is missing"):
        verify_files([tmp_path / "hand1_resources.json.gz"])
