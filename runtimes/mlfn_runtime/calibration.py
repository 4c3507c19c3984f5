"""Measure a loaded model before it is ready: how long one run takes, and whether requests may share a run.

The proof of merging: a run of two different rows gives what two runs of one row give. It is tried only where the
signature already says that the first axis is one batch everywhere (a state, a sequence or a scalar says no).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mlfn_runtime.errors import RequestError, StartError
from mlfn_runtime.merging import rows_of, split
from mlfn_runtime.synthesis import LENGTHS, Lengths, synthesise

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlfn_runtime.signature import ModelSignature

    Arrays = dict[str, NDArray[Any]]

__all__ = ["INLINE_BELOW_S", "Backend", "Calibration", "ExecutionPlan", "calibrate", "choose"]

INLINE_BELOW_S = 0.0003
"""Shorter runs stay on the loop: the hop to a thread costs 20-65 us, and so short a run starves nobody."""

_TOO_SLOW_TO_PROVE_S = 0.1
"""No proof of merging above this: it would add three runs to the cold start of a model that gains nothing by it."""

_MERGE_GAIN = 1.08
"""Rows per second of a run of two against a run of one, from which a worker merges; convolutions lie below 1."""

_RELATIVE, _ABSOLUTE = 1e-4, 1e-5
"""Floats are equal when they differ by no more than another order of summation makes them differ; the absolute part is
relative to the largest value. A model that quantises over the whole batch differs by 100 times as much."""

INLINE_MERGE_ROWS = 64
"""Most rows in one run on the loop: beyond, a run of a tiny model gains nothing and delays the first answer."""


class Backend(Protocol):
    """A loaded model."""

    @property
    def signature(self) -> ModelSignature:
        """Return what the model takes and gives."""
        ...

    def predict(self, inputs: Arrays, /) -> Arrays:
        """Run the model once; raise RequestError where it refuses the inputs."""
        ...


class Calibration(NamedTuple):
    """Say what the runs before ready have shown."""

    inputs: Arrays
    run_s: float
    pair_s: float
    mergeable: bool
    why: str
    lengths: Lengths = LENGTHS[0]


class ExecutionPlan(NamedTuple):
    """Say how requests are run; shown in the model's metadata."""

    mode: str
    workers: int
    merge_rows: int
    run_s: float
    why: str

    def as_json(self) -> dict[str, object]:
        """Return the plan as the metadata shows it."""
        return {
            "mode": self.mode,
            "workers": self.workers,
            "merge_rows": self.merge_rows,
            "run_ms": round(self.run_s * 1000, 4),
            "why": self.why,
        }


def calibrate(backend: Backend, clock: Callable[[], float]) -> Calibration:
    """Run the model on synthesised inputs; raise StartError where it takes none of them."""
    inputs, lengths = _first_run(backend)
    run_s = _timed(backend, inputs, clock)
    if run_s < 0.02:
        run_s = min(run_s, *(_timed(backend, inputs, clock) for _ in range(3)))
    if backend.signature.batch_axis is None:
        why = "not merged: the first axis does not carry one name in every input and output"
        return Calibration(inputs, run_s, 0.0, False, why, lengths)
    if run_s > _TOO_SLOW_TO_PROVE_S:
        return Calibration(inputs, run_s, 0.0, False, f"not merged: one run takes {run_s * 1000:.0f} ms", lengths)
    pair = synthesise(backend.signature, 2, lengths)
    try:
        proved = _rows_are_independent(backend, pair)
        pair_s = _pair_time(backend, pair, run_s, clock) if proved else 0.0
    except RequestError as error:
        return Calibration(inputs, run_s, 0.0, False, f"not merged: a run of two rows failed: {error.message}", lengths)
    if not proved:
        return Calibration(
            inputs, run_s, 0.0, False, "not merged: a run of two rows differs from two runs of one", lengths
        )
    return Calibration(inputs, run_s, pair_s, True, "a run of two rows equals two runs of one", lengths)


def choose(calibration: Calibration, cores: int) -> ExecutionPlan:
    """Choose where the model runs and how many rows may share a run."""
    run_s, why = calibration.run_s, calibration.why
    if run_s < INLINE_BELOW_S:
        rows = INLINE_MERGE_ROWS if calibration.mergeable else 1
        return ExecutionPlan("loop", 0, rows, run_s, f"a run takes less than {INLINE_BELOW_S * 1000:g} ms; {why}")
    reason = f"a run takes {INLINE_BELOW_S * 1000:g} ms or more"
    if not calibration.mergeable:
        return ExecutionPlan("workers", cores, 1, run_s, f"{reason}; {why}")
    gain = 2 * run_s / calibration.pair_s
    if gain < _MERGE_GAIN:
        return ExecutionPlan("workers", cores, 1, run_s, f"{reason}; not merged: two rows run {gain:.2f}x as fast")
    return ExecutionPlan("workers", cores, 2, run_s, f"{reason}; {why} and runs {gain:.2f}x as fast")


def _first_run(backend: Backend) -> tuple[Arrays, Lengths]:
    """Find synthesised inputs that the model takes; say what it said of the first ones where there are none."""
    refusal: RequestError | None = None
    tried: set[tuple[tuple[int, ...], ...]] = set()
    for lengths in LENGTHS:
        inputs = synthesise(backend.signature, 1, lengths)
        shapes = tuple(array.shape for array in inputs.values())
        if shapes in tried:
            continue
        tried.add(shapes)
        try:
            backend.predict(inputs)
        except RequestError as error:
            refusal = refusal or error
            continue
        return inputs, lengths
    message = refusal.message if refusal else "no inputs could be made"
    raise StartError("warm_up", f"the inference before ready failed: {message}")


def _timed(backend: Backend, inputs: Arrays, clock: Callable[[], float]) -> float:
    start = clock()
    backend.predict(inputs)
    return clock() - start


def _pair_time(backend: Backend, pair: Arrays, run_s: float, clock: Callable[[], float]) -> float:
    """Measure a run of two rows as often as it decides something and costs little."""
    repeats = 3 if INLINE_BELOW_S <= run_s < 0.02 else 1
    return min(_timed(backend, pair, clock) for _ in range(repeats))


def _rows_are_independent(backend: Backend, inputs: Arrays) -> bool:
    rows = rows_of(inputs)
    together = split(backend.predict(inputs), (1,) * rows)
    if together is None:
        return False
    for row, part in enumerate(together):
        alone = backend.predict({name: array[row : row + 1] for name, array in inputs.items()})
        if any(not _equal(alone[name], part[name]) for name in alone):
            return False
    return True


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    finite = one[np.isfinite(one)]
    scale = float(np.abs(finite).max()) if finite.size else 0.0
    return bool(np.allclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE * scale, equal_nan=True))
