"""Draw an explanation: what each filter left, and the scores of the best nodes. Needs the extra ``sim``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlfn_sim.aside import written_aside
from mlfn_sim.errors import NeedsExtra, RecordingError
from mlfn_sim.explaining.values import Explanation

__all__ = ["SUFFIXES", "draw"]

SUFFIXES = (".png", ".svg")


def draw(explanation: Explanation, path: Path) -> None:
    """Write a picture to ``path``, aside and renamed. The same explanation gives the same bytes. Raises NotWritten."""
    if path.suffix not in SUFFIXES:
        raise RecordingError(f"{path}: a picture's file ends in {' or '.join(SUFFIXES)}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NeedsExtra("a picture needs matplotlib, which is not installed") from error
    with mpl.rc_context({"svg.hashsalt": "mlfn", "svg.fonttype": "none"}):
        figure = Figure(figsize=(11, 2.4 + 0.35 * max(len(explanation.filters), len(explanation.scores))))
        left, right = figure.subplots(1, 2)
        _draw_filters(left, explanation)
        _draw_scores(right, explanation)
        goes = f"goes to {explanation.chosen}" if explanation.chosen else "fits nowhere"
        figure.suptitle(f"{explanation.pod} {goes}")
        figure.tight_layout()
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        with written_aside(path) as aside:
            figure.savefig(aside, format=path.suffix[1:], dpi=120, metadata=metadata)


def _draw_filters(axes: Any, explanation: Explanation) -> None:
    names = [each.name for each in explanation.filters]
    passed = [each.asked - each.rejected for each in explanation.filters]
    rejected = [each.rejected for each in explanation.filters]
    axes.barh(names, passed, color="#4c78a8", label="let through")
    axes.barh(names, rejected, left=passed, color="#e45756", label="rejected")
    axes.invert_yaxis()
    axes.set_xlabel(f"nodes, of {explanation.evaluated} looked at")
    axes.set_title("filters, in their order")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, fontsize="x-small")


def _draw_scores(axes: Any, explanation: Explanation) -> None:
    if not any(each.plugins for each in explanation.scores):
        axes.axis("off")
        axes.text(0.5, 0.5, "no scores: fewer than two nodes could take it", ha="center", va="center", wrap=True)
        return
    names = [each.node for each in explanation.scores]
    done = [0] * len(names)
    for plugin in explanation.scores[0].plugins:
        points = [each.plugins[plugin] for each in explanation.scores]
        axes.barh(names, points, left=done, label=plugin)
        done = [before + each for before, each in zip(done, points, strict=True)]
    for i, total in enumerate(done):
        axes.text(total, i, f" {total}", va="center", fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("weighted points")
    axes.set_title("the best nodes")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, fontsize="x-small")
