"""The embedded database: all of a change or nothing of it, and bounded history."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlfn_local.errors import Kind, LocalError
from mlfn_local.records import ErrorRecord, FunctionSettings, Keep, ModelFiles, RevisionState, ScaleChange, Share
from mlfn_local.state import KEPT_DECISIONS, KEPT_ERRORS, State


def model(digest: str = "sha256:aa") -> ModelFiles:
    return ModelFiles(digest, "m.onnx", ("m.onnx",), "onnx", 3, {"inputs": [], "outputs": []})


SETTINGS = FunctionSettings(env={"B": "2", "A": "1"}, memory_bytes=5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[State]:
    with contextlib.closing(State(path, clock=lambda: 12.5)) as opened:
        yield opened


def test_what_was_recorded_is_there_after_opening_again(state: State, path: Path) -> None:
    name = state.add_pending("f", model(), SETTINGS, attended=True)
    state.make_serve("f", name)
    state.set_port(4711)
    with contextlib.closing(State(path)) as again:
        (function,) = again.functions()
        assert again.port() == 4711
    assert (function.name, function.created_at, function.traffic) == ("f", 12.5, (Share("f-00001", 100),))
    (revision,) = function.revisions
    assert (revision.model, revision.settings, revision.state) == (model(), SETTINGS, RevisionState.READY)
    assert function.latest == revision


def test_numbers_of_revisions_are_not_used_twice(state: State) -> None:
    first = state.add_pending("f", model(), SETTINGS, attended=True)
    state.make_serve("f", first)
    dropped = state.add_pending("f", model(), SETTINGS, attended=True)
    state.drop_revision(dropped)
    assert state.add_pending("f", model(), SETTINGS, attended=True) == "f-00003"


def test_a_function_goes_with_its_only_revision(state: State) -> None:
    state.drop_revision(state.add_pending("f", model(), SETTINGS, attended=True))
    assert state.functions() == []


def test_interrupted_deploys_are_dropped_and_unattended_ones_kept(state: State) -> None:
    state.make_serve("f", state.add_pending("f", model(), SETTINGS, attended=True))
    state.add_pending("f", model(), SETTINGS, attended=True)
    state.add_pending("g", model(), SETTINGS, attended=True)
    state.add_pending("h", model(), SETTINGS, attended=False)
    assert state.drop_interrupted() == ["f-00002", "g-00001"]
    assert [(f.name, [r.name for r in f.revisions]) for f in state.functions()] == [
        ("f", ["f-00001"]),
        ("h", ["h-00001"]),
    ]


def test_a_removed_revision_cannot_be_made_to_serve(state: State) -> None:
    name = state.add_pending("f", model(), SETTINGS, attended=True)
    state.remove_function("f")
    with pytest.raises(LocalError) as failure:
        state.make_serve("f", name)
    assert failure.value.kind is Kind.CONFLICT
    assert state.functions() == []


@dataclass
class Clock:
    """The time of day, as the test sets it."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def aging(tmp_path: Path, clock: Clock) -> Iterator[State]:
    with contextlib.closing(State(tmp_path / "aging.db", clock=clock)) as opened:
        yield opened


def deploy(state: State, keep: Keep) -> str:
    """Deploy once more; each time another model."""
    function = state.function("f")
    number = int(function.revisions[-1].name[-5:]) + 1 if function else 1
    name = state.add_pending("f", model(f"sha256:{number:02d}"), SETTINGS, attended=True, keep=keep)
    state.make_serve("f", name)
    return name


def names(state: State) -> list[str]:
    (function,) = state.functions()
    return [revision.name.removeprefix("f-0000") for revision in function.revisions]


def test_old_revisions_are_kept_by_count_and_their_models_with_them(state: State) -> None:
    for _ in range(13):
        name = deploy(state, Keep(revisions=4))
    (function,) = state.functions()
    assert len(function.revisions) == 5
    assert function.revisions[-1].name == name
    assert state.digests() == {revision.model.digest for revision in function.revisions}


def test_old_revisions_are_kept_by_the_time_since_they_served(aging: State, clock: Clock) -> None:
    keep = Keep(revisions=10, age_s=100.0)
    for _ in range(4):
        deploy(aging, keep)
        clock.now += 60.0
    assert names(aging) == ["2", "3", "4"]  # the first had served until two minutes before the last deploy
    assert aging.drop_old() == ["f-00002"]
    clock.now += 3600.0
    assert aging.drop_old() == []
    assert names(aging) == ["3", "4"]  # the one that served last stays, however old: there is a way back


def test_a_revision_with_traffic_or_a_tag_is_never_too_old(aging: State, clock: Clock) -> None:
    keep = Keep(revisions=1, age_s=1.0)
    deploy(aging, Keep())
    deploy(aging, Keep())
    aging.set_traffic("f", [Share("f-00001", 0, "first"), Share("f-00002", 100)])
    for _ in range(3):
        clock.now += 100.0
        deploy(aging, keep)
    assert names(aging) == ["1", "4", "5"]
    assert aging.functions()[0].traffic == (Share("f-00001", 0, "first"), Share("f-00005", 100))
    clock.now += 100.0
    assert aging.set_traffic("f", [Share("f-00005", 100)]) == ["f-00004"]  # the tag went last, so the first stays
    assert names(aging) == ["1", "5"]


def test_keeping_less_takes_effect_at_once(state: State) -> None:
    for _ in range(5):
        deploy(state, Keep())
    assert state.set_keep("f", Keep(revisions=2)) == ["f-00002", "f-00001"]
    assert names(state) == ["3", "4", "5"]


def test_after_going_back_the_one_that_served_last_is_kept(aging: State, clock: Clock) -> None:
    for _ in range(4):
        deploy(aging, Keep(revisions=2))
        clock.now += 10.0
    assert names(aging) == ["2", "3", "4"]
    aging.set_traffic("f", [Share("f-00002", 100)])
    clock.now += 10.0
    deploy(aging, Keep(revisions=2))
    assert names(aging) == ["2", "4", "5"]


def test_a_tag_belongs_to_one_revision(state: State) -> None:
    deploy(state, Keep())
    deploy(state, Keep())
    with pytest.raises(LocalError):
        state.set_traffic("f", [Share("f-00001", 0, "a"), Share("f-00002", 100, "a")])
    both = [Share("f-00001", 40, "a"), Share("f-00001", 0, "b"), Share("f-00002", 60)]
    state.set_traffic("f", both)
    (function,) = state.functions()
    assert (function.shares, function.tags) == (
        {"f-00001": 40, "f-00002": 60},
        {"a": "f-00001", "b": "f-00001"},
    )


def test_a_state_of_the_first_schema_is_taken_over(path: Path) -> None:
    with contextlib.closing(State(path)) as state:
        for _ in range(2):
            deploy(state, Keep())
    back_to_the_first_schema(path)
    with contextlib.closing(State(path)) as state:
        (function,) = state.functions()
        assert function.traffic == (Share("f-00002", 100),)
        assert names(state) == ["1", "2"]
        state.set_traffic("f", [Share("f-00001", 0, "old"), Share("f-00002", 100)])


def back_to_the_first_schema(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("""
            CREATE TABLE traffic (
                function TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
                revision TEXT NOT NULL REFERENCES revisions (name) ON DELETE CASCADE,
                percent INTEGER NOT NULL CHECK (percent BETWEEN 0 AND 100),
                PRIMARY KEY (function, revision)
            ) STRICT;
            INSERT INTO traffic SELECT function, revision, percent FROM shares;
            DROP TABLE shares;
            ALTER TABLE functions DROP COLUMN keep_revisions;
            ALTER TABLE functions DROP COLUMN keep_age_s;
            ALTER TABLE revisions DROP COLUMN served_at;
            PRAGMA user_version = 1;
        """)


def test_history_is_bounded_and_goes_with_its_function(state: State) -> None:
    state.add_pending("f", model(), SETTINGS, attended=True)
    changes = [ScaleChange("f", "f-00001", float(i), i, i + 1, "why") for i in range(KEPT_DECISIONS + 5)]
    errors = [ErrorRecord("f", "f-00001", float(i), f"error {i}") for i in range(KEPT_ERRORS + 5)]
    state.add_history(changes, errors)
    state.add_history([ScaleChange("unknown", "unknown-00001", 1.0, 0, 1, "why")], [])
    assert state.decisions("f") == changes[5:]
    assert state.errors("f") == errors[5:]
    assert state.decisions("unknown") == []
    assert state.remove_function("f")
    assert not state.remove_function("f")
    assert state.decisions("f") == []
    assert state.errors("f") == []


def test_a_change_that_fails_changes_nothing(state: State) -> None:
    state.make_serve("f", state.add_pending("f", model(), SETTINGS, attended=True))
    with pytest.raises(LocalError):
        state.set_traffic("f", [Share("f-00001", 40), Share("f-00099", 60)])
    assert state.functions()[0].traffic == (Share("f-00001", 100),)


def test_only_the_owner_can_read_it(state: State, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look like one" * 40, b"\x00" * 5000])
def test_a_damaged_file_is_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LocalError, match="damaged"):
        State(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_found_at_once(path: Path) -> None:
    with contextlib.closing(State(path)) as state:
        state.add_pending("f", model(), SETTINGS, attended=True)
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 5] = os.urandom(4096 * 2)
    path.write_bytes(data)
    with pytest.raises(LocalError, match="damaged"):
        State(path)


def test_a_schema_from_the_future_is_left_alone(path: Path) -> None:
    with contextlib.closing(State(path)):
        pass
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 77")
    with pytest.raises(LocalError, match="newer mlfn"):
        State(path)
