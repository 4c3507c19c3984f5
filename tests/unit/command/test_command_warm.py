"""`mlfn warm` and `--warm`: plans by the real local platform, which is asked without being started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlfn.command.warm_words import status_line
from mlfn.function import WarmStatus


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the platform be the local one, of which nothing runs."""
    monkeypatch.setenv("MLFN_PLATFORM", "local")


@pytest.mark.usefixtures("local")
def test_a_plan_says_what_it_does_and_what_it_costs(run: Any, model: Path) -> None:
    told = run("warm", "plan", model)
    assert told.code == 0
    assert told.out.startswith("min-scale 1; 24 instance-hours a day\nbecause: ")
    assert "deploy it with: --min-scale 1\n" in told.out
    assert "pings: safe up to every 45 s, cold from 61 s on\n" in told.out
    assert "1920 pings a day" in told.out


@pytest.mark.usefixtures("local")
def test_a_plan_as_a_document(run: Any, model: Path) -> None:
    told = run("warm", "plan", model, "--cold-share", "10", "--gap", "5m", "-o", "json").json
    assert (told["schema"], told["function"], told["method"]) == ("mlfn.warm-plan/v1", "echo", "window")
    assert told["options"] == [f"--window {told['window_s']:g}s"]
    assert told["cold_share"] == pytest.approx(0.1, abs=0.001)
    assert {each["method"] for each in told["alternatives"]} == {"none", "retention", "min-scale", "ping"}
    assert all(each["why_not"] for each in told["alternatives"])
    asked = run("warm", "plan", model, "--period", "1m", "--window", "80s", "-o", "json").json
    assert (asked["method"], asked["period_s"], asked["pings_per_day"]) == ("ping", 60, 1440)


@pytest.mark.usefixtures("local")
def test_an_unsafe_period_is_refused_with_the_safe_one_before_anything_runs(run: Any, model: Path) -> None:
    for words in (("warm", "plan", model, "--period", "1m"), ("deploy", model, "--warm", "60s")):
        told = run(*words)
        assert (told.code, told.out) == (2, "")
        assert "pings every 60 s are not safe" in told.err
        assert "hint: --warm 45s is safe\n" in told.err
        assert "--warm 60s --window 80s" in told.err
    minimum = run("deploy", model, "--warm", "30s", "--min-scale", "1")
    assert minimum.code == 2
    assert "pings would add nothing" in minimum.err


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(("option", "value"), [("--gap", "soon"), ("--period", "0s"), ("--cold-share", "101")])
def test_what_cannot_be_meant_is_refused(run: Any, model: Path, option: str, value: str) -> None:
    told = run("warm", "plan", model, option, value)
    assert told.code == 2
    assert option in told.err


def test_a_platform_that_keeps_nothing_warm_says_so(run: Any, world: Any, model: Path) -> None:
    assert "no --warm" in run("deploy", model, "--warm", "auto").err
    run("deploy", model)
    for words in (("warm", "plan", "echo"), ("warm", "status", "echo"), ("warm", "run", "echo")):
        told = run(*words)
        assert (told.code, told.out) == (2, "")
        assert "the platform memory" in told.err


def test_a_name_that_is_not_there_offers_the_nearest(run: Any, world: Any, model: Path) -> None:
    run("deploy", model)
    assert "echo" in run("warm", "status", "ecko").err


def test_pings_that_nothing_of_the_platform_sends_are_not_called_off() -> None:
    unkept = status_line(WarmStatus("off"), "iris")
    assert unkept.startswith("no: it goes to zero when nobody asks")
    assert "`mlfn warm plan iris`" in unkept
    assert "only while `mlfn warm run` runs" in status_line(WarmStatus("45s"), "iris")
    assert status_line(WarmStatus("45s", last_error="no right"), "iris").endswith("; last error: no right")
    assert status_line(WarmStatus("45s", always=1), "iris") == "always 1 instance (45s)"
