"""Write a report into a folder: numbers as JSON, plots as PNG, and one page of HTML that holds them all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mlfn_sim.aside import written_aside
from mlfn_sim.errors import NotWritten
from mlfn_sim.experiments.figures import FIGURES
from mlfn_sim.experiments.intervals import Interval
from mlfn_sim.experiments.report import Report
from mlfn_sim.reporting.page import Heading, Page, Paragraph, Part, Picture, Table, write_page
from mlfn_sim.reporting.plots import Line, LinePlot, draw_lines

__all__ = ["figure_rows", "write_report"]

_PLOTS: Mapping[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "pods": ("Pods on nodes, and pods that wait", "pods", (("running", "on nodes"), ("waiting", "waiting"))),
    "utilisation": (
        "What is asked for, of what the nodes have",
        "share",
        (("cpu", "cpu"), ("memory", "memory"), ("gpu", "GPU")),
    ),
    "balance": (
        "How even, and how fragmented",
        "share",
        (
            ("imbalance", "spread of the nodes' cpu"),
            ("zone_skew", "skew between zones"),
            ("fragmentation", "free cpu that fits no pod"),
        ),
    ),
    "nodes": ("Nodes", "nodes", (("nodes", "nodes"),)),
}
"""File -> title, axis, and series with their names."""


def write_report(report: Report, out: Path) -> tuple[Path, ...]:
    """Write ``report.json``, ``report.html`` and the plots, and return their paths. Raises NotWritten, NeedsExtra."""
    asked = {**_plots(report), **_distribution(report)}
    plots = {name: (draw_lines(plot), plot.title) for name, plot in asked.items()}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritten(f"{out}: cannot be made: {error.strerror}") from error
    written = []
    for name, (png, _) in plots.items():
        _write(out / f"{name}.png", lambda aside, png=png: aside.write_bytes(png))  # type: ignore[misc]
        written.append(out / f"{name}.png")
    text = json.dumps(report.as_json(), indent=2) + "\n"
    _write(out / "report.json", lambda aside: aside.write_text(text, encoding="utf-8"))
    write_page(_page(report, [Picture(png, title) for png, title in plots.values()]), out / "report.html")
    return (*written, out / "report.json", out / "report.html")


def figure_rows(report: Report) -> list[tuple[str, str, str, str]]:
    """Return name, mean, interval and unit of each figure that there is."""
    rows = []
    for name, found in report.figures.items():
        if found is not None:
            rows.append((name, _number(found.mean), _interval(found), FIGURES[name][0]))
    return rows


def _write(path: Path, write: Callable[[Path], object]) -> None:
    with written_aside(path) as aside:
        write(aside)


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def _interval(found: Interval) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{_number(found.low)} to {_number(found.high)}"


def _plots(report: Report) -> dict[str, LinePlot]:
    plots = {}
    for name, (title, axis, series) in _PLOTS.items():
        lines = tuple(_line(report, key, called) for key, called in series if _has(report, key))
        plots[name] = LinePlot(title, "simulated time (s)", axis, lines)
    return plots


def _distribution(report: Report) -> dict[str, LinePlot]:
    """Return the plot of how long placements took: for each share of the pods the time, mean over seeds."""
    known = np.array([each.latency_ms for each in report.seeds if each.latency_ms])
    if not len(known):
        return {}
    times = np.maximum(known.mean(axis=0), 1e-3)  # a time of 0 has no place on a logarithmic axis
    line = Line("pods", times.tolist(), (np.arange(101) / 100).tolist())
    title = "From arrival to binding: share of the pods that took no longer"
    return {"latency": LinePlot(title, "ms", "share of the pods bound", (line,), log_x=True)}


def _has(report: Report, key: str) -> bool:
    return key != "gpu" or any(each.figures["gpu_utilisation"] is not None for each in report.seeds)


def _line(report: Report, key: str, name: str) -> Line:
    """Return the mean over seeds, with the lowest and the highest as a band."""
    longest = max((each.series["time_s"] for each in report.seeds), key=lambda times: times[-1] if times else 0.0)
    values = np.array([_at(longest, each.series["time_s"], each.series[key]) for each in report.seeds])
    low, high = (values.min(axis=0), values.max(axis=0)) if len(values) > 1 else ((), ())
    return Line(name, longest, values.mean(axis=0).tolist(), list(low), list(high))


def _at(times: Sequence[float], own: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return a series at other times; after its end it keeps its last value."""
    found: list[float] = np.interp(times, own, values).tolist()
    return found


def _page(report: Report, pictures: list[Picture]) -> Page:
    scenario = report.scenario
    count = len(report.seeds)
    seeds = "one seed" if count == 1 else f"{count} seeds"
    parts: list[Part] = [Paragraph(scenario.about)] if scenario.about else []
    parts.append(
        Paragraph(
            f"Policy {scenario.scheduler.policy}, engine {scenario.run.engine}, {seeds}. All times are simulated.", True
        )
    )
    parts += [Paragraph(note) for note in report.notes]
    rows = [(name, mean, span, unit, FIGURES[name][1]) for name, mean, span, unit in figure_rows(report)]
    parts += [
        Heading("Figures"),
        Paragraph(
            "Mean over the seeds, and the 95 % confidence interval of it (Student's t); with one seed there is none.",
            True,
        ),
        Table(("figure", "mean", "interval", "unit", "meaning"), rows),
        Heading("Over time"),
        Paragraph("Mean over the seeds; the band goes from the lowest seed to the highest.", True),
        *pictures,
        Heading("Why pods found no node"),
        *_unplaced(report),
        Heading("Runs"),
        Table(
            ("seed", "cycles", "decision hash"),
            [(str(each.seed), str(each.cycles), each.decision_hash) for each in report.seeds],
        ),
        Paragraph("The same scenario and seed give the same hash, from either engine.", True),
    ]
    return Page(scenario.name, tuple(parts))


def _unplaced(report: Report) -> tuple[Part, ...]:
    if not report.unplaced:
        return (Paragraph("Every cycle found one."),)
    rows = [(name, _number(count)) for name, count in sorted(report.unplaced.items(), key=lambda item: -item[1])]
    return (Table(("filter", "cycles without a node in which it rejected nodes, mean over seeds"), rows),)
