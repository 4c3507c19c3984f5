"""Replay decisions recorded from Knative's autoscaler (KPA).

A recording is a list of ``{scenario, ticks}``. ``scenario`` holds the autoscaler's settings and ``samples``, one load
per second (null: no report in that second). At second s the sample is recorded, then, where ``ticks`` has an entry with
``t == s``, a decision is taken with the ``ready`` instances of that entry and compared with the recorded one:
``valid``, ``desired``, ``ebc`` (excess burst capacity), ``panicking`` after it, and the window averages ``stable`` and
``panic`` to six decimals (large ones to nine digits).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mlfn_policies.autoscale import Autoscaler, AutoscalerSettings, Decision
from mlfn_sim.agreement_values import Case
from mlfn_sim.recordings import Item, Recording

__all__ = ["NAME", "compare", "recognises"]

NAME = "kpa"

_LONGEST_WINDOW_S = 86_400
_SIX_DECIMALS = 5e-7
_LAST_BITS = 1e-9
"""Averages that differ by this share of their size differ in how processors round, not in what was decided."""


@dataclass(frozen=True, slots=True)
class _Tick:
    """One recorded decision and what it was taken on."""

    t: int
    ready: int
    recorded: Decision


@dataclass(frozen=True, slots=True)
class _Scenario:
    name: str
    settings: AutoscalerSettings
    initial_ready: int
    samples: tuple[float | None, ...]
    ticks: tuple[_Tick, ...]


def recognises(document: object) -> bool:
    """Tell whether a document looks like this kind: a list whose first object has a scenario."""
    return isinstance(document, list) and bool(document) and isinstance(document[0], dict) and "scenario" in document[0]


def compare(recording: Recording) -> Iterator[Case]:
    """Replay every scenario of the recording, one case each. Raises RecordingError."""
    document = recording.document
    assert isinstance(document, list)  # recognises() said so
    for i, value in enumerate(document):
        yield _replay(_read(Item(recording.path, f"item {i}", value)))


def _replay(scenario: _Scenario) -> Case:
    autoscaler = Autoscaler(scenario.settings, ready=scenario.initial_ready, now_s=0.0)
    fed = equal = 0
    first: dict[str, object] | None = None
    for i, tick in enumerate(scenario.ticks):
        for second in range(fed, min(tick.t + 1, len(scenario.samples))):
            sample = scenario.samples[second]
            if sample is not None:
                autoscaler.record(second, sample)
        fed = max(fed, tick.t + 1)
        difference = _difference(tick.recorded, autoscaler.decide(tick.t, tick.ready))
        if difference is None:
            equal += 1
        elif first is None:
            field, recorded, ours = difference
            place = {"scenario": scenario.name, "tick": i, "t": tick.t}
            first = {**place, "field": field, "recorded": recorded, "ours": ours}
    return Case(decisions=len(scenario.ticks), equal_decisions=equal, first_difference=first)


def _difference(recorded: Decision, ours: Decision) -> tuple[str, object, object] | None:
    """Return (field, recorded, ours) of the first field that differs."""
    exact: tuple[tuple[str, object, object], ...] = (
        ("valid", recorded.valid, ours.valid),
        ("desired", recorded.desired, ours.desired),
        ("ebc", recorded.excess_burst_capacity, ours.excess_burst_capacity),
        ("panicking", recorded.panicking, ours.panicking),
    )
    for field, theirs, mine in exact:
        if theirs != mine:
            return field, theirs, mine
    for field, average, mean in (
        ("stable", recorded.stable, ours.stable),
        ("panic", recorded.panic, ours.panic),
    ):
        if abs(average - mean) >= max(_SIX_DECIMALS, _LAST_BITS * abs(average)):
            return field, average, mean
    return None


def _read(item: Item) -> _Scenario:
    scenario = Item(item.path, f"{item.where} scenario", item.value("scenario"))
    name = scenario.text("name")
    scenario.where = f"{item.where} scenario {name!r}"
    scenario.integer("ready_lag_ticks", least=0)  # how the recorder chose `ready`, which the ticks hold
    samples = tuple(scenario.numbers("samples"))
    ticks = tuple(_ticks(item, name))
    return _Scenario(name, _settings(scenario), scenario.integer("initial_ready", least=0), samples, ticks)


def _settings(scenario: Item) -> AutoscalerSettings:
    metric: Literal["concurrency", "rps"] = "concurrency"
    if scenario.text("metric", ("concurrency", "rps")) == "rps":
        metric = "rps"
    aggregation: Literal["linear", "weighted-exponential"] = "linear"
    if scenario.text("aggregation", ("linear", "weighted-exponential")) == "weighted-exponential":
        aggregation = "weighted-exponential"
    return AutoscalerSettings(
        metric=metric,
        aggregation=aggregation,
        total_value=scenario.number("total_value", least=0),
        target_value=scenario.number("target_value", above=0),
        target_burst_capacity=scenario.number("target_burst_capacity", least=-1),
        panic_threshold=scenario.number("panic_threshold", above=0),
        max_scale_up_rate=scenario.number("max_scale_up_rate", above=0),
        max_scale_down_rate=scenario.number("max_scale_down_rate", above=0),
        stable_window_s=_window(scenario, "stable_window_s"),
        panic_window_s=_window(scenario, "panic_window_s"),
        scale_down_delay_s=_window(scenario, "scale_down_delay_s", least=0),
        activation_scale=scenario.integer("activation_scale", least=0),
        reachable=scenario.boolean("reachable"),
    )


def _window(scenario: Item, name: str, least: int = 1) -> int:
    seconds = scenario.integer(name, least=least)
    if seconds > _LONGEST_WINDOW_S:
        scenario.fail(f"has {name} = {seconds}; expected at most {_LONGEST_WINDOW_S} (a day)")
    return seconds


def _ticks(item: Item, scenario: str) -> Iterator[_Tick]:
    last = -1
    for i, value in enumerate(item.items("ticks")):
        tick = Item(item.path, f"{item.where} scenario {scenario!r} tick {i}", value)
        t = tick.integer("t", least=0)
        if t <= last:
            tick.fail(f"has t = {t} after {last}; expected times that rise")
        last = t
        yield _Tick(
            t=t,
            ready=tick.integer("ready", least=0),
            recorded=Decision(
                valid=tick.boolean("valid"),
                desired=tick.integer("desired", least=-1),
                excess_burst_capacity=tick.integer("ebc", least=-(2**31)),
                panicking=tick.boolean("panicking"),
                stable=tick.number("stable"),
                panic=tick.number("panic"),
            ),
        )
