"""One revision at work: its gate, its scale, its instances, and their repair.

It keeps as many instances as the scale says, starts failed ones again with back-off, and says what it did and why.
The service calls ``report`` and ``tick`` with the time; nothing here looks at a clock to decide.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlfn_local import logs
from mlfn_local.gate import Gate
from mlfn_local.instance import Order
from mlfn_local.process import Ending, InstanceProcess, ProcessState
from mlfn_local.records import ErrorRecord, RevisionRecord, ScaleChange
from mlfn_local.scaling import RevisionScaler
from mlfn_local.starter import Starter
from mlfn_local.upstream import Target
from mlfn_policies.backoff import CAP_S, delay_s, failures_after, is_crash_loop

__all__ = ["History", "Place", "RevisionAtWork"]

READY_CAP_S = 5.0
"""The longest wait before an instance is replaced that did become ready: it most likely will again."""
MAX_LOST = 5
LOST_WAIT_S = 0.05


class History(Protocol):
    """Who writes down what happened."""

    def scaled(self, change: ScaleChange) -> None:
        """Note a change of scale."""

    def failed(self, error: ErrorRecord) -> None:
        """Note a failure."""


@dataclass(frozen=True, slots=True)
class Place:
    """Say where and by whom instances are run; the same for all revisions of a service."""

    starter: Starter
    history: History
    models: Callable[[str], Path]
    """Digest to folder."""
    logs: Path
    group: str
    """Prefix of the names of memory cgroups; "" = make none, watch instead."""
    cores: int
    clock: Callable[[], float] = time.monotonic
    """The time that scale is decided by."""


class RevisionAtWork:
    """Run one revision."""

    def __init__(self, record: RevisionRecord, place: Place, *, resumed: bool) -> None:
        self.record = record
        self.failures = 0
        self.last_ending: Ending | None = None
        self._place = place
        self._scaler = RevisionScaler(record.settings, cores=place.cores, now_s=place.clock(), resumed=resumed)
        self.gate = Gate(record.name, record.settings, self, self._scaler.meter, place.clock)
        self._instances: dict[str, InstanceProcess] = {}
        self._lost = 0
        """Starts in a row that came to nothing since the warm parent ended."""
        self._restarts = 0
        self._desired = 0
        self._retired = False
        self._retry: asyncio.TimerHandle | None = None
        self._outcome: asyncio.Future[Ending | None] | None = None
        self._gone = asyncio.Event()
        self._gone.set()

    # -- what others see ----------------------------------------------------------------------------------------------

    @property
    def instances(self) -> tuple[InstanceProcess, ...]:
        """Return the instances, oldest first."""
        return tuple(self._instances.values())

    @property
    def logs(self) -> Path:
        """Return the folder of all logs."""
        return self._place.logs

    @property
    def restarts(self) -> int:
        """Return how often an instance was started in place of one that failed."""
        return self._restarts

    @property
    def crash_loop(self) -> bool:
        """Say whether instances fail again and again."""
        return is_crash_loop(self.failures)

    @property
    def proving(self) -> bool:
        """Say whether somebody waits for an instance, to send traffic then."""
        return self._outcome is not None

    @property
    def retired(self) -> bool:
        """Say whether the traffic goes elsewhere."""
        return self._retired

    @property
    def settled(self) -> bool:
        """Say whether nothing runs, waits or is about to start."""
        return not self._instances and self.gate.active == 0

    # -- what others ask for ------------------------------------------------------------------------------------------

    async def prove(self) -> Ending | None:
        """Have an instance ready before any traffic comes; return None then, or how the first one ended.

        Nothing is repaired here.
        """
        if self.gate.ready:
            return None
        assert self._outcome is None
        self._outcome = asyncio.get_running_loop().create_future()
        if self._desired == 0:
            self._note(1, self._foresee())
        self._reconcile()
        try:
            return await self._outcome
        finally:
            self._outcome = None

    def _foresee(self) -> str:
        """Return why one instance is wanted; the scaler of a revision that has run before must know, or it ends it."""
        if self._scaler.scale.desired > 0:
            return "initial scale 1"
        self._scaler.first_request(self._place.clock())
        return "traffic is about to come"

    def resume(self) -> None:
        """Start what must always run, after the service itself started."""
        self._follow(self._scaler.scale.desired, self._scaler.scale.reason)

    def report(self) -> None:
        """Record the last second; called once a second."""
        self._scaler.report(self._place.clock(), self.gate.ready)
        for process in self._instances.values():
            process.turn_log_over()

    def tick(self) -> None:
        """Decide the scale; called every two seconds."""
        if self._outcome is not None:
            return
        if self._retired:
            self._drain_retired()
            return
        scale = self._scaler.decide(self._place.clock(), self.gate.ready)
        self._follow(scale.desired, scale.reason)

    def watch(self) -> None:
        """Look at the memory of the instances; called a few times a second."""
        for process in tuple(self._instances.values()):
            process.watch()

    @property
    def must_watch(self) -> bool:
        """Say whether any instance's memory must be watched."""
        return any(process.is_watched for process in self._instances.values())

    def retire(self, reason: str) -> None:
        """Serve what came before, then run nothing: the traffic goes elsewhere."""
        if self._retired:
            return
        self._retired = True
        if self._desired:
            self._note(0, reason)
        self._drain_retired()

    def restore(self) -> None:
        """Take traffic again."""
        self._retired = False

    async def close(self, *, kill: bool) -> None:
        """End all instances and wait for them; ``kill`` does not let them finish."""
        self._retired = True
        self._desired = 0
        if self._retry is not None:
            self._retry.cancel()
        self.gate.close(f"{self.record.name} was stopped")
        for process in tuple(self._instances.values()):
            self.gate.drain(process.id)
            if kill:
                process.abandon()
            else:
                process.stop()
        await self._gone.wait()

    # -- scale --------------------------------------------------------------------------------------------------------

    def _follow(self, desired: int, reason: str) -> None:
        if desired != self._desired:
            self._note(desired, reason)
        self._reconcile()

    def _note(self, desired: int, reason: str) -> None:
        record = self.record
        self._place.history.scaled(
            ScaleChange(record.function, record.name, time.time(), self._desired, desired, reason)
        )
        self._desired = desired

    def _reconcile(self) -> None:
        staying = [p for p in self._instances.values() if p.state in (ProcessState.STARTING, ProcessState.READY)]
        if len(staying) < self._desired and self._retry is None:
            for _ in range(self._desired - len(staying)):
                self._start()
        # Those that do not answer yet go first, then the youngest.
        staying.sort(key=lambda p: (p.state is ProcessState.READY, -p.started_at))
        for process in staying[: max(0, len(staying) - self._desired)]:
            self._let_go(process)

    def _drain_retired(self) -> None:
        self._desired = 0 if self.gate.active == 0 else max(1, min(self._desired, self.gate.ready))
        for process in tuple(self._instances.values()):
            if process.state is ProcessState.STARTING and self.gate.waiting == 0:
                process.abandon()
            elif process.state is ProcessState.READY and self.gate.waiting == 0:
                self._let_go(process)

    def _let_go(self, process: InstanceProcess) -> None:
        """Let an instance finish what it has, then stop it: the router knows that nothing more comes."""
        if process.state is ProcessState.STARTING:
            process.abandon()
            return
        process.drain()
        if self.gate.drain(process.id):
            process.stop()

    def _start(self) -> None:
        record, place = self.record, self._place
        name = f"{record.name}-{_next_id()}"
        log = logs.log_path(place.logs, record.function, name)
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        order = Order(
            instance=name,
            function=record.function,
            revision=record.name,
            model_path=str(place.models(record.model.digest) / record.model.entry),
            log_path=str(log),
            timeout_s=record.settings.timeout_s,
            memory_bytes=record.settings.memory_bytes,
            env=record.settings.env,
        )
        self._instances[name] = InstanceProcess(
            order, self, place.starter, memory_bytes=record.settings.memory_bytes, group=place.group
        )
        self._gone.clear()

    def _start_again(self) -> None:
        self._retry = None
        if self._desired == 0 or (self._retired and self.gate.waiting == 0):
            return
        self._restarts += 1
        self._reconcile()

    # -- what the gate tells ------------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Decide at once: a request found no ready instance."""
        if self._retired:
            self._desired = max(self._desired, 1)
            self._reconcile()
            return
        if self._desired == 0:
            scale = self._scaler.first_request(self._place.clock())
            self._follow(max(1, scale.desired), scale.reason)
        else:
            self._reconcile()

    def unreachable(self, instance: str) -> None:
        """End an instance that takes no connections; its end is repaired like any other."""
        process = self._instances.get(instance)
        if process is not None:
            process.kill()

    def idle(self, instance: str) -> None:
        """Stop a drained instance."""
        process = self._instances.get(instance)
        if process is not None:
            process.stop()

    # -- what the instances tell --------------------------------------------------------------------------------------

    def instance_ready(self, process: InstanceProcess) -> None:
        """Send requests to it."""
        self._lost = 0
        self.gate.add(Target(process.id, self.record.name, process.port))
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(None)

    def instance_gone(self, process: InstanceProcess, ending: Ending) -> None:
        """Forget it; when that was a failure, note it and start another, sooner or later."""
        self._instances.pop(process.id, None)
        self.gate.remove(process.id)
        if not self._instances:
            self._gone.set()
        logs.keep_newest(process.log.parent, frozenset(self._instances))
        if ending.kind == "lost" and not ending.expected and self._lost < MAX_LOST:
            self._lost += 1
            self._schedule(LOST_WAIT_S)
            return
        # One that was drained before ends beside the one that is awaited.
        if self._outcome is not None and not self._outcome.done() and not (ending.expected and self._instances):
            self._outcome.set_result(ending)
            return
        if ending.expected:
            self._reconcile()
        else:
            self._failed(ending)

    def _failed(self, ending: Ending) -> None:
        self.failures = failures_after(self.failures, ending.lived_s)
        self.last_ending = ending
        record = self.record
        self._place.history.failed(ErrorRecord(record.function, record.name, time.time(), ending.message))
        wait_s = delay_s(self.failures, cap=READY_CAP_S if ending.was_ready else CAP_S)
        if not ending.was_ready and self.failures > 1:
            # One failed start may have been bad luck; from the second on, those that wait are told.
            self.gate.block(f"function {record.function} cannot start: {ending.message}", time.monotonic() + wait_s)
        self._schedule(wait_s)

    def _schedule(self, wait_s: float) -> None:
        if self._desired > 0 and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(wait_s, self._start_again)


_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_last_id = 0


def _next_id() -> str:
    """Return a name that no instance had before, and that sorts after all of them."""
    global _last_id
    _last_id = max(_last_id + 1, int(time.time() * 10))
    number, text = _last_id, ""
    for _ in range(7):
        number, digit = divmod(number, 32)
        text = _DIGITS[digit] + text
    return text
