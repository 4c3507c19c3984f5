"""Instances' logs: bounded, readable, followable, also across a change of file."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlfn_local import logs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "f").mkdir()
    return tmp_path / "f"


def write(folder: Path, instance: str, text: str) -> None:
    with (folder / f"{instance}.log").open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (-1, ["a1", "a2", "b1"]),
        (2, ["a2", "b1"]),
        (1, ["b1"]),
        (0, []),
        (9, ["a1", "a2", "b1"]),
    ],
)
def test_the_last_lines_come_from_all_instances(folder: Path, tail: int, expected: list[str]) -> None:
    write(folder, "f-00001-a", "a1\na2\n")
    write(folder, "f-00001-b", "b1\n")
    assert [text for _, text in logs.last_lines(folder, tail)] == expected


def test_a_log_that_is_turned_over_loses_no_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "f-00001-a.log"
    write(folder, "f-00001-a", "x" * logs.SIZE_LIMIT_BYTES + "\n")
    assert logs.turn_over(path)
    write(folder, "f-00001-a", "new\n")
    assert not logs.turn_over(path)
    assert [text[:3] for _, text in logs.last_lines(folder, -1)] == ["xxx", "new"]
    assert logs.tail_of(path) == "new"


def test_only_the_newest_logs_are_kept_and_those_of_running_instances(folder: Path) -> None:
    for number in range(logs.KEPT_LOGS + 5):
        write(folder, f"f-{number:05d}", "line\n")
    logs.keep_newest(folder, frozenset({"f-00001"}))
    kept = sorted(path.stem for path in folder.iterdir())
    assert kept == ["f-00001"] + [f"f-{number:05d}" for number in range(5, logs.KEPT_LOGS + 5)]


def test_following_sees_new_lines_new_instances_and_a_turned_over_file(folder: Path) -> None:
    write(folder, "a", "old\nlast\n")
    lines: Iterator[tuple[str, str]] = logs.follow_lines(folder, 1, pause_s=0.001)
    assert next(lines) == ("a", "last")

    def write_on() -> None:
        write(folder, "a", "one\n")
        write(folder, "b", "two\n")
        write(folder, "a", "half")
        write(folder, "a", " a line\n")
        (folder / "a.log").rename(folder / "a.log.1")
        write(folder, "a", "three\n")

    writer = threading.Thread(target=write_on)
    writer.start()
    seen = list(itertools.islice(lines, 4))
    writer.join()
    assert sorted(seen) == [("a", "half a line"), ("a", "one"), ("a", "three"), ("b", "two")]


def test_nothing_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    assert list(logs.last_lines(tmp_path / "none", -1)) == []
    assert logs.tail_of(tmp_path / "none.log") == ""
