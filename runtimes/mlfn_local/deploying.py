"""Bring a revision up: copy, record, start, prove with a real inference, switch. Or leave everything as it was.

One deploy of a function at a time. Being cancelled (the client is gone) is one more way to fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlfn_local import logs
from mlfn_local.errors import Kind, LocalError
from mlfn_local.functions import Functions
from mlfn_local.ledger import unbroken
from mlfn_local.process import Ending
from mlfn_local.records import ErrorRecord, FunctionSettings, Keep, ModelFiles, RevisionRecord, RevisionState

__all__ = ["Deployer", "Outcome", "Request"]

_log = logging.getLogger("mlfn_local")

START_LIMIT_S = 600.0
"""Time for a new revision to become ready (Knative's progress deadline)."""
ENV_LIMIT_BYTES = 64 * 1024

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """Say what is to be deployed."""

    function: str
    root: Path
    model: ModelFiles
    settings: FunctionSettings
    wait: bool
    keep: Keep = field(default_factory=Keep)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Tell what came of it."""

    revision: str
    previous: str | None
    changed: bool
    ready: bool
    seconds: dict[str, float]


class Deployer:
    """Deploy, one revision of a function at a time."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._state = functions.ledger.state
        self.storing = asyncio.Lock()
        """Held while the content store changes, so that nothing is pruned that is about to be used."""
        self._busy: dict[str, str] = {}
        """Function to the digest that its deploy is about."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def digests(self) -> frozenset[str]:
        """Return the models of deploys under way."""
        return frozenset(self._busy.values())

    async def deploy(self, request: Request, progress: Progress) -> Outcome:
        """Make a revision serve. Raises LocalError."""
        self._claim(request.function, request.model.digest)
        handed_on = False
        try:
            began_s = time.monotonic()
            self._refuse_address(request.function)
            same = self._unchanged(request)
            if same is not None:
                await self._functions.keep(request.function, request.keep)
                return Outcome(same.name, same.name, False, True, {"total": time.monotonic() - began_s})
            progress("copying model")
            async with self.storing:
                new_here = await self._store(request)
            stored_s = time.monotonic()
            try:
                record = await self._record(request)
            except BaseException:
                await self._discard(request.model.digest, new_here)
                raise
            seconds = {"store": stored_s - began_s}
            if not request.wait:
                self._go_on(record)
                handed_on = True
                await self._functions.refresh(request.function)
                previous = self._serving(request.function)
                return Outcome(record.name, previous, True, False, {**seconds, "total": time.monotonic() - began_s})
            progress("starting instance")
            try:
                previous = await self._bring_up(record, seconds)
            except BaseException:
                await self._undo(record, new_here)
                raise
            seconds["total"] = time.monotonic() - began_s
            return Outcome(record.name, previous, True, True, seconds)
        finally:
            if not handed_on:
                del self._busy[request.function]

    @contextlib.contextmanager
    def alone(self, function: str) -> Iterator[None]:
        """Keep deploys of a function out meanwhile. Raises LocalError while one is under way."""
        self._claim(function, "")
        try:
            yield
        finally:
            del self._busy[function]

    def resume(self, record: RevisionRecord) -> None:
        """Go on with an unattended deploy that the end of a service interrupted."""
        self._claim(record.function, record.model.digest)
        self._go_on(record)

    async def cancel(self, function: str) -> None:
        """End an unattended deploy of a function. Raises LocalError while somebody waits for one."""
        task = self._tasks.get(function)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        elif function in self._busy:
            raise self._conflict(function)

    async def close(self) -> None:
        """End the unattended deploys; they are taken up again by the next service."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _claim(self, function: str, digest: str) -> None:
        if function in self._busy:
            raise self._conflict(function)
        self._busy[function] = digest

    def _refuse_address(self, function: str) -> None:
        """Refuse a new function whose name is the address of another one's tag."""
        if self._functions.find(function) is None and function in self._functions.addresses:
            raise LocalError(
                Kind.CONFLICT,
                f"the name {function} is the address of another function's tag (TAG-NAME)",
                hints=("choose another name: --name NAME", "or remove the tag: mlfn traffic NAME --untag TAG"),
            )

    @staticmethod
    def _conflict(function: str) -> LocalError:
        return LocalError(
            Kind.CONFLICT,
            f"another deploy or change of traffic of {function} is under way",
            hints=(f"wait for it: mlfn describe {function}",),
        )

    def _serving(self, function: str) -> str | None:
        record = self._functions.find(function)
        latest = record.latest if record is not None else None
        return latest.name if latest is not None else None

    def _unchanged(self, request: Request) -> RevisionRecord | None:
        record = self._functions.find(request.function)
        latest = record.latest if record is not None else None
        if record is None or latest is None or record.shares[latest.name] != 100:
            return None
        if (
            latest.model.is_same_as(request.model)
            and latest.settings == request.settings
            and self._functions.content.holds(latest.model)
        ):
            return latest
        return None

    async def _store(self, request: Request) -> bool:
        cancelled = threading.Event()
        copying = asyncio.ensure_future(
            asyncio.to_thread(self._functions.content.add, request.root, request.model, cancelled.is_set)
        )
        try:
            return await asyncio.shield(copying)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait({copying})
            if copying.exception() is None:
                await self._discard(request.model.digest, copying.result())
            raise

    async def _record(self, request: Request) -> RevisionRecord:
        recording = asyncio.ensure_future(
            self._functions.ledger.call(
                self._state.add_pending,
                request.function,
                request.model,
                request.settings,
                attended=request.wait,
                keep=request.keep,
            )
        )
        try:
            name = await unbroken(recording)
        except asyncio.CancelledError:
            if recording.done() and not recording.cancelled() and recording.exception() is None:
                await self._functions.drop(recording.result(), request.function)
            raise
        return RevisionRecord(
            name=name,
            function=request.function,
            model=request.model,
            settings=request.settings,
            state=RevisionState.PENDING,
            created_at=time.time(),
            attended=request.wait,
        )

    async def _bring_up(self, record: RevisionRecord, seconds: dict[str, float]) -> str | None:
        began_s = time.monotonic()
        await self._functions.refresh(record.function)
        at_work = self._functions.begin(record)
        try:
            ending = await asyncio.wait_for(at_work.prove(), START_LIMIT_S)
        except TimeoutError:
            raise LocalError(
                Kind.DEPLOY_FAILED,
                f"revision {record.name} was not ready within {START_LIMIT_S:g} s",
                details=self._last_lines(record, at_work.instances[0].id if at_work.instances else ""),
            ) from None
        if ending is not None:
            raise self._failure(record, ending)
        seconds["start"] = time.monotonic() - began_s
        for process in at_work.instances:
            stages = process.facts.get("seconds", {})
            seconds.update({stage: float(value) for stage, value in stages.items() if isinstance(value, float)})
        previous = self._serving(record.function)
        switching = asyncio.ensure_future(self._functions.switch(record.function, record.name))
        try:
            await unbroken(switching)
        except asyncio.CancelledError:
            if switching.exception() is None:
                return previous  # too late: it serves
            raise
        return previous

    def _failure(self, record: RevisionRecord, ending: Ending) -> LocalError:
        hints: tuple[str, ...] = ()
        if ending.kind == "memory":
            hints = ("give it more: mlfn deploy … --memory SIZE",)
        elif ending.kind in ("load", "warm_up"):
            hints = ("look at the model: mlfn inspect MODEL",)
        previous = self._serving(record.function)
        serves_on = f"; {previous} serves on" if previous else ""
        return LocalError(
            Kind.DEPLOY_FAILED,
            f"revision {record.name} did not become ready: {ending.message}{serves_on}",
            hints=hints,
            details=self._last_lines(record, ending.instance),
        )

    def _last_lines(self, record: RevisionRecord, instance: str) -> str:
        return logs.tail_of(logs.log_path(self._functions.place.logs, record.function, instance))

    # -- back to how it was -------------------------------------------------------------------------------------------

    async def _undo(self, record: RevisionRecord, new_here: bool) -> None:
        undoing = asyncio.ensure_future(self._functions.drop(record.name, record.function))
        await unbroken(undoing)
        await self._discard(record.model.digest, new_here)

    async def _discard(self, digest: str, new_here: bool) -> None:
        if not new_here or list(self._busy.values()).count(digest) > 1:
            return
        if digest not in await self._functions.ledger.call(self._state.digests):
            await asyncio.to_thread(self._functions.content.discard, digest)

    # -- unattended ---------------------------------------------------------------------------------------------------

    def _go_on(self, record: RevisionRecord) -> None:
        task = asyncio.get_running_loop().create_task(self._unattended(record))
        self._tasks[record.function] = task

    async def _unattended(self, record: RevisionRecord) -> None:
        try:
            await self._bring_up(record, {})
        except LocalError as error:
            _log.warning("%s", error.message)
            await self._functions.fail(record.name, record.function, error.message)
            self._functions.ledger.failed(ErrorRecord(record.function, record.name, time.time(), error.message))
        finally:
            self._tasks.pop(record.function, None)
            self._busy.pop(record.function, None)
