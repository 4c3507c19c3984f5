"""The policies decide as Knative's autoscaler did: every recorded decision, and any tampering is seen."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn_sim.agreement import verify_files

RECORDED = Path(__file__).parents[1] / "data" / "kpa_decisions.json.gz"


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    """The recording, parsed."""
    return json.loads(gzip.decompress(RECORDED.read_bytes()))  # type: ignore[no-any-return]  # JSON enters here


def test_every_recorded_decision_is_reproduced() -> None:
    report = verify_files([RECORDED])
    assert report.agrees
    assert report.as_json() == {
        "schema": "mlfn.agreement/v1",
        "results": [
            {
                "file": str(RECORDED),
                "kind": "kpa",
                "cases": 54,
                "decisions": 6480,
                "equal_decisions": 6480,
                "rows": 0,
                "equal_rows": 0,
                "first_difference": None,
            }
        ],
    }


def test_the_recording_covers_what_it_is_kept_for(recorded: list[dict[str, Any]]) -> None:
    scenarios = [item["scenario"] for item in recorded]
    assert {s["metric"] for s in scenarios} == {"concurrency", "rps"}
    assert {s["aggregation"] for s in scenarios} == {"linear", "weighted-exponential"}
    assert {s["reachable"] for s in scenarios} == {True, False}
    assert any(s["scale_down_delay_s"] for s in scenarios)
    assert any(s["activation_scale"] > 1 for s in scenarios)
    assert any(None in s["samples"] for s in scenarios)
    ticks = [tick for item in recorded for tick in item["ticks"]]
    assert any(not tick["valid"] for tick in ticks)
    assert any(tick["panicking"] for tick in ticks)


def test_the_last_bit_of_an_average_is_no_difference(recorded: list[dict[str, Any]], tmp_path: Path) -> None:
    items = json.loads(json.dumps(recorded))
    for tick in (tick for item in items for tick in item["ticks"]):
        tick.update({name: tick[name] * (1 + 3e-16) for name in ("stable", "panic")})
    path = tmp_path / "recording.json"
    path.write_text(json.dumps(items))
    assert verify_files([path]).agrees


def test_plain_json_is_read_as_well(recorded: list[dict[str, Any]], tmp_path: Path) -> None:
    plain = tmp_path / "recording.json"
    plain.write_text(json.dumps(recorded[:2]))
    (result,) = verify_files([plain]).results
    assert (result.cases, result.decisions, result.equal_decisions) == (2, 240, 240)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("valid", lambda value: not value),
        ("desired", lambda value: value + 1),
        ("ebc", lambda value: value - 1),
        ("panicking", lambda value: not value),
        ("stable", lambda value: value + 1e-6),
        ("panic", lambda value: value - 1e-6),
    ],
)
@pytest.mark.parametrize("case", [0, 17, 53])
def test_one_changed_value_is_one_difference(
    recorded: list[dict[str, Any]], tmp_path: Path, case: int, field: str, change: Callable[[Any], Any]
) -> None:
    tampered = json.loads(json.dumps(recorded[case : case + 1]))
    tick = tampered[0]["ticks"][40]
    ours = tick[field]
    tick[field] = change(ours)
    file = tmp_path / "tampered.json"
    file.write_text(json.dumps(tampered))

    report = verify_files([file, RECORDED])

    assert not report.agrees
    bad, good = report.results
    assert good.agrees
    assert (bad.decisions, bad.equal_decisions) == (120, 119)
    assert bad.first_difference == {
        "scenario": tampered[0]["scenario"]["name"],
        "tick": 40,
        "t": tick["t"],
        "field": field,
        "recorded": tick[field],
        "ours": ours,
    }


def test_a_changed_setting_is_seen(recorded: list[dict[str, Any]], tmp_path: Path) -> None:
    changed = json.loads(json.dumps(recorded))
    for item in changed:
        item["scenario"]["target_value"] *= 0.5
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(changed))
    (result,) = verify_files([file]).results
    assert result.equal_decisions < result.decisions
    assert result.first_difference is not None


def test_ready_follows_the_decisions_with_the_recorded_lag(recorded: list[dict[str, Any]]) -> None:
    """The format's rule for `ready`, which lets others make recordings of their own."""
    for item in recorded:
        lag = item["scenario"]["ready_lag_ticks"]
        ready = item["scenario"]["initial_ready"]
        history: list[int] = []
        for tick in item["ticks"]:
            if len(history) > lag:
                ready = history[-1 - lag]
            assert tick["ready"] == ready
            history.append(tick["desired"] if tick["valid"] else ready)
