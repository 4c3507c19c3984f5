"""Run actions and sequences, and keep their records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mlfn_local.openwhisk.entities import Activation
from mlfn_local.openwhisk.jobs import Job, Jobs, Outcome
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_local.openwhisk.store import Found, Store
from mlfn_local.openwhisk.throttles import Throttles
from mlfn_policies.openwhisk_proxy import Status

__all__ = ["Activator", "Caller", "Running"]

_FORCED_LEAST_MS = 60_000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the namespace of the credential, and the credential."""

    namespace: str
    key: str


@dataclass(frozen=True, slots=True)
class Running:
    """An activation under way; the task's result is None when it was lost."""

    activation_id: str
    task: asyncio.Task[Activation | None]


@dataclass(frozen=True, slots=True)
class _Call:
    """What one activation is made of."""

    activation_id: str
    found: Found
    params: Any
    caller: Caller
    cause: str
    created_ms: int


class Activator:
    """Start activations; owns the tasks that carry them on when their callers have gone."""

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        settings: ServerSettings,
        *,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._settings = settings
        self.now_ms = now_ms
        self._new_id = new_id
        self._tasks: set[asyncio.Task[Any]] = set()
        self.throttles = Throttles(settings, now_ms)

    def begin(self, found: Found, params: Any, caller: Caller) -> Running:
        """Start an activation; it is counted from now on, not from when its task comes to run."""
        call = _Call(self._new_id(), found, params, caller, "", self.now_ms())
        self.throttles.enter(caller.namespace)
        task = self._keep(self._run(call))
        task.add_done_callback(lambda _: self.throttles.leave(caller.namespace))
        return Running(call.activation_id, task)

    def new_id(self) -> str:
        """Return an activation id."""
        return self._new_id()

    async def settled(self) -> None:
        """Wait until nothing runs and every record is written."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Cut what runs, then end the containers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._jobs.close()

    def _keep(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, call: _Call) -> Activation | None:
        action = call.found.action
        if action.exec.kind == "sequence":
            return await self._sequence(call)
        outcome = await self._jobs.run(self._job(call))
        if outcome is None:
            limit_ms = max(action.limits.timeout_ms, _FORCED_LEAST_MS)
            await asyncio.sleep((2 * limit_ms + _FORCED_LEAST_MS) / 1000)
            return None
        record = _record(call, outcome)
        if outcome.logs is None:
            self._store.activations.append(record)
        else:
            self._keep(self._keep_logged(record, outcome))
        return record

    async def _keep_logged(self, record: Activation, outcome: Outcome) -> None:
        assert outcome.logs is not None
        self._store.activations.append(replace(record, logs=await outcome.logs))

    def _job(self, call: _Call) -> Job:
        action = call.found.action
        own = {name: value for name, value in action.parameters.items() if name not in action.init_parameters}
        params = call.params
        if isinstance(params, dict):
            params = {**call.found.inherited, **own, **params}
        environment = tuple((name, action.parameters[name]) for name in sorted(action.init_parameters))
        return Job(
            activation_id=call.activation_id,
            transaction_id=self._new_id(),
            namespace=call.caller.namespace,
            action=action,
            params=params,
            key=call.caller.key,
            blocking=True,
            created_ms=call.created_ms,
            environment=environment,
        )

    async def _sequence(self, call: _Call) -> Activation | None:
        """Run one component after the other on the result of the one before; the first error ends it."""
        params, steps, start_ms = call.params, list[Activation](), self.now_ms()
        for component in call.found.action.exec.components:
            found = self._store.find_action(component.lstrip("/"))
            if found is None:
                gone = Outcome(Status.APPLICATION_ERROR, {"error": _GONE}, start_ms, self.now_ms(), 0)
                return self._sequence_record(call, steps, gone)
            cause = call.activation_id
            step = await self._run(_Call(self._new_id(), found, params, call.caller, cause, self.now_ms()))
            if step is None:
                return None
            steps.append(step)
            if step.status is not Status.SUCCESS:
                break
            params = step.result
        last = steps[-1]
        end = Outcome(last.status, last.result, start_ms, self.now_ms(), start_ms - call.created_ms, size=last.size)
        return self._sequence_record(call, steps, end)

    def _sequence_record(self, call: _Call, steps: list[Activation], end: Outcome) -> Activation:
        action = call.found.action
        limits = action.limits
        memory = max((step.annotations["limits"]["memory"] for step in steps), default=limits.memory_mb)
        annotations: dict[str, Any] = {"topmost": True} if not call.cause else {}
        annotations |= {
            "path": action.full_name,
            "waitTime": end.wait_ms,
            "kind": "sequence",
            "limits": {**limits.json(), "memory": memory},
        }
        duration_ms = sum((step.end_ms or step.start_ms) - step.start_ms for step in steps)
        record = Activation(
            activation_id=call.activation_id,
            namespace=call.caller.namespace,
            subject=call.caller.namespace,
            name=action.name,
            version=action.version,
            start_ms=end.end_ms - duration_ms,
            end_ms=end.end_ms,
            status=end.status,
            result=end.result,
            size=end.size,
            annotations=annotations,
            logs=tuple(step.activation_id for step in steps),
            cause=call.cause,
        )
        self._store.activations.append(record)
        return record


_GONE = "Sequence component does not exist."


def _record(call: _Call, outcome: Outcome) -> Activation:
    action = call.found.action
    annotations: dict[str, Any] = {"path": action.full_name, "waitTime": outcome.wait_ms}
    if call.found.binding:
        annotations["binding"] = call.found.binding
    if call.cause:
        annotations["causedBy"] = "sequence"
    annotations |= {"kind": action.exec.kind, "timeout": outcome.timed_out, "limits": action.limits.json()}
    if outcome.init_ms is not None:
        annotations["initTime"] = outcome.init_ms
    return Activation(
        activation_id=call.activation_id,
        namespace=call.caller.namespace,
        subject=call.caller.namespace,
        name=action.name,
        version=action.version,
        start_ms=outcome.start_ms,
        end_ms=outcome.end_ms,
        status=outcome.status,
        result=outcome.result,
        size=outcome.size,
        annotations=annotations,
        cause=call.cause,
    )
