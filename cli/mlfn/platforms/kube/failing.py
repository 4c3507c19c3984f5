"""How a wait for instances is told of while it lasts, and when it is in vain: the same words on every platform.

Pure, but for the diagnosis that is handed in. Knows neither which objects make a revision nor what is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlfn.errors import DeployFailed, MlfnError, TimedOut
from mlfn.function import Finding
from mlfn.platforms.kube.door import Sight
from mlfn.platforms.kube.instances import condition
from mlfn.platforms.kube.kinds import Object

__all__ = ["Diagnose", "fail_on_cause", "stage_of", "taken_back", "timed_out"]

Diagnose = Callable[[Sight, str], tuple[bool, tuple[Finding, ...]]]
"""(what is seen, revision) -> whether waiting is in vain, and the findings, the cause first."""


def fail_on_cause(diagnose: Diagnose, sight: Sight, revision: str) -> None:
    """Raise DeployFailed with the cause when waiting on is in vain."""
    in_vain, findings = diagnose(sight, revision)
    if in_vain and findings:
        message = f"{revision} did not become ready: {findings[0].message}"
        raise DeployFailed(message, hints=_fixes(findings), details=_rest(findings))


def timed_out(what: str, findings: Sequence[Finding]) -> TimedOut:
    """Return the failure of a wait that took too long; ``what`` says what was waited for and how far it came."""
    suspected = f"; {findings[0].message}" if findings else ""
    hints = (*_fixes(findings), "if it only needs longer: --wait-timeout 20m, or --no-wait")
    return TimedOut(f"{what}{suspected}", hints=hints, details=_rest(findings))


def taken_back(error: MlfnError, undo: Callable[[], None], *, change: str, serves: str) -> MlfnError:
    """Take a failed change back with ``undo`` and return the error with what now serves; ``change`` names it."""
    try:
        undo()
    except MlfnError as failure:
        left = f"and {change} could not be taken back: {failure.message}"
        return type(error)(f"{error.message}; {left}", hints=(*error.hints, *failure.hints), details=error.details)
    return type(error)(f"{error.message}; {serves}", hints=error.hints, details=error.details)


def stage_of(pods: Sequence[Object]) -> str:
    """Name the stage that the newest pod of a revision is in."""
    pod = max(pods, key=lambda each: str(each["metadata"]["creationTimestamp"]), default=None)
    if pod is None:
        return "waiting for an instance"
    if condition(pod, "PodScheduled").get("status") != "True":
        return "waiting for a node"
    states = [each.get("state", {}) for each in pod["status"].get("containerStatuses") or ()]
    if not states or any("waiting" in state for state in states):
        return "pulling the image and starting the instance"
    return "waiting for the model to answer"


def _fixes(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.fix for each in findings if each.fix))


def _rest(findings: Sequence[Finding]) -> str:
    return "\n".join(each.message for each in findings[1:])
