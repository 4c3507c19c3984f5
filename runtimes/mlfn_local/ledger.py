"""The state, used from the event loop: each call runs in one thread of its own and is finished once begun.

It also gathers the history (changes of scale, errors) and writes it in one go: no request waits for a disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from mlfn_local.records import ErrorRecord, ScaleChange
from mlfn_local.state import State

__all__ = ["Ledger", "unbroken"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Ledger:
    """Hold the state and the history that is not written yet."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlfn-state")
        self._changes: list[ScaleChange] = []
        self._errors: list[ErrorRecord] = []

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
        """Write the history down."""
        if self._changes or self._errors:
            changes, self._changes = self._changes, []
            errors, self._errors = self._errors, []
            await self.call(self.state.add_history, changes, errors)

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
