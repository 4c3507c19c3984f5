"""A day of sparse traffic, simulated: how many answers wait for a start, and what it costs to have none.

The clock is simulated, the code that decides is not: the local platform's autoscaler and pinger, called as its service
calls them (a report each second, a decision every two, due pings after that). A start takes ``START_S``, a request
``WORK_S``. ``python benchmarks/run.py --only warm``, or ``python benchmarks/warm.py`` for the table of the docs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from options import Options
from rows import Row

from mlfn_local.pinger import PingSchedule, period_of
from mlfn_local.records import FunctionSettings
from mlfn_local.scaling import RevisionScaler
from mlfn_policies.staying import DAY_S
from mlfn_policies.warm import WarmPlan, WarmTerms, WarmWish, plan

START_S = 0.5
"""What an instance of a small model takes here; a cluster needs seconds, which only makes a cold answer worse."""
WORK_S = 0.005
GAPS_S = (30, 120, 600, 1800)
SEED = 4
NAME = "f"


@dataclass
class Day:
    """Count what happened to one function in a day."""

    requests: int = 0
    cold: int = 0
    pings: int = 0
    instance_s: float = 0.0

    @property
    def cold_share(self) -> float:
        """Return the share of requests that found no ready instance."""
        return self.cold / self.requests

    @property
    def instance_hours(self) -> float:
        """Return what it cost."""
        return self.instance_s / 3600


@dataclass
class _Function:
    """One function with at most one instance, which starts and ends when the scale says so."""

    settings: FunctionSettings
    scaler: RevisionScaler = field(init=False)
    ready: int = 1
    ready_at_s: float = 0.0

    def __post_init__(self) -> None:
        self.scaler = RevisionScaler(self.settings, cores=1, now_s=0.0, resumed=False)

    def request(self, at_s: float) -> bool:
        """Let a request or a ping come; return whether it had to wait for a start."""
        if not self.ready:
            self.ready = self.scaler.first_request(at_s).desired
            self.ready_at_s = at_s + START_S
        begins_s = max(at_s, self.ready_at_s)
        self.scaler.meter.change(at_s, 1)
        self.scaler.meter.change(begins_s + WORK_S, -1)
        return begins_s > at_s

    def second(self, now_s: int) -> None:
        """Report, and decide every other time."""
        self.scaler.report(now_s, self.ready)
        if now_s % 2 == 0:
            self.ready = min(1, self.scaler.decide(now_s, self.ready).desired)


def arrivals(gap_s: float, *, regular: bool, seed: int = SEED) -> Iterator[float]:
    """Yield the times of a day's requests: one each ``gap_s``, or at random so often on average."""
    draw = random.Random(seed)
    at_s = gap_s if regular else draw.expovariate(1 / gap_s)
    while at_s < DAY_S:
        yield at_s
        at_s += gap_s if regular else draw.expovariate(1 / gap_s)


def live(settings: FunctionSettings, requests: Iterator[float]) -> Day:
    """Live through a day."""
    day, function, schedule = Day(), _Function(settings), PingSchedule()
    period_s = 0 if settings.min_scale else period_of(settings.warm)
    periods: Mapping[str, int] = {NAME: period_s} if period_s else {}
    upcoming = next(requests, float(DAY_S))
    for now_s in range(1, DAY_S + 1):
        while upcoming < now_s:
            day.requests += 1
            day.cold += function.request(upcoming)
            upcoming = next(requests, float(DAY_S))
        function.second(now_s)
        for _ in schedule.due(now_s, periods):
            day.pings += 1
            function.request(now_s)
        day.instance_s += function.ready
    return day


def planned(gap_s: float, cold_share: float) -> WarmPlan:
    """Return the local platform's plan for such traffic."""
    terms = WarmTerms(target_burst_capacity=-1, grace_s=0.0, longest_retention_s=0, sender="local service", exact=True)
    return plan(terms, WarmWish(cold_share=cold_share, gap_s=gap_s))


def ways(gap_s: float) -> dict[str, FunctionSettings]:
    """Return what is compared: nothing, a plan that lets some answers be cold, pings, a minimum."""
    some = planned(gap_s, 0.1).choice
    return {
        "off": FunctionSettings(),
        "plan, 10 % cold": FunctionSettings(window_s=int(some.window_s), min_scale=some.min_scale),
        "--warm 45s": FunctionSettings(warm="45s"),
        "--warm auto": FunctionSettings(warm="auto", min_scale=1),
    }


def measure(home: Path, options: Options) -> Iterator[Row]:
    """Yield one row for each gap: the cold answers that a day with the plan has, and beside it the other ways."""
    for gap_s in GAPS_S:
        days = {name: live(settings, arrivals(gap_s, regular=False)) for name, settings in ways(gap_s).items()}
        details = {
            name: {
                "cold_share": round(day.cold_share, 4),
                "instance_hours": round(day.instance_hours, 2),
                "pings": day.pings,
            }
            for name, day in days.items()
        }
        what = f"cold answers, a request per {gap_s} s, pinged (a simulated day)"
        yield Row(what, 100 * days["--warm 45s"].cold_share, "%", "<=", 0, details)


def main() -> None:
    """Print the table of docs/explanation/warm-keeping.md."""
    print("| one request per | | cold answers, regular | cold answers, random | instance-hours | pings |")
    print("| --- | --- | --- | --- | --- | --- |")
    for gap_s in GAPS_S:
        label = f"{gap_s} s" if gap_s < 60 else f"{gap_s // 60} min"
        for name, settings in ways(gap_s).items():
            regular, chance = (live(settings, arrivals(gap_s, regular=each)) for each in (True, False))
            shares = f"{regular.cold_share:.1%} | {chance.cold_share:.1%}"
            print(f"| {label} | {name} | {shares} | {chance.instance_hours:.1f} | {chance.pings} |")


if __name__ == "__main__":
    main()
