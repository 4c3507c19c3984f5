"""`mlfn sim verify` on what a real OpenWhisk invoker did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlfn_sim.agreement import verify_files
from mlfn_sim.errors import RecordingError

DATA = Path(__file__).parents[2] / "data" / "openwhisk"


@pytest.mark.parametrize(("name", "decisions"), [("pool", 2), ("concurrency", 16)])
def test_recorded_decisions_are_reproduced(name: str, decisions: int) -> None:
    (result,) = verify_files([DATA / f"{name}.json"]).results
    assert (result.kind, result.first_difference) == ("openwhisk-invoker", None)
    assert (result.decisions, result.equal_decisions) == (decisions, decisions)


def test_a_call_in_another_container_is_seen(tmp_path: Path) -> None:
    records = json.loads((DATA / "concurrency.json").read_text())
    run = next(event for event in records[0]["trace"] if event.get("path") == "/run")
    run["container"] = "elsewhere"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(records))
    (result,) = verify_files([changed]).results
    assert result.equal_decisions == result.decisions - 1
    assert result.first_difference is not None
    assert result.first_difference["record"] == records[0]["name"]


def test_another_container_destroyed_is_seen(tmp_path: Path) -> None:
    records = json.loads((DATA / "pool.json").read_text())
    killed = next(event for event in records[0]["trace"] if event["event"] == "docker kill")
    killed["name"] = "wsk0_1_guest_ev5"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(records))
    (result,) = verify_files([changed]).results
    assert result.equal_decisions == 1


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    records = json.loads((DATA / "concurrency.json").read_text())
    del records[0]["calls"][0]["sent_ms"]
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(records))
    with pytest.raises(RecordingError, match="sent_ms"):
        verify_files([broken])
