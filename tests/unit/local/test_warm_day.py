"""A simulated day of sparse traffic through the real autoscaler and pinger: that of benchmarks/warm.py."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlfn_local.pinger import PingSchedule, period_of
from mlfn_local.records import FunctionSettings
from mlfn_policies.staying import DAY_S

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
WINDOW_S = 60


@pytest.fixture(scope="module")
def world() -> Iterator[Any]:
    """The benchmark's module, found as the benchmark finds its own."""
    before = dict(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("benchmark_warm", BENCHMARKS / "warm.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in sys.modules.keys() - before.keys():
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
                del sys.modules[name]


@pytest.mark.parametrize("gap_s", [30, 120, 600, 1800])
def test_pings_leave_no_answer_cold_and_cost_what_the_plan_says(world: Any, gap_s: int) -> None:
    off = world.live(FunctionSettings(), world.arrivals(gap_s, regular=False))
    pinged = world.live(FunctionSettings(warm="45s"), world.arrivals(gap_s, regular=False))
    assert off.requests == pinged.requests
    assert off.cold_share == pytest.approx(math.exp(-WINDOW_S / gap_s), abs=0.07)
    assert off.instance_hours == pytest.approx(24 * (1 - math.exp(-WINDOW_S / gap_s)), rel=0.2)
    assert pinged.cold == 0
    assert pinged.pings == math.ceil(DAY_S / 45)
    assert pinged.instance_hours == pytest.approx(24, rel=0.001)


def test_a_plan_that_lets_some_be_cold_keeps_to_its_share(world: Any) -> None:
    plan = world.planned(120, 0.1)
    day = world.live(FunctionSettings(window_s=int(plan.choice.window_s)), world.arrivals(120, regular=False))
    assert day.cold_share == pytest.approx(0.1, abs=0.04)
    assert day.instance_s == pytest.approx(plan.choice.instance_seconds_per_day, rel=0.05)


def test_pings_beyond_the_cliff_let_some_be_cold(world: Any) -> None:
    day = world.live(FunctionSettings(warm="66s"), world.arrivals(600, regular=False))
    assert day.cold > 0


def test_a_schedule_pings_at_once_then_in_its_period_and_makes_nothing_up() -> None:
    schedule = PingSchedule()
    assert [now_s for now_s in range(20) if schedule.due(now_s, {"f": 5})] == [0, 5, 10, 15]
    assert schedule.due(1000, {"f": 5}) == ("f",)
    assert schedule.due(1001, {"f": 5}) == ()
    schedule.sent("f", 12.0, "")
    schedule.sent("f", 13.0, "answered 503")
    count = schedule.count("f")
    assert count is not None
    assert (count.sent, count.failed, count.last_at, count.last_error) == (2, 1, 13.0, "answered 503")
    assert schedule.due(1002, {"g": 5}) == ("g",)
    assert schedule.count("f") is None


def test_what_asks_for_pings() -> None:
    assert [period_of(each) for each in ("45s", "off", "auto", "", "4m")] == [45, 0, 0, 0, 0]
