"""The openb study through its command: agreement, what is printed, bad input, and the tutorial's policy."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlfn.command.main import main
from mlfn_sim.openb.go_random import GoRandom

ROOT = Path(__file__).resolve().parents[3]
TRACE = ROOT / "examples" / "openb"


@dataclass(frozen=True)
class Answer:
    """Hold what the command said."""

    exit_code: int
    stdout: str
    stderr: str


Ask = Callable[..., Answer]


@pytest.fixture
def asked(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs the command in one process."""

    def ask(*words: str) -> Answer:
        code = main(["sim", "openb", "--jobs", "1", *words])
        return Answer(code, *capsys.readouterr())

    return ask


@pytest.mark.timeout(300)
def test_runs_equal_the_published_ones_are_kept_and_shown(asked: Ask, tmp_path: Path) -> None:
    words = ("--data", str(TRACE), "--workload", "default", "--policy", "FGD", "--seeds", "2", "--out", str(tmp_path))
    result = asked(*words, "-o", "json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["schema"] == "mlfn.openb/v1"
    assert report == json.loads((tmp_path / "report.json").read_text())
    runs = report["runs"]
    assert [run["seed"] for run in runs] == [42, 43]
    assert runs[0]["decision_hash"] != runs[1]["decision_hash"]
    assert set(runs[0]["allocation"]) == {str(percent) for percent in range(131)}
    (agreement,) = report["agreement"]
    assert agreement["same_curves"] == 2, agreement
    assert agreement["largest_difference"] < 0.02
    page = (tmp_path / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "default-allocation.png" in {path.name for path in tmp_path.iterdir()}
    assert asked(*words, "-o", "json").stdout == result.stdout  # with the seconds measured then: from what was kept


def test_seeds_are_those_of_gos_generator() -> None:
    chance = GoRandom(1)
    assert [chance.intn(100) for _ in range(10)] == [81, 87, 47, 59, 81, 18, 25, 40, 56, 0]  # of Go's own tour


@pytest.mark.timeout(300)
def test_the_tutorials_policy_runs(asked: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "tutorial" / "your-own-policy.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert source.count("\n") < 30
    (tmp_path / "tightest.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    result = asked("--data", str(TRACE), "--workload", "multigpu20", "--policy", "tightest:tightest", "--seeds", "1")
    assert result.exit_code == 0, result.stderr
    assert "not compiled" not in result.stderr
    used = re.search(r"tightest:tightest\s+1\s+([\d.]+)", result.stdout)
    assert used
    assert 85 < float(used[1]) < 99


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--workload", "defualt"), "defualt"),
        (("--policy", "bestfit_of_all"), "expected one of kube-default"),
        (("--policy", "gpu-packin"), "did you mean 'gpu-packing'?"),
        (("--policy", "mlfn_policies.place_fit:best_fitt"), "did you mean 'best_fit'?"),
        (("--policy", "nowhere:mine"), "nowhere"),
        (("--seeds", "0"), "--seeds"),
    ],
)
def test_what_is_asked_wrongly_is_refused(asked: Ask, words: tuple[str, ...], told: str) -> None:
    result = asked("--data", str(TRACE), *words)
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a,-5,1,1,500,,,,", "cpu_milli is '-5'"),
        ("a,5,1,1,1500,,,,", "1 GPUs of 1500 thousandths"),
        ("a,5,1,two,500,,,,", "num_gpu is 'two'"),
        ("a,5", "expected"),
        ("a,5,1,0,0,,,,\na,5,1,0,0,,,,", "which an earlier line has"),
        ("a,5,1,0,0,,9,,8", "deletion_time is 8; expected creation_time (9) or later"),
        ("a,5,1,0,0,,9,7,12", "scheduled_time is 7; expected creation_time (9) or later"),
        ("a,5,1,0,0,,9,soon,12", "scheduled_time is 'soon'; expected a whole number"),
    ],
)
def test_a_broken_trace_names_file_line_and_value(asked: Ask, tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "openb_node_list_gpu_node.csv").write_text("sn,cpu_milli,memory_mib,gpu,model\nn,1000,1000,1,T4\n")
    head = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,scheduled_time,deletion_time\n"
    (tmp_path / "openb_pod_list_default.csv").write_text(head + line + "\n")
    result = asked("--data", str(tmp_path), "--workload", "default", "--policy", "random", "--plain")
    assert result.exit_code == 2
    assert told in result.stderr
    assert "openb_pod_list_default.csv, line" in result.stderr


def test_a_truncated_trace_is_refused(asked: Ask, tmp_path: Path) -> None:
    whole = (TRACE / "openb_node_list_gpu_node.csv.gz").read_bytes()
    (tmp_path / "openb_node_list_gpu_node.csv.gz").write_bytes(whole[: len(whole) // 2])
    result = asked("--data", str(tmp_path), "--workload", "default", "--policy", "random", "--plain")
    assert result.exit_code == 2
    assert "openb_node_list_gpu_node.csv.gz" in result.stderr
    assert len(gzip.decompress(whole)) > 1_000
