"""Connect to the first of several addresses that answers, within a bounded time, names that do not resolve included.

The system's resolver may think for half a minute, so each address is tried in a thread of its own, which is left behind
when its time is over. Called by the ways to a function.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Sequence

__all__ = ["connected", "first_connected"]

Place = tuple[str, int]


def connected(place: Place, timeout_s: float) -> socket.socket:
    """Return a connection to one place. Raises OSError."""
    return first_connected((place,), timeout_s)


def first_connected(places: Sequence[Place], timeout_s: float) -> socket.socket:
    """Return a connection to the place that answers first; the others' are closed. Raises OSError when none does."""
    attempt = _Attempt(timeout_s)
    for place in places:
        threading.Thread(target=attempt.run, args=(place,), name=f"connect {place[0]}", daemon=True).start()
    until = time.monotonic() + timeout_s
    refusals: list[OSError] = []
    while len(refusals) < len(places) and (left := until - time.monotonic()) > 0:
        try:
            outcome = attempt.outcomes.get(timeout=left)
        except queue.Empty:
            break
        if isinstance(outcome, socket.socket):
            attempt.finish()
            return outcome
        refusals.append(outcome)
    attempt.finish()
    raise refusals[0] if len(refusals) == len(places) else TimeoutError(f"no answer within {timeout_s:g} s")


class _Attempt:
    """Take the outcomes of threads that connect, until somebody has what they need."""

    def __init__(self, timeout_s: float) -> None:
        self.outcomes: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._finished = False

    def run(self, place: Place) -> None:
        """Connect to one place and hand over the outcome, or close it when nobody waits any more."""
        outcome: socket.socket | OSError
        try:
            outcome = socket.create_connection(place, self._timeout_s)
        except (OSError, UnicodeError) as error:
            outcome = error if isinstance(error, OSError) else OSError(f"{place[0]!r} is no host name")
        with self._lock:
            if not self._finished:
                self.outcomes.put(outcome)
                return
        _close(outcome)

    def finish(self) -> None:
        """Close whatever connected besides."""
        with self._lock:
            self._finished = True
        while not self.outcomes.empty():
            _close(self.outcomes.get())


def _close(outcome: socket.socket | OSError) -> None:
    if isinstance(outcome, socket.socket):
        outcome.close()
