"""Run jobs in containers by the rules of OpenWhisk's invoker: container pool and container proxy.

The rules are :mod:`mlfn_policies.openwhisk_pool` and :mod:`mlfn_policies.openwhisk_proxy`; here they are carried out.
Time is the event loop's; what is written in records comes from ``now_ms``.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from mlfn_local.openwhisk.containers import CannotStart, Container, Containers, Wanted
from mlfn_local.openwhisk.jobs import Job, Outcome
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_policies import openwhisk_pool as pool
from mlfn_policies.openwhisk_proxy import Answer, Silence, Verdict, judge_init, judge_run, runs_again

__all__ = ["Invoker"]

_LOG_BYTES = 1_048_576


@dataclass(slots=True, eq=False)
class _Waiting:
    """A job and who waits for its outcome."""

    job: Job
    outcome: asyncio.Future[Outcome | None]


@dataclass(slots=True, eq=False)
class _Held:
    """One container of the pool, from the decision to create it until the decision to destroy it."""

    action: str
    namespace: str
    memory_mb: int
    concurrency: int
    stage: int = pool.STARTING
    active: int = 0
    last_used_s: float = 0.0
    container: Container | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    paused: bool = False
    timer: asyncio.TimerHandle | None = None
    resuming: asyncio.Lock = field(default_factory=asyncio.Lock)


class Invoker:
    """Hold the containers of one invoker."""

    def __init__(self, containers: Containers, settings: ServerSettings, now_ms: Callable[[], int]) -> None:
        self._containers = containers
        self._settings = settings
        self._now_ms = now_ms
        self._held: list[_Held] = []
        self._buffer: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._interned: dict[str, int] = {}

    @property
    def used_mb(self) -> int:
        """Return the memory of all containers, paused ones included."""
        return sum(held.memory_mb for held in self._held)

    async def run(self, job: Job) -> Outcome | None:
        """Run a job; None when it is lost."""
        waiting = _Waiting(job, asyncio.get_running_loop().create_future())
        self._buffer.append(waiting)
        self._drain()
        return await waiting.outcome

    async def close(self) -> None:
        """Destroy every container; what runs is cut."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for held in self._held:
            self._stop_timer(held)
        await asyncio.gather(*(held.container.destroy() for held in self._held if held.container is not None))
        self._held.clear()

    # ---- the pool

    def _drain(self) -> None:
        """Place the waiting jobs in their order: the first that finds no room holds back all behind it."""
        while self._buffer and self._place(self._buffer[0]):
            self._buffer.popleft()

    def _place(self, waiting: _Waiting) -> bool:
        action = waiting.job.action
        held = self._find(waiting.job)
        if held is None:
            if not pool.fits(self.used_mb, action.limits.memory_mb, self._settings.user_memory_mb):
                leaving = self._evictable(action.limits.memory_mb)
                if not leaving:
                    return False
                for one in leaving:
                    self._remove(one)
            held = _Held(_version(waiting.job), waiting.job.namespace, action.limits.memory_mb, _room(waiting.job))
            self._held.append(held)
            held.active += 1
            self._start(self._first(held, waiting), waiting)
        else:
            held.active += 1
            self._stop_timer(held)
            self._start(self._next(held, waiting), waiting)
        held.last_used_s = asyncio.get_running_loop().time()
        return True

    def _find(self, job: Job) -> _Held | None:
        at = pool.find_warm(
            [held.stage for held in self._held],
            [self._number(held.action) for held in self._held],
            [self._number(held.namespace) for held in self._held],
            [held.concurrency - held.active for held in self._held],
            (self._number(_version(job)), self._number(job.namespace)),
        )
        return None if at == pool.COLD else self._held[at]

    def _evictable(self, wanted_mb: int) -> list[_Held]:
        chosen = pool.to_evict(
            [held.stage for held in self._held],
            [held.active for held in self._held],
            [held.memory_mb for held in self._held],
            [int(held.last_used_s * 1e6) for held in self._held],
            wanted_mb,
        )
        return [self._held[i] for i in chosen]

    def _number(self, word: str) -> int:
        return self._interned.setdefault(word, len(self._interned))

    # ---- one container

    async def _first(self, held: _Held, waiting: _Waiting) -> None:
        """Create the container, initialise it, and run the job that asked for it."""
        job = waiting.job
        wanted = Wanted(f"{job.namespace}_{job.action.name}", _image(job), held.memory_mb, held.concurrency)
        try:
            held.container = await self._containers.create(wanted)
        except CannotStart as error:
            now = self._now_ms()
            told = Outcome(error.status, {"error": error.message}, now, now, now - job.created_ms)
            self._fail(held, waiting, told)
            return
        start_ms = self._now_ms()
        answer = await held.container.post("/init", _init_body(job, start_ms), job.action.limits.timeout_ms / 1000)
        init_ms = self._now_ms() - start_ms
        verdict = judge_init(answer, job.action.limits.timeout_ms, repeat_dropped=self._settings.repeat_dropped)
        if verdict is not None:
            end_ms = self._now_ms()
            told = _outcome(verdict, (start_ms, end_ms), job, init_ms)
            logs = held.container.logs(_LOG_BYTES) if job.action.limits.logs_mb else None
            await self._tell(waiting, None if verdict.lost else told, logs)
            self._fail(held, waiting, None)
            return
        held.stage = pool.WARM
        held.ready.set()
        self._drain()
        answer = await self._post_run(held, job)
        verdict = judge_run(answer, job.action.limits.timeout_ms, most_bytes=self._settings.most_payload_bytes)
        told = _outcome(verdict, (start_ms, self._now_ms()), job, init_ms)
        await self._end(held, waiting, verdict, told)

    async def _next(self, held: _Held, waiting: _Waiting) -> None:
        """Run a job in a container that others have started."""
        job = waiting.job
        await held.ready.wait()
        if held.stage != pool.WARM or not await self._resumed(held):
            held.active -= 1
            self._again(waiting)
            return
        start_ms = self._now_ms()
        answer = await self._post_run(held, job)
        if runs_again(answer, warm=True, repeat_dropped=self._settings.repeat_dropped):
            self._leave(held)
            self._again(waiting)
            return
        verdict = judge_run(answer, job.action.limits.timeout_ms, most_bytes=self._settings.most_payload_bytes)
        await self._end(held, waiting, verdict, _outcome(verdict, (start_ms, self._now_ms()), job, None))

    async def _post_run(self, held: _Held, job: Job) -> Answer | Silence:
        assert held.container is not None
        body = _run_body(job, self._now_ms())
        return await held.container.post("/run", body, job.action.limits.timeout_ms / 1000)

    async def _resumed(self, held: _Held) -> bool:
        async with held.resuming:
            if held.paused and held.container is not None:
                await held.container.resume()
                held.paused = False
        return True

    async def _end(self, held: _Held, waiting: _Waiting, verdict: Verdict, told: Outcome) -> None:
        """Tell the outcome, read the logs, and only then have the container free for the next."""
        assert held.container is not None
        if not verdict.keep:
            held.stage = pool.LEAVING
        logs = held.container.logs(_LOG_BYTES) if waiting.job.action.limits.logs_mb else None
        await self._tell(waiting, None if verdict.lost else told, logs)
        if not verdict.keep:
            self._leave(held)
            return
        held.active -= 1
        held.last_used_s = asyncio.get_running_loop().time()
        if held.stage == pool.LEAVING and not held.active:
            self._remove(held)
        elif not held.active:
            self._idle(held)
        self._drain()

    async def _tell(self, waiting: _Waiting, told: Outcome | None, logs: object) -> None:
        """Give the caller the outcome at once, and the log lines when they have been read."""
        if not waiting.outcome.done():
            waiting.outcome.set_result(told)
        if told is not None and told.logs is not None and asyncio.iscoroutine(logs):
            lines = await logs
            assert isinstance(told.logs, asyncio.Future)
            told.logs.set_result(lines)
        elif asyncio.iscoroutine(logs):
            logs.close()

    def _again(self, waiting: _Waiting) -> None:
        """Put a job back before all others."""
        self._buffer.appendleft(waiting)
        self._drain()

    def _fail(self, held: _Held, waiting: _Waiting, told: Outcome | None) -> None:
        """Give up a container that did not come up; jobs that waited for it are placed again."""
        if not waiting.outcome.done():
            waiting.outcome.set_result(told)
        held.stage = pool.LEAVING
        held.ready.set()
        self._leave(held)

    def _leave(self, held: _Held) -> None:
        """Have a container take nothing new, and destroy it when its last activation has ended."""
        held.stage = pool.LEAVING
        held.active -= 1
        if held.active <= 0:
            self._remove(held)
        self._drain()

    def _remove(self, held: _Held) -> None:
        """Count a container out at once and destroy it in the background."""
        self._stop_timer(held)
        held.stage = pool.LEAVING
        if held in self._held:
            self._held.remove(held)
            if held.container is not None:
                self._start(held.container.destroy())

    # ---- idle containers

    def _idle(self, held: _Held) -> None:
        held.timer = asyncio.get_running_loop().call_later(self._settings.pause_grace_ms / 1000, self._pause, held)

    def _pause(self, held: _Held) -> None:
        self._start(self._paused(held))

    async def _paused(self, held: _Held) -> None:
        async with held.resuming:
            if held.active or held.stage != pool.WARM or held.container is None:
                return
            held.paused = True
            await held.container.pause()
        loop = asyncio.get_running_loop()
        held.timer = loop.call_later(self._settings.idle_container_ms / 1000, self._expire, held)

    def _expire(self, held: _Held) -> None:
        """Remove a container whose time is over; it is resumed before it is killed."""
        if held.active or held.stage != pool.WARM or held.container is None:
            return
        held.stage = pool.LEAVING
        self._held.remove(held)
        self._start(_resume_and_destroy(held.container))
        self._drain()

    def _stop_timer(self, held: _Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None

    def _start(self, work: Coroutine[object, object, None], waiting: _Waiting | None = None) -> None:
        """Run work in the background; what breaks it breaks the call that waits for it, too."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            error = task.exception()
            if error is not None and waiting is not None and not waiting.outcome.done():
                waiting.outcome.set_exception(error)

        task.add_done_callback(ended)


async def _resume_and_destroy(container: Container) -> None:
    await container.resume()
    await container.destroy()


def _version(job: Job) -> str:
    """Return what a warm container must have been made for: the action, its version included."""
    return f"{job.action.full_name}@{job.action.version}@{job.action.updated_ms}"


def _room(job: Job) -> int:
    return job.action.limits.concurrency


def _image(job: Job) -> str:
    return job.action.exec.image or job.action.exec.kind


def _outcome(verdict: Verdict, times_ms: tuple[int, int], job: Job, init_ms: int | None) -> Outcome:
    start_ms, end_ms = times_ms
    logs: asyncio.Future[tuple[str, ...]] | None = None
    if job.action.limits.logs_mb and not verdict.lost:
        logs = asyncio.get_running_loop().create_future()
    return Outcome(
        status=verdict.status,
        result=verdict.result,
        start_ms=start_ms,
        end_ms=end_ms,
        wait_ms=start_ms - job.created_ms,
        init_ms=init_ms,
        size=verdict.size,
        timed_out=verdict.timed_out,
        logs=logs,
    )


def _init_body(job: Job, now_ms: int) -> bytes:
    action = job.action
    environment = {
        "__OW_NAMESPACE": job.namespace,
        "__OW_ACTION_NAME": f"/{action.full_name}",
        "__OW_ACTION_VERSION": action.version,
        "__OW_ACTIVATION_ID": job.activation_id,
        "__OW_TRANSACTION_ID": job.transaction_id,
        "__OW_DEADLINE": str(now_ms + action.limits.timeout_ms),
    }
    if action.wants_key:
        environment["__OW_API_KEY"] = job.key
    for name, value in job.environment:
        environment[name] = value if isinstance(value, str) else json.dumps(value)
    message: dict[str, object] = {
        "name": action.name,
        "main": action.exec.main or "main",
        "binary": action.exec.binary,
        "env": environment,
    }
    if action.exec.code:
        message["code"] = action.exec.code
    return json.dumps({"value": message}).encode()


def _run_body(job: Job, now_ms: int) -> bytes:
    action = job.action
    message = {
        "value": job.params,
        "namespace": job.namespace,
        "action_name": f"/{action.full_name}",
        "action_version": action.version,
        "activation_id": job.activation_id,
        "transaction_id": job.transaction_id,
        "deadline": str(now_ms + action.limits.timeout_ms),
    }
    if action.wants_key:
        message["api_key"] = job.key
    return json.dumps(message).encode()
