"""Tell what is known of a function, as JSON for the control socket. Reads, changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlfn_local import logs
from mlfn_local.functions import Functions
from mlfn_local.memory import proportional_bytes
from mlfn_local.records import ErrorRecord, FunctionRecord, ScaleChange
from mlfn_local.revision import RevisionAtWork

__all__ = ["FINDINGS", "describe"]

FINDINGS: dict[str, tuple[str, str]] = {
    "crash-loop": (
        "instances of a revision ended again and again, and are started less and less often",
        "read `mlfn logs NAME`, then deploy a model or settings (--memory) that work",
    ),
    "deploy-failed": (
        "the revision deployed last, without waiting for it, did not become ready",
        "deploy again with what the message asks for",
    ),
}
"""What a status can say of a function, all of it errors: meaning and fix. docs/reference/findings.md lists them."""


def describe(
    functions: Functions, record: FunctionRecord, changes: list[ScaleChange], errors: list[ErrorRecord]
) -> dict[str, Any]:
    """Return everything about one function but the router's port."""
    names = {revision.name for revision in record.revisions}
    working = [revision for revision in functions.at_work if revision.record.name in names]
    shown = record.latest or record.revisions[-1]
    looping = [revision for revision in working if revision.crash_loop and not revision.retired]
    findings = [_crash_loop(revision) for revision in looping]
    findings += [_failed(revision.name, revision.error) for revision in record.revisions if revision.error]
    return {
        "name": record.name,
        "ready": record.latest is not None and all(revision.gate.ready for revision in looping),
        "digest": shown.model.digest,
        "format": shown.model.format,
        "signature": shown.model.signature,
        "created_at": record.created_at,
        "settings": shown.settings.as_json(),
        "revisions": [
            {
                "name": revision.name,
                "digest": revision.model.digest,
                "created_at": revision.created_at,
                "state": revision.state.value,
                "settings": revision.settings.as_json(),
                "signature": revision.model.signature,
            }
            for revision in record.revisions
        ],
        "traffic": [asdict(share) for share in record.traffic],
        "instances": [instance for revision in working for instance in _instances(revision)],
        "decisions": [
            {"at": c.at, "revision": c.revision, "before": c.before, "after": c.after, "reason": c.reason}
            for c in changes
            if c.revision in names
        ],
        "last_errors": [f"{_stamp(error.at)} {error.revision}: {error.message}" for error in errors],
        "findings": findings,
    }


def _instances(revision: RevisionAtWork) -> list[dict[str, Any]]:
    return [
        {
            "id": process.id,
            "revision": revision.record.name,
            "state": process.state.value,
            "pid": process.pid,
            "address": f"127.0.0.1:{process.port}" if process.port else "",
            "started_at": process.started_at,
            "memory_bytes": proportional_bytes(process.pid) if process.pid else 0,
            "in_flight": revision.gate.in_flight(process.id),
            "restarts": revision.restarts,
        }
        for process in revision.instances
    ]


def _crash_loop(revision: RevisionAtWork) -> dict[str, str]:
    ending = revision.last_ending
    function = revision.record.function
    last = ""
    if ending is not None:
        last = logs.tail_of(logs.log_path(revision.logs, function, ending.instance), 10)
    return _finding(
        "crash-loop",
        f"instances of {revision.record.name} ended {revision.failures} times in a row"
        + (f"; the last one: {ending.message}" if ending is not None else ""),
        seen=last,
        expected="an instance that stays up",
        fix="raise --memory and deploy again" if ending is not None and ending.kind == "memory" else "",
    )


def _failed(revision: str, message: str) -> dict[str, str]:
    return _finding("deploy-failed", message, seen=revision, expected="a revision that becomes ready")


def _finding(what: str, message: str, *, seen: str, expected: str, fix: str = "") -> dict[str, str]:
    """Make a finding of a code of the table, with the table's fix where none is given."""
    fix = fix or FINDINGS[what][1]
    return {"severity": "error", "what": what, "message": message, "seen": seen, "expected": expected, "fix": fix}


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
