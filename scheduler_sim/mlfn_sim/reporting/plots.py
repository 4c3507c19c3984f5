"""Draw lines over a common axis as PNG bytes. Needs the extra ``sim``; the same values give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlfn_sim.errors import NeedsExtra

__all__ = ["Line", "LinePlot", "draw_lines"]

COLOURS = ("#4c78a8", "#e45756", "#54a24b", "#f58518", "#b279a2", "#72b7b2", "#9d755d", "#bab0ac")


@dataclass(frozen=True, slots=True)
class Line:
    """Hold one line, with a band around it where there is one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class LinePlot:
    """Hold a plot."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    log_x: bool = False
    log_y: bool = False
    steps: bool = False
    """Each value holds until the next."""


def draw_lines(plot: LinePlot) -> bytes:
    """Return a plot as PNG. Raises NeedsExtra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NeedsExtra("a plot needs matplotlib, which is not installed") from error
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for line, colour in zip(plot.lines, _colours(len(plot.lines)), strict=True):
        if plot.steps:
            axes.step(line.x, line.y, where="post", label=line.name, color=colour)
        else:
            axes.plot(line.x, line.y, label=line.name, color=colour, marker="." if len(line.x) < 20 else "")
        if len(line.low):
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
    _dress(axes, plot)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _dress(axes: Any, plot: LinePlot) -> None:
    axes.set_title(plot.title, loc="left", fontsize="medium")
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    if plot.log_x:
        axes.set_xscale("log")
    if plot.log_y:
        axes.set_yscale("log")
    elif all(value >= 0 for line in plot.lines for value in line.y):
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(plot.lines) > 1:
        axes.legend(fontsize="small", frameon=False)
