"""Trying again: how often, how long to wait, and what is worth it.

Waits grow by two, are spread at random so that many clients do not come back together, and are never shorter than the
``Retry-After`` of the other side. A wait ends at once when the work is called off.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mlfn.errors import MlfnError
from mlfn.images.refusals import is_full
from mlfn.images.wire import Lost, Reply

__all__ = ["PASSING", "Patience", "Retrying", "Stopped", "retry_after_s"]

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another try may change."""


class Stopped(MlfnError):
    """The work was called off because another part of it failed; never the first error that is told."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Say how hard to try."""

    attempts: int = 6
    """Tries in a row without any progress."""
    first_s: float = 0.5
    """Wait before the second try; doubles from try to try."""
    longest_s: float = 30.0
    """Longest wait, also of one that the registry asks for."""


class Retrying:
    """Repeat work for as long as the patience lasts. For use by several threads at once."""

    def __init__(self, patience: Patience, stop: threading.Event) -> None:
        """``stop`` calls the work off: waits end at once."""
        self.patience = patience
        self._stop = stop
        self._reached = False

    def check(self) -> None:
        """Raise Stopped when the work was called off."""
        if self._stop.is_set():
            raise Stopped("called off")

    def reply(self, attempt: Callable[[], Reply]) -> Reply:
        """Return the first answer that is no passing failure, or the last answer. Raises Lost."""
        tries = 0
        while True:
            tries += 1
            try:
                reply = attempt()
            except Lost as lost:
                self.after_loss(lost, tries)
                continue
            self._reached = True
            if reply.status not in PASSING or is_full(reply) or not self.may_try(tries):
                return reply
            wanted_s = retry_after_s(reply.headers.get("retry-after", ""))
            if wanted_s > self.patience.longest_s:
                return reply
            self.wait(tries, wanted_s)

    def after_loss(self, lost: Lost, tries: int) -> None:
        """Wait before the next try after a lost connection, or raise it when that was the last one."""
        self._reached = self._reached or lost.connected
        # An address that never answered is more often wrong than busy: say so soon.
        allowed = self.patience.attempts if self._reached else min(2, self.patience.attempts)
        if lost.lasting or tries >= allowed:
            raise lost
        self.wait(tries)

    def may_try(self, tries: int) -> bool:
        """Tell whether another try is allowed after ``tries`` of them."""
        return tries < self.patience.attempts

    def wait(self, tries: int, at_least_s: float = 0.0) -> None:
        """Wait before the try after ``tries`` of them. Raises Stopped."""
        backoff_s = min(self.patience.first_s * 2 ** (tries - 1), self.patience.longest_s)
        spread = random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, guards nothing
        self.pause(max(backoff_s * spread, at_least_s))

    def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped."""
        if self._stop.wait(seconds):
            raise Stopped("called off")


def retry_after_s(value: str) -> float:
    """Read a ``Retry-After`` header, seconds or a date; 0 when there is none or it makes no sense."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
