"""Check that the simulator decides as real control planes did: ``mlfn sim verify FILE...``.

A recording is read, its kind told from its content, replayed through the policies, and counted. A new kind is one
module with the names of :class:`~mlfn_sim.agreement_values.Kind` and one entry in :data:`KINDS`. Needs no extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlfn_sim import kpa, openwhisk_invoker
from mlfn_sim.agreement_values import SCHEMA, AgreementReport, FileResult, Kind
from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.recordings import SCORES, STEPS
from mlfn_sim.recordings import Recording, read

__all__ = ["KINDS", "SCHEMA", "AgreementReport", "FileResult", "verify_files"]

KINDS: tuple[Kind, ...] = (kpa, STEPS, SCORES, openwhisk_invoker)
"""The kinds of recordings, asked in this order."""


def verify_files(paths: Sequence[Path], profile: Path | None = None, engine: str = "reference") -> AgreementReport:
    """Replay each file and report how much is equal. Raises RecordingError for the first that cannot be read.

    ``profile`` is the configuration to replay with, for the kinds that have one; the default is the file beside each
    recording. ``engine`` is ``reference`` or ``fast``, for the kinds that have two.
    """
    return AgreementReport(tuple(_verify(replace(read(path, profile), engine=engine)) for path in paths))


def _verify(recording: Recording) -> FileResult:
    kind = _kind_of(recording)
    cases = decisions = equal_decisions = rows = equal_rows = 0
    first = None
    for case in kind.compare(recording):
        cases += 1
        decisions += case.decisions
        equal_decisions += case.equal_decisions
        rows += case.rows
        equal_rows += case.equal_rows
        first = first or case.first_difference
    return FileResult(str(recording.path), kind.NAME, cases, decisions, equal_decisions, rows, equal_rows, first)


def _kind_of(recording: Recording) -> Kind:
    for kind in KINDS:
        if kind.recognises(recording.document):
            return kind
    known = ", ".join(kind.NAME for kind in KINDS)
    if recording.document == []:
        raise RecordingError(f"{recording.path}: the recording is an empty list; expected at least one case")
    raise RecordingError(f"{recording.path}: not a recording of a kind that mlfn knows ({known})")
