"""Tell what a study gave: as JSON, as rows, and as a folder with plots and one page of HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlfn_sim.aside import written_aside
from mlfn_sim.errors import NotWritten
from mlfn_sim.openb.published import AGREES_WITHIN, Difference
from mlfn_sim.openb.study import STEPS, Curve
from mlfn_sim.reporting.page import Heading, Page, Paragraph, Part, Picture, Table, write_page
from mlfn_sim.reporting.plots import Line, LinePlot, draw_lines

__all__ = ["HEADS", "SCHEMA", "Report", "write_report"]

SCHEMA = "mlfn.openb/v1"
HEADS = ("workload", "policy", "seeds", "GPU used %", "refused", "from published", "same curves", "seconds")


@dataclass(frozen=True, slots=True)
class Report:
    """Hold what a study gave, and how far that is from what was published."""

    curves: Sequence[Curve]
    agreement: Sequence[Difference]

    @property
    def groups(self) -> dict[tuple[str, str], list[Curve]]:
        """Return the curves by workload and policy."""
        found: dict[tuple[str, str], list[Curve]] = {}
        for curve in self.curves:
            found.setdefault((curve.workload, curve.policy), []).append(curve)
        return found

    def rows(self) -> list[tuple[str, ...]]:
        """Return a line for each workload and policy, in the order of ``HEADS``."""
        known = {(each.workload, each.policy): each for each in self.agreement}
        lines: list[tuple[str, ...]] = []
        for key, group in self.groups.items():
            last = _mean([curve.allocation[-1] for curve in group])
            refused, seconds = _mean([curve.refused for curve in group]), _mean([curve.seconds for curve in group])
            told = (f"{known[key].largest:.2f}", f"{known[key].same} of {len(group)}") if key in known else ("-", "-")
            lines.append((*key, str(len(group)), f"{last:.2f}", f"{refused:.0f}", *told, f"{seconds:.2f}"))
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return the report for ``-o json``."""
        return {"schema": SCHEMA, "runs": [_run(each) for each in self.curves], "agreement": self._agreement()}

    def _agreement(self) -> list[dict[str, Any]]:
        return [
            {
                "workload": each.workload,
                "policy": each.policy,
                "seeds": each.seeds,
                "same_curves": each.same,
                "largest_difference": each.largest,
                "agrees": each.agrees,
                "differences": {str(percent): value for percent, value in each.points.items()},
            }
            for each in self.agreement
        ]


def _run(curve: Curve) -> dict[str, Any]:
    return {
        "workload": curve.workload,
        "policy": curve.policy,
        "seed": curve.seed,
        "placed": curve.placed,
        "refused": curve.refused,
        "seconds": curve.seconds,
        "decision_hash": curve.decision_hash,
        "allocation": {str(percent): value for percent, value in enumerate(curve.allocation)},
        "fragmentation": {str(percent): value for percent, value in enumerate(curve.fragmentation)},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def write_report(report: Report, out: Path) -> None:
    """Write ``report.json``, ``report.html`` and two plots for each workload. Raises NotWritten, NeedsExtra."""
    plots = _plots(report)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritten(f"{out}: cannot be made: {error.strerror}") from error
    for name, (png, _) in plots.items():
        with written_aside(out / f"{name}.png") as aside:
            aside.write_bytes(png)
    with written_aside(out / "report.json") as aside:
        aside.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    pictures = [Picture(png, title) for png, title in plots.values()]
    write_page(Page("The openb study", (*_words(report), Heading("Curves"), *pictures)), out / "report.html")


def _plots(report: Report) -> dict[str, tuple[bytes, str]]:
    """Return the plots with their titles, by file."""
    plots = {}
    for workload in dict.fromkeys(curve.workload for curve in report.curves):
        for name, words in (("allocation", "GPUs in use"), ("fragmentation", "GPUs free and of no use")):
            title = f"{workload}: {words}"
            lines = tuple(_line(policy, group, name) for (of, policy), group in report.groups.items() if of == workload)
            plot = LinePlot(title, "GPUs asked for (% of the cluster)", "% of the cluster", lines)
            plots[f"{workload}-{name}"] = (draw_lines(plot), title)
    return plots


def _line(policy: str, group: Sequence[Curve], name: str) -> Line:
    """Return the mean over the seeds, with the lowest and the highest as a band."""
    values = np.array([getattr(curve, name) for curve in group])
    low, high = (values.min(axis=0).tolist(), values.max(axis=0).tolist()) if len(group) > 1 else ((), ())
    return Line(policy, range(STEPS), values.mean(axis=0).tolist(), low, high)


def _words(report: Report) -> list[Part]:
    parts: list[Part] = [
        Paragraph("A production GPU cluster filled until 130 % of its GPUs were asked for; means over the seeds."),
        Table(HEADS, report.rows()),
    ]
    if report.agreement:
        apart = [each for each in report.agreement if not each.agrees]
        parts += [
            Heading("Differences from the published curves"),
            Paragraph(
                f"Points of GPUs in use, ours less published, at every ten percent asked for. {len(apart)} of "
                f"{len(report.agreement)} workloads and policies are more than {AGREES_WITHIN} points apart somewhere."
            ),
            Table(
                ("workload", "policy", *_steps(report.agreement[0].points)),
                [_points(each) for each in report.agreement],
            ),
        ]
    return parts


def _steps(points: Mapping[int, float]) -> list[str]:
    return [f"{percent} %" for percent in points]


def _points(each: Difference) -> tuple[str, ...]:
    return (each.workload, each.policy, *(f"{value:.2f}" for value in each.points.values()))
