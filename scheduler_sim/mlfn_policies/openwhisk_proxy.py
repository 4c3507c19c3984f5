"""What OpenWhisk makes of an action container's answers, and when it pauses, removes or destroys the container.

Source: Apache OpenWhisk, ``ActivationResult.scala`` and ``ContainerProxy.scala``; the recorded behaviour of a
standalone server decides where the two leave room. Standard library only; time is an argument.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "MAX_RESULT_BYTES",
    "Answer",
    "Silence",
    "Status",
    "Verdict",
    "idle_step",
    "judge_init",
    "judge_run",
    "runs_again",
]

MAX_RESULT_BYTES = 1_048_576
"""Largest answer of ``/run`` that is passed on, in bytes (``whisk.activation.payload.max``)."""
_SHUTTING_DOWN = 503


class Status(IntEnum):
    """How an activation ended; the numbers of ``response.statusCode`` in OpenWhisk's records."""

    SUCCESS = 0
    APPLICATION_ERROR = 1
    DEVELOPER_ERROR = 2
    WHISK_ERROR = 3

    @property
    def text(self) -> str:
        """Return the words of ``response.status``."""
        return ("success", "application error", "action developer error", "whisk internal error")[self]


class Silence(IntEnum):
    """Why there is no answer."""

    TIMEOUT = 0
    """The budget was used up."""
    GONE = 1
    """An answer without a length came, which counts as none."""
    DROPPED = 2
    """The connection broke before an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer of a container: status, the body as text (its head where it is too long), and its whole size."""

    status: int
    text: str
    size: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means for the caller and for the container.

    ``size`` is the answer's length in bytes as the record shows it, None where nothing came. ``keep`` False destroys
    the container. ``lost`` True: the job is gone without a record; then nothing else counts.
    """

    status: Status
    result: object
    size: int | None = None
    keep: bool = False
    lost: bool = False
    timed_out: bool = False


def judge_init(answer: Answer | Silence, timeout_ms: int, *, repeat_dropped: bool = False) -> Verdict | None:
    """Return None when ``/init`` has succeeded, else what the caller is told; the container is destroyed then.

    200 is success whatever the body is. Where dropped connections are tried again, one ends as a used-up budget.
    """
    if answer is Silence.TIMEOUT or (answer is Silence.DROPPED and repeat_dropped):
        text = f"The action exceeded its time limits of {timeout_ms} milliseconds during initialization."
        return Verdict(Status.DEVELOPER_ERROR, {"error": text}, timed_out=True)
    if isinstance(answer, Silence):
        return Verdict(Status.DEVELOPER_ERROR, {"error": "The action did not initialize and exited unexpectedly."})
    if answer.status == 200:
        return None
    if answer.status == _SHUTTING_DOWN:
        return Verdict(Status.WHISK_ERROR, {"error": answer.text}, size=answer.size, lost=True)
    error = _error_of(answer.text)
    if error is None:
        error = f"The action failed during initialization: {answer.text}" if answer.text else _NO_INIT
    return Verdict(Status.DEVELOPER_ERROR, {"error": error}, size=answer.size)


_NO_INIT = "The action failed during initialization."


def judge_run(answer: Answer | Silence, timeout_ms: int, *, most_bytes: int = MAX_RESULT_BYTES) -> Verdict:
    """Return what an answer of ``/run`` means.

    The size comes first: an answer that is too long is an application error whatever its status is, and the container
    lives. ``lost`` is 503 of a job of which no copy is left (see :func:`runs_again`): nobody hears of it.
    """
    if answer is Silence.TIMEOUT:
        text = f"The action exceeded its time limits of {timeout_ms} milliseconds."
        return Verdict(Status.DEVELOPER_ERROR, {"error": text}, timed_out=True)
    if isinstance(answer, Silence):
        text = "The action did not produce a valid response and exited unexpectedly."
        return Verdict(Status.DEVELOPER_ERROR, {"error": text})
    if answer.status == _SHUTTING_DOWN:
        return Verdict(Status.WHISK_ERROR, {"error": answer.text}, size=answer.size, lost=True)
    if answer.size > most_bytes:
        text = (
            f"The action produced a response that exceeded the allowed length: {answer.size} > {most_bytes} bytes. "
            f"The truncated response was: {answer.text}"
        )
        return Verdict(Status.APPLICATION_ERROR, {"error": text}, size=answer.size, keep=True)
    value = _parsed(answer.text)
    if not isinstance(value, dict | list):
        lead = "The action did not produce a valid JSON or JSON Array response"
        text = f"{lead}: {answer.text}" if answer.text else f"{lead}."
        return Verdict(Status.DEVELOPER_ERROR, {"error": text}, size=answer.size)
    if answer.status != 200:
        error = value["error"] if isinstance(value, dict) and "error" in value else value
        return Verdict(Status.DEVELOPER_ERROR, {"error": error}, size=answer.size)
    failed = isinstance(value, dict) and "error" in value
    if failed and isinstance(value, dict):
        value = {"error": value["error"]}
    return Verdict(Status.APPLICATION_ERROR if failed else Status.SUCCESS, value, size=answer.size, keep=True)


def runs_again(answer: Answer | Silence, *, warm: bool, repeat_dropped: bool) -> bool:
    """Tell whether a job whose ``/run`` had this answer goes to another container: 503, or (by a setting) nothing.

    Only a job that came to a warm container: of one that started its container there is no copy left.
    """
    if isinstance(answer, Silence):
        return warm and repeat_dropped and answer is Silence.DROPPED
    return warm and answer.status == _SHUTTING_DOWN


def idle_step(paused: bool, since_us: int, now_us: int, grace_us: int, idle_us: int) -> int:
    """Return what an idle container does now: 0 stay as it is, 1 pause, 2 be removed.

    The removal time runs from the pause, not from the last call.
    """
    waited_us = now_us - since_us
    if paused:
        return 2 if waited_us >= idle_us else 0
    return 1 if waited_us >= grace_us else 0


def _error_of(text: str) -> object:
    value = _parsed(text)
    return value.get("error") if isinstance(value, dict) else None


def _parsed(text: str) -> object:
    """Return the parsed text, or None where it is not JSON (NaN and Infinity are not)."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(word: str) -> object:
    raise ValueError(word)
