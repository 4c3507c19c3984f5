"""sim scale at the command line: a table, a document, a page; refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SMALL = ("sim", "scale", "--nodes", "100", "--constraints", "0,3", "--rates", "10", "--pods", "20", "--jobs", "1")


def test_a_table_with_what_a_planner_has_to_know(run: Any) -> None:
    outcome = run(*SMALL, "--designs", "default,two-choices")
    assert outcome.code == 0
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0].split()[:4] == ["NODES", "CONSTRAINTS", "DESIGN", "PODS/S"]
    shown = [line.split()[1:3] for line in lines[1:5]]
    assert shown == [[count, design] for count in "03" for design in ("default", "two-choices")]
    assert "no more than 9 of the ten constraints" in outcome.out


def test_a_page_and_a_document_that_stay(run: Any, tmp_path: Path) -> None:
    command = (*SMALL, "--designs", "copies-4", "--out", tmp_path / "made", "-o", "json")
    first = run(*command)
    assert first.code == 0
    assert first.err == f"the page: {tmp_path / 'made' / 'scale.html'}\n"
    document = json.loads(first.out)
    assert document["schema"] == "mlfn.scale/v1"
    assert document == json.loads((tmp_path / "made" / "scale.json").read_text())
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "made" / "runs").iterdir()}
    assert len(kept) == 2
    assert run(*command).out == first.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "made" / "runs").iterdir()} == kept


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--nodes", "0"), "--nodes has '0'; expected whole numbers from 1 to 200000 with commas between them"),
        (("--nodes", "10,x"), "--nodes has 'x'"),
        (("--constraints", "11"), "--constraints has '11'; expected whole numbers from 0 to 10"),
        (("--rates", "nan"), "--rates has 'nan'"),
        (("--rates", "-1"), "--rates has '-1'; expected numbers from 0.001 to 1e+06"),
        (("--designs", "defalt"), "did you mean 'default'?"),
        (("--address", "127.0.0.1:1"), "--on ray --address 127.0.0.1:1"),
        (("--on", "ray", "--address", "nowhere"), "Ray's address is 'nowhere'; expected HOST:PORT"),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Any, given: tuple[str, ...], words: str) -> None:
    outcome = run("sim", "scale", *given)
    assert outcome.code in (2, 10)
    assert outcome.out == ""
    assert words in outcome.err


def test_a_folder_that_cannot_be_made_is_told(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = run(*SMALL, "--out", tmp_path / "file" / "made")
    assert outcome.code == 1
    assert "file/made/runs: cannot be made: Not a directory" in outcome.err
