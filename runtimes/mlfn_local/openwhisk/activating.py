"""Run actions and sequences, and keep their records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mlfn_local.openwhisk.entities import Action, Activation
from mlfn_local.openwhisk.jobs import Job, Jobs, Outcome
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_local.openwhisk.store import Store
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
    action: Action
    params: Any
    caller: Caller
    inherited: Mapping[str, Any]
    cause: str
    created_ms: int
    binding: str = ""


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

    def begin(
        self, action: Action, params: Any, caller: Caller, inherited: Mapping[str, Any], *, binding: str = ""
    ) -> Running:
        """Start an activation. ``inherited`` are the parameters of the package; ``binding`` its binding's full name."""
        call = _Call(self._new_id(), action, params, caller, inherited, "", self.now_ms(), binding)
        return Running(call.activation_id, self._keep(self._counted(call)))

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

    async def _counted(self, call: _Call) -> Activation | None:
        namespace = call.caller.namespace
        self.throttles.enter(namespace)
        try:
            return await self._run(call)
        finally:
            self.throttles.leave(namespace)

    async def _run(self, call: _Call) -> Activation | None:
        if call.action.exec.kind == "sequence":
            return await self._sequence(call)
        outcome = await self._jobs.run(self._job(call))
        if outcome is None:
            limit_ms = max(call.action.limits.timeout_ms, _FORCED_LEAST_MS)
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
        action = call.action
        own = {name: value for name, value in action.parameters.items() if name not in action.init_parameters}
        params = call.params
        if isinstance(params, dict):
            params = {**call.inherited, **own, **params}
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
        for component in call.action.exec.components:
            path, _, name = component.lstrip("/").rpartition("/")
            action = self._store.actions.get((path, name))
            if action is None:
                gone = Outcome(Status.APPLICATION_ERROR, {"error": _GONE}, start_ms, self.now_ms(), 0)
                return self._sequence_record(call, steps, gone)
            cause = call.activation_id
            step = await self._run(
                _Call(self._new_id(), action, params, call.caller, self._inherited(action), cause, self.now_ms())
            )
            if step is None:
                return None
            steps.append(step)
            if step.status is not Status.SUCCESS:
                break
            params = step.result
        last = steps[-1]
        end = Outcome(last.status, last.result, start_ms, self.now_ms(), start_ms - call.created_ms, size=last.size)
        return self._sequence_record(call, steps, end)

    def _inherited(self, action: Action) -> Mapping[str, Any]:
        package = self._store.packages.get((action.namespace, action.package)) if action.package else None
        return package.parameters if package else {}

    def _sequence_record(self, call: _Call, steps: list[Activation], end: Outcome) -> Activation:
        limits = call.action.limits
        memory = max((step.annotations["limits"]["memory"] for step in steps), default=limits.memory_mb)
        annotations: dict[str, Any] = {"topmost": True} if not call.cause else {}
        annotations |= {
            "path": call.action.full_name,
            "waitTime": end.wait_ms,
            "kind": "sequence",
            "limits": {**limits.json(), "memory": memory},
        }
        duration_ms = sum((step.end_ms or step.start_ms) - step.start_ms for step in steps)
        record = Activation(
            activation_id=call.activation_id,
            namespace=call.caller.namespace,
            subject=call.caller.namespace,
            name=call.action.name,
            version=call.action.version,
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
    annotations: dict[str, Any] = {"path": call.action.full_name, "waitTime": outcome.wait_ms}
    if call.binding:
        annotations["binding"] = call.binding
    if call.cause:
        annotations["causedBy"] = "sequence"
    annotations |= {"kind": call.action.exec.kind, "timeout": outcome.timed_out, "limits": call.action.limits.json()}
    if outcome.init_ms is not None:
        annotations["initTime"] = outcome.init_ms
    return Activation(
        activation_id=call.activation_id,
        namespace=call.caller.namespace,
        subject=call.caller.namespace,
        name=call.action.name,
        version=call.action.version,
        start_ms=outcome.start_ms,
        end_ms=outcome.end_ms,
        status=outcome.status,
        result=outcome.result,
        size=outcome.size,
        annotations=annotations,
        cause=call.cause,
    )
