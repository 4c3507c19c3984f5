"""When one run may have all cores: while requests come one at a time.

One caller is served 1.8 times as fast by a session that uses all cores; two or more are served 1.3 times as fast by one
core each. So a second session is made when requests have come one by one for a while, is used as long as they do, and
rests while it is not faster. Decides only; threads and sessions belong to others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Predict = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]

__all__ = ["LoneCaller"]

_ASK_AFTER = 40
"""Runs one by one until a session for all cores is worth its memory; more than a warm-up has."""

_SETTLED = 8
"""Runs one by one, after two at once, until all cores are used again."""

_TRIALS = 8
_GAIN = 0.85
"""Again and again, so many runs decide whether all cores take at most this share of what one takes: other processes
may want the cores, too."""


_REST = 200
"""Runs on one core after all of them did not gain, until they are tried again."""


class LoneCaller:
    """Choose between one core and all of them, run by run. ``ask`` is called once, when a wide session is wanted."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._asked = False
        self._wide: Predict | None = None
        self._in_row = 0
        self._narrow_s = float("inf")
        self._wide_s = float("inf")
        self._trials = 0
        self._rest = 0

    def offer(self, predict: Predict) -> None:
        """Take the session that was asked for."""
        self._wide = predict

    def choose(self, *, alone: bool) -> Predict | None:
        """Return the wide session for a run that starts now, or None for the usual one."""
        if not alone:
            self._in_row = 0
            return None
        self._in_row += 1
        if self._in_row >= _ASK_AFTER and not self._asked:
            self._asked = True
            self._ask()
        if self._rest:
            self._rest -= 1
            return None
        return self._wide if self._in_row > _SETTLED else None

    def observe(self, run_s: float, *, wide: bool) -> None:
        """Note how long a run took; let the wide session rest when it does not gain."""
        if not wide:
            self._narrow_s = min(self._narrow_s, run_s)
            return
        self._wide_s = min(self._wide_s, run_s)
        self._trials += 1
        if self._trials < _TRIALS:
            return
        if self._wide_s > _GAIN * self._narrow_s:
            self._rest, self._narrow_s = _REST, float("inf")
        self._wide_s, self._trials = float("inf"), 0
