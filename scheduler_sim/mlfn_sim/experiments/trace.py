"""The pods that come, as columns; and a CSV file that says when they do."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from mlfn_sim.errors import RecordingError
from mlfn_sim.experiments.problems import Problem, ScenarioError
from mlfn_sim.kernel import SECOND_US

__all__ = ["FOREVER", "Coming", "Ints", "read_trace"]

FOREVER = -1
Ints = npt.NDArray[np.int64]
_NEEDED, _KNOWN = ("time_s", "function"), ("time_s", "function", "lifetime_s")
_LONGEST_S = 3_155_760_000.0
"""A hundred years: later, times would not be exact in microseconds."""


@dataclass(frozen=True, slots=True)
class Coming:
    """Hold the pods that come, as columns in the order of arrival."""

    time_us: Ints
    kind: Ints
    lifetime_us: Ints
    """FOREVER: it stays."""

    def until(self, end_us: int, most: int) -> Coming:
        """Return those that come up to a time, and no more than ``most`` of them (0: no limit)."""
        count = int(np.searchsorted(self.time_us, end_us, side="right"))
        count = min(count, most) if most else count
        return Coming(self.time_us[:count], self.kind[:count], self.lifetime_us[:count])


def read_trace(path: Path, functions: Sequence[str]) -> Coming:
    """Return the pods of a trace. Raises RecordingError, with the line."""
    index = {name: i for i, name in enumerate(functions)}
    rows: list[tuple[int, int, int]] = []
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            _check_heads(path, reader.fieldnames or ())
            for row in reader:
                rows.append(_row(f"{path}:{reader.line_num}", row, index))
                if len(rows) > 1 and rows[-1][0] < rows[-2][0]:
                    earlier = f"the row before it has {rows[-2][0] / SECOND_US:g}"
                    _fail(
                        f"{path}:{reader.line_num}", f"time_s is {row['time_s']}, and {earlier}; expected rising times"
                    )
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: is not CSV: {error}") from error
    if not rows:
        raise RecordingError(f"{path}: has no rows; expected a pod in each")
    columns = np.array(rows, np.int64).T
    return Coming(columns[0], columns[1], columns[2])


def _check_heads(path: Path, heads: Sequence[str]) -> None:
    for name in heads:
        if name not in _KNOWN:
            _fail(f"{path}:1", f"column {name!r} is unknown; expected {', '.join(_KNOWN)}", name, _KNOWN)
    for name in _NEEDED:
        if name not in heads:
            _fail(f"{path}:1", f"there is no column {name!r}; expected {', '.join(_KNOWN)}")


def _row(where: str, row: dict[str, str], index: dict[str, int]) -> tuple[int, int, int]:
    if None in row or None in row.values():
        _fail(where, f"has another number of cells than the first line: {list(row.values())!r:.60}")
    function = row["function"]
    if function not in index:
        some = ", ".join([*index][:5])
        _fail(where, f"function is {function!r}; expected one of the scenario's: {some}", function, tuple(index))
    lifetime = row.get("lifetime_s", "")
    time_us = _microseconds(where, "time_s", row["time_s"])
    lifetime_us = _microseconds(where, "lifetime_s", lifetime) if lifetime else FOREVER
    if lifetime_us == 0:
        _fail(where, f"lifetime_s is {lifetime}; expected more than 0, or nothing for one that stays")
    return time_us, index[function], lifetime_us


def _microseconds(where: str, name: str, text: str) -> int:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_S:
        _fail(where, f"{name} is {text!r}; expected seconds, 0 or more")
    return round(seconds * SECOND_US)


def _fail(where: str, text: str, unknown: str = "", known: tuple[str, ...] = ()) -> NoReturn:
    raise ScenarioError(f"{where}: {text}", [Problem((), text, unknown, known)])
