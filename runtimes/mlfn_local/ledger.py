"""The state, used from the event loop: each call runs in one thread of its own and is finished once begun.

It also gathers the history (changes of scale, errors) and writes it in one go: no request waits for a disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from mlfn_local.errors import LocalError
from mlfn_local.records import ErrorRecord, ScaleChange
from mlfn_local.state import KEPT_DECISIONS, KEPT_ERRORS, State

__all__ = ["Ledger", "unbroken"]

_log = logging.getLogger("mlfn_local")

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Ledger:
    """Hold the state and the history that is not written yet."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlfn-state")
        self._changes: list[ScaleChange] = []
        self._errors: list[ErrorRecord] = []
        self._behind = False
        """Whether the last attempt to write failed, and that was logged."""

    async def call(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run one of the state's methods; a cancellation waits until it is through."""
        loop = asyncio.get_running_loop()
        return await unbroken(loop.run_in_executor(self._thread, lambda: work(*args, **kwargs)))

    def scaled(self, change: ScaleChange) -> None:
        """Note a change of scale."""
        self._changes.append(change)

    def failed(self, error: ErrorRecord) -> None:
        """Note a failure."""
        self._errors.append(error)

    async def flush(self) -> None:
        """Write the history down; what cannot be written now (a full disk) is kept and tried again."""
        if not (self._changes or self._errors):
            return
        changes, self._changes = self._changes, []
        errors, self._errors = self._errors, []
        try:
            await self.call(self.state.add_history, changes, errors)
        except LocalError as error:
            self._changes[:0] = changes[-KEPT_DECISIONS:]
            self._errors[:0] = errors[-KEPT_ERRORS:]
            if not self._behind:
                _log.warning("the history is not written for now: %s", error.message)
            self._behind = True
        else:
            self._behind = False

    def close(self) -> None:
        """Close the state once all calls are through."""
        self._thread.shutdown(wait=True)
        self.state.close()


async def unbroken(future: asyncio.Future[_T]) -> _T:
    """Wait for a future that must not stop half-way: a cancellation is passed on only when it is done."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not future.cancelled():
            future.exception()
        raise asyncio.CancelledError
    return future.result()
