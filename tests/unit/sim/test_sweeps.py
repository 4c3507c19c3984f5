"""Sweeps: on cores, Ray and Dask; what is kept, what is not used again, and what happens when something breaks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlfn_sim.errors import Interrupted, NoCluster, NotWritten, RecordingError, WorkerDied
from mlfn_sim.sweeps import ON, Document, Where, sweep

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def _tasks(diary: Path | None = None, numbers: range = range(5)) -> list[Any]:
    from swept_work import Square

    return [Square(number, str(diary) if diary else "") for number in numbers]


def _squares(results: list[Document]) -> list[int]:
    return [result["square"] for result in results]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("on", ON)
def test_every_task_is_done_once_in_other_processes_and_never_again(tmp_path: Path, on: str) -> None:
    diary, told = tmp_path / "diary", []
    where = Where(tmp_path / "runs", on, workers=2)
    first = sweep(_tasks(diary), "swept_work:squared", where=where, progress=told.append)
    assert _squares(first) == [0, 1, 4, 9, 16]
    assert os.getpid() not in {result["process"] for result in first}
    assert sorted(diary.read_text().split()) == ["0", "1", "2", "3", "4"]
    assert told[-1] == "5 of 5 runs"
    assert sweep(_tasks(diary), "swept_work:squared", where=where, progress=told.append) == first
    assert len(diary.read_text().split()) == 5
    assert told[-1] == "5 of 5 runs are done from before"


@pytest.mark.parametrize("on", ON)
def test_a_process_that_is_killed_is_told_with_its_task_and_the_others_are_kept(tmp_path: Path, on: str) -> None:
    where = Where(tmp_path / "runs", on, workers=2)
    with pytest.raises(WorkerDied, match=r"number=3 \(.*\) died; 4 of 5 runs are done; they are kept in .*runs"):
        sweep(_tasks(), "swept_work:deadly", where=where)
    assert _names(tmp_path / "runs") == [f"number={n}.json" for n in (0, 1, 2, 4)]


@pytest.mark.parametrize("on", ["ray", "dask"])
def test_a_cluster_that_does_not_answer_is_named(on: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and never listens
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(NoCluster, match=address):
            sweep(_tasks(), "swept_work:squared", where=Where(on=on, address=address))


def test_where_every_process_dies_the_rest_is_not_tried(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    with pytest.raises(WorkerDied, match=r"SIGKILL.*0 of 9 runs are done; none is kept"):
        sweep(_tasks(diary, range(100, 109)), "swept_work:deadly", where=Where(workers=1))
    assert diary.read_text().split() == ["100", "101", "102"]


def test_what_the_work_refuses_is_told_as_it_is(tmp_path: Path) -> None:
    where = Where(tmp_path, workers=1)
    with pytest.raises(RecordingError, match=r"^trace.csv: line 3: 'x' is no number$") as refused:
        sweep(_tasks(), "swept_work:failing", where=where)
    assert "at the run number=3" in str(refused.value.__cause__)
    assert _names(tmp_path) == ["number=0.json", "number=1.json", "number=2.json"]


def test_an_interrupted_sweep_tells_what_is_kept_and_goes_on_from_there(tmp_path: Path) -> None:
    where, diary = Where(tmp_path / "runs", workers=1), tmp_path / "diary"
    with pytest.raises(Interrupted, match=r"3 of 5 runs are done; they are kept in .*the same command goes on"):
        sweep(_tasks(diary), "swept_work:interrupting", where=where)
    rest = sweep(_tasks(diary), "swept_work:interrupting", where=where)
    assert _squares(rest) == [0, 1, 4, 9, 16]
    assert diary.read_text().split() == ["0", "1", "2", "3", "3", "4"]


def test_a_result_of_other_fields_or_of_another_work_or_cut_short_is_not_used(tmp_path: Path) -> None:
    where = Where(tmp_path / "runs", workers=1)
    sweep(_tasks(), "swept_work:squared", where=where)
    for changed in ("fields", "work", "bytes"):
        diary = tmp_path / changed
        tasks = _tasks(diary) if changed == "fields" else _tasks()
        work = "swept_work:deadly" if changed == "work" else "swept_work:squared"
        kept = tmp_path / "runs" / "number=1.json"
        if changed == "bytes":
            kept.write_bytes(kept.read_bytes()[:-20])
        before = kept.read_bytes()
        result = sweep(tasks[1:2], work, where=where)
        assert _squares(result) == [1]
        assert kept.read_bytes() != before
        assert json.loads(kept.read_bytes())["task"] == "number=1"


def test_keys_that_are_no_names_of_files_stay_apart(tmp_path: Path) -> None:
    from swept_work import Keyed

    keys = ["a/b", "a_2Fb", "x" * 300, "x" * 301, "..", "é"]
    sweep([Keyed(key) for key in keys], "swept_work:told", where=Where(tmp_path))
    again = sweep([Keyed(key) for key in keys], "swept_work:told", where=Where(tmp_path))
    assert [each["key"] for each in again] == keys
    assert len(_names(tmp_path)) == len(keys)


def test_two_tasks_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="two tasks have the key 'number=1'"):
        sweep(_tasks(numbers=range(1, 2)) * 2, "swept_work:squared")


def test_a_full_disk_is_one_clear_error_and_leaves_whole_files_only(tmp_path: Path) -> None:
    code = f"""
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from mlfn_sim.errors import NotWritten
from mlfn_sim.sweeps import Where, sweep
from swept_work import Square
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # what the kernel answers then takes the same ways as a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    sweep([Square(n) for n in range(5)], "swept_work:long", where=Where(Path("runs"), workers=1))
except NotWritten as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "runs/number=3.json: cannot be written: File too large\n"
    assert _names(tmp_path / "runs") == ["number=0.json", "number=1.json", "number=2.json"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritten, match="file/runs: cannot be made: Not a directory"):
        sweep(_tasks(), "swept_work:squared", where=Where(tmp_path / "file" / "runs"))
