"""One line of the result table: a figure, its target, and what it was computed from."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Row:
    """Hold one measured target of the table."""

    what: str
    value: float
    unit: str
    """``x`` for a ratio within one run."""
    sign: str
    """``<=`` or ``>=``."""
    target: float
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Tell whether the target is met."""
        return COMPARE[self.sign](self.value, self.target)

    def as_json(self, calibration_ms: float) -> str:
        """Return the row as one line; ``calibration_ms`` tells how fast the machine was."""
        return json.dumps(
            {
                "schema": "mlfn.benchmark/v1",
                "what": self.what,
                "value": round(self.value, 4),
                "unit": self.unit,
                "target": f"{self.sign} {self.target:g}",
                "met": self.met,
                "calibration_ms": round(calibration_ms, 2),
                "details": self.details,
            }
        )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | measured | target | |", "| --- | --- | --- | --- |"]
    for row in rows:
        measured = f"{row.value:,.0f}" if row.value >= 1000 else f"{row.value:.3g}"
        unit = "x" if row.unit == "x" else f" {row.unit}"
        goal = f"{row.sign} {row.target:,g}{unit}"
        lines.append(f"| {row.what} | {measured}{unit} | {goal} | {'met' if row.met else '**missed**'} |")
    return "\n".join(lines)
