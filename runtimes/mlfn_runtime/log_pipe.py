"""Log lines into a pipe that may be full: never block, keep what waits up to a bound, count what is dropped.

The reader of a pipe may stop reading without closing it (a stopped ``tail``, a log collector that hangs); a blocking
write would then stop the whole server. The descriptor is not made non-blocking: that would change it for every process
that shares it. Instead it is asked for room, and gets no more at a time than a pipe with room is sure to take.
"""

from __future__ import annotations

import os
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlfn_runtime.counters import Counters

    Later = Callable[[float, Callable[[], object]], object]

__all__ = ["LogPipe", "write_if_room"]

_MOST_WAITING_BYTES = 1 << 20
"""Some 3,000 lines: a tenth of a second of full load, minutes of little."""

_LOOK_AGAIN_S = 0.05
_LAST_WAIT_MS = 500
"""How long the last lines wait for a reader when the server ends."""


def write_if_room(file: int, text: bytes) -> bool:
    """Write a short text and return True, or return False where that might block or fails."""
    room = select.poll()
    room.register(file, select.POLLOUT)
    try:
        return bool(room.poll(0)) and os.write(file, text) == len(text)
    except OSError:
        return False


class LogPipe:
    """Write to the pipe or socket ``file``; ``later`` is the loop's ``call_later``, for what did not fit at once."""

    def __init__(self, file: int, counters: Counters, later: Later) -> None:
        self._file = file
        self._counters = counters
        self._later = later
        self._waiting = bytearray()
        self._looking = False
        self._room = select.poll()
        self._room.register(file, select.POLLOUT)

    @staticmethod
    def is_one(file: int) -> bool:
        """Return whether writing to ``file`` may block until somebody reads."""
        try:
            mode = os.fstat(file).st_mode
        except OSError:  # closed: every write fails at once
            return False
        return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)

    def take(self, text: bytes, lines: int) -> None:
        """Write ``text``, now or when there is room; drop it where too much waits already."""
        if len(self._waiting) + len(text) > _MOST_WAITING_BYTES:
            self._counters.log_dropped += lines
        else:
            self._waiting += text
        self._push(0)
        if self._waiting and not self._looking:
            self._looking = True
            self._later(_LOOK_AGAIN_S, self._look_again)

    def finish(self) -> None:
        """Write what waits, or give it up when nobody reads for a while."""
        self._push(_LAST_WAIT_MS)
        self._give_up()

    def _look_again(self) -> None:
        self._looking = False
        self.take(b"", 0)

    def _push(self, patience_ms: int) -> None:
        waiting, done = self._waiting, 0
        try:
            while done < len(waiting) and self._room.poll(patience_ms):
                done += os.write(self._file, waiting[done : done + select.PIPE_BUF])
        except BlockingIOError:  # somebody else has made it non-blocking
            pass
        except OSError:
            self._give_up()
            return
        del waiting[:done]

    def _give_up(self) -> None:
        self._counters.log_dropped += self._waiting.count(b"\n")
        self._waiting.clear()
