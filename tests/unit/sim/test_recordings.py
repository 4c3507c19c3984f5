"""Foreign, broken and half-right files are refused with the place and the value."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mlfn_sim.agreement import verify_files
from mlfn_sim.errors import RecordingError

SCENARIO: dict[str, Any] = {
    "name": "two/ticks",
    "metric": "concurrency",
    "aggregation": "linear",
    "target_value": 70,
    "total_value": 100,
    "target_burst_capacity": 211,
    "panic_threshold": 2,
    "max_scale_up_rate": 1000,
    "max_scale_down_rate": 2,
    "stable_window_s": 60,
    "panic_window_s": 6,
    "scale_down_delay_s": 0,
    "activation_scale": 1,
    "reachable": True,
    "initial_ready": 1,
    "ready_lag_ticks": 2,
    "samples": [70.5, None, 140.0, 0],
}
TICKS: list[dict[str, Any]] = [
    {"t": 1, "ready": 1, "stable": 70.5, "panic": 70.5, "valid": True, "desired": 2, "ebc": -182, "panicking": True},
    {
        "t": 3,
        "ready": 1,
        "stable": 52.625,
        "panic": 52.625,
        "valid": True,
        "desired": 2,
        "ebc": -164,
        "panicking": True,
    },
]


def recording(scenario: dict[str, Any] | None = None, tick: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """A small true recording, with some fields replaced."""
    ticks = [TICKS[0], {**TICKS[1], **(tick or {})}]
    return [{"scenario": {**SCENARIO, **(scenario or {})}, "ticks": ticks}]


def verify(tmp_path: Path, data: bytes | object) -> Any:
    """Write a file and verify it."""
    file = tmp_path / "recording.json"
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    (result,) = verify_files([file]).results
    return result


def test_the_small_recording_is_true(tmp_path: Path) -> None:
    result = verify(tmp_path, recording())
    assert result.first_difference is None
    assert (result.kind, result.cases, result.decisions, result.equal_decisions) == ("kpa", 1, 2, 2)


def test_integers_may_be_written_as_floats(tmp_path: Path) -> None:
    assert verify(tmp_path, recording({"stable_window_s": 60.0, "activation_scale": 1.0})).agrees


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "the file is empty", id="empty file"),
        pytest.param(b" \n", "the file is empty", id="blank file"),
        pytest.param(b"[]", "empty list", id="empty list"),
        pytest.param(b"{}", "not a recording of a kind that mlfn knows (kpa, kube", id="an object"),
        pytest.param(b'[{"name": "x", "nodes": []}]', "not a recording of a kind", id="another kind"),
        pytest.param(b"[1, 2]", "not a recording of a kind", id="numbers"),
        pytest.param(b"[{", "not valid JSON", id="half JSON"),
        pytest.param(b"\x80\x04\x95", "not JSON: byte 0 is not UTF-8", id="a pickle"),
        pytest.param(b"[" * 100_000, "not usable JSON", id="nested too deep"),
        pytest.param(b"[" + b"9" * 5000 + b"]", "not usable JSON", id="a number of 5000 digits"),
        pytest.param(b"[NaN]", "holds NaN", id="NaN"),
        pytest.param(gzip.compress(b"[]" * 500)[:-12], "truncated", id="truncated gzip"),
        pytest.param(gzip.compress(b"[]")[:-8] + b"\0" * 8, "not a valid gzip stream", id="gzip with a wrong checksum"),
        pytest.param(b"\x1f\x8b" + b"x" * 40, "not a valid gzip stream", id="gzip magic only"),
    ],
)
def test_a_file_that_is_no_recording(tmp_path: Path, data: bytes, problem: str) -> None:
    with pytest.raises(RecordingError) as caught:
        verify(tmp_path, data)
    assert str(tmp_path / "recording.json") in str(caught.value)
    assert problem in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(RecordingError, match="cannot be read") as caught:
            verify_files([path])
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"target_value": "70"}, 'target_value = "70"; expected a number above 0'),
        ({"target_value": 0}, "target_value = 0; expected a number above 0"),
        ({"target_value": True}, "target_value = true"),
        ({"total_value": 1e300}, "total_value = 1e+300"),
        ({"stable_window_s": 0}, "stable_window_s = 0; expected a whole number of at least 1"),
        ({"panic_window_s": 1.5}, "panic_window_s = 1.5"),
        ({"stable_window_s": 10**9}, "expected at most 86400"),
        ({"aggregation": "median"}, 'aggregation = "median"; expected linear or weighted-exponential'),
        ({"metric": None}, "metric = null"),
        ({"reachable": 1}, "reachable = 1; expected true or false"),
        ({"samples": []}, "samples = []; expected a list that is not empty"),
        ({"samples": [1, "two"]}, 'samples[1] = "two"; expected a number or null'),
        ({"samples": {"0": 1}}, "samples = {"),
        ({"name": 7}, "name = 7; expected a text"),
        ({"initial_ready": -1}, "initial_ready = -1"),
    ],
)
def test_a_field_of_the_scenario_is_wrong(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(RecordingError) as caught:
        verify(tmp_path, recording(change))
    assert "item 0 scenario" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("field", sorted(SCENARIO))
def test_a_field_of_the_scenario_is_missing(tmp_path: Path, field: str) -> None:
    document = recording()
    del document[0]["scenario"][field]
    with pytest.raises(RecordingError, match=f"has no field '{field}'"):
        verify(tmp_path, document)


@pytest.mark.parametrize("field", sorted(TICKS[0]))
def test_a_field_of_a_tick_is_missing_or_null(tmp_path: Path, field: str) -> None:
    document = recording(tick={field: None})
    with pytest.raises(RecordingError, match=f"'two/ticks' tick 1 has {field} = null"):
        verify(tmp_path, document)
    del document[0]["ticks"][1][field]
    with pytest.raises(RecordingError, match=f"'two/ticks' tick 1 has no field '{field}'"):
        verify(tmp_path, document)


def test_ticks_must_rise_and_items_must_be_objects(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="tick 1 has t = 1 after 1"):
        verify(tmp_path, recording(tick={"t": 1}))
    with pytest.raises(RecordingError, match='item 1 is "x"; expected an object'):
        verify(tmp_path, [*recording(), "x"])
    with pytest.raises(RecordingError, match=r"has ticks = \[\]"):
        verify(tmp_path, [{"scenario": SCENARIO, "ticks": []}])


def test_decisions_after_the_last_sample_are_taken(tmp_path: Path) -> None:
    """A window of silence later there is no data, and the recorded decision says so."""
    silence = {"t": 64, "stable": 0, "panic": 0, "valid": False, "desired": 0, "ebc": 0, "panicking": True}
    assert verify(tmp_path, recording(tick=silence)).first_difference is None
