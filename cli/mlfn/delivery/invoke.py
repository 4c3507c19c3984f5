"""Send a request to a function."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlfn.errors import InvalidInput, MlfnError, TimedOut
from mlfn.function import Answer, FunctionStatus
from mlfn.platforms import Platform

if TYPE_CHECKING:
    from mlfn_runtime.signature import ModelSignature

__all__ = ["Invocation", "invoke"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """Say what to send."""

    name: str
    body: bytes | None
    """None makes an example from the function's signature."""
    path: str
    """Below the function's address; "" is the Open Inference one."""
    timeout_s: float
    tag: str = ""
    """The tag of a revision, to ask that one alone."""


def invoke(platform: Platform, invocation: Invocation) -> Answer:
    """Send the request and return a good answer.

    Raises InvalidInput (the body is not JSON, or the function refuses it), NotFound, TimedOut, Unreachable, and
    MlfnError for any other answer that is not a good one.
    """
    if invocation.body is None:
        answer = _send_example(platform, invocation)
    else:
        _check_json(invocation.body)
        answer = _send(platform, invocation, invocation.body)
    if answer.status >= 400:
        raise _refusal(invocation.name, answer)
    return answer


def _send(platform: Platform, invocation: Invocation, body: bytes) -> Answer:
    path = invocation.path or f"/v2/models/{invocation.name}/infer"
    headers = {"Content-Type": "application/json"}
    return platform.invoke(invocation.name, path, body, headers, invocation.timeout_s, tag=invocation.tag)


def _send_example(platform: Platform, invocation: Invocation) -> Answer:
    """Send examples of other and other lengths until the model takes one: a signature does not say which fit."""
    # numpy is behind it, which a request of one's own does not need here.
    from mlfn_runtime.synthesis import LENGTHS, example_body

    signature = _signature(platform.status(invocation.name), invocation.tag)
    bodies = dict.fromkeys(json.dumps(example_body(signature, lengths)).encode() for lengths in LENGTHS)
    first = None
    for body in bodies:
        answer = _send(platform, invocation, body)
        if answer.status != 400:
            return answer
        first = first or answer
    assert first is not None
    return first


def _signature(status: FunctionStatus, tag: str) -> ModelSignature:
    """Return the signature of the revision under a tag, else of the one that serves."""
    tagged = {share.revision for share in status.traffic if tag and share.tag == tag}
    named = (each.signature for each in status.revisions if each.name in tagged)
    return next((signature for signature in named if signature is not None), status.signature)


def _check_json(body: bytes) -> None:
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidInput(f"the request is not JSON: {error.msg[:1].lower()}{error.msg[1:]} ({where})") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the request is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise InvalidInput("the request is nested too deep; expected an Open Inference document") from error


def _refusal(name: str, answer: Answer) -> MlfnError:
    kinds: dict[int, type[MlfnError]] = {408: TimedOut, 504: TimedOut}
    fallback = InvalidInput if answer.status < 500 else MlfnError
    return kinds.get(answer.status, fallback)(f"{name} answered {answer.status}: {_error_text(answer.body)}")


def _error_text(body: bytes) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if isinstance(told, dict) and "error" in told:
        return str(told["error"])
    return body.decode(errors="replace").strip()[:500] or "no reason given"
