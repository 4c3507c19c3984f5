"""Where a model runs: on the loop, merged by turn, or in worker threads, first come first served.

Both take a ``Job`` on the loop's thread and call its reply once, on the loop's thread. Neither uses a timer: a job that
is alone runs at once; jobs that came while the model was busy, or in the same turn of the loop, may share a run.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from mlfn_runtime.errors import RequestError
from mlfn_runtime.merging import merge, merge_key, rows_of, split
from mlfn_runtime.requests import InferenceResult

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mlfn_runtime.counters import Counters
    from mlfn_runtime.lone_caller import LoneCaller
    from mlfn_runtime.merge_limit import MergeLimit

    Arrays = dict[str, NDArray[Any]]
    Predict = Callable[[Arrays], Arrays]
    Outcome = InferenceResult | RequestError
    Reply = Callable[[Outcome], None]

__all__ = ["LoopExecutor", "WorkerBounds", "WorkerExecutor"]


_MOST_IN_A_TURN = 64
"""Jobs that may wait for the end of their turn."""

_SLOW_ON_LOOP_S = 0.001
_SLOW_RUNS = 5
"""So many runs in a row that take this long per request end a model's stay on the loop."""

_perf_counter = time.perf_counter


class Job:
    """Hold one inference that waits for its run."""

    __slots__ = ("gone", "inputs", "key", "queued_at", "reply", "rows")

    def __init__(self, inputs: Arrays, reply: Reply, gone: Callable[[], bool], queued_at: float) -> None:
        self.inputs = inputs
        self.reply = reply
        self.gone = gone
        self.queued_at = queued_at
        self.rows = rows_of(inputs)
        self.key = merge_key(inputs)


def run_together(predict: Predict, jobs: Sequence[Job]) -> list[Outcome]:
    """Run jobs in one run and return their outcomes in order.

    When the shared run fails, each job runs alone, so that one job's bad input is one job's refusal.
    """
    if len(jobs) > 1:
        outcomes = _run_merged(predict, jobs)
        if outcomes is not None:
            return outcomes
    alone: list[Outcome] = []
    for job in jobs:
        start = _perf_counter()
        try:
            outputs = predict(job.inputs)
        except RequestError as error:
            alone.append(error)
        else:
            alone.append(InferenceResult(outputs, job.rows, start - job.queued_at, _perf_counter() - start))
    return alone


def _run_merged(predict: Predict, jobs: Sequence[Job]) -> list[Outcome] | None:
    start = _perf_counter()
    rows = [job.rows for job in jobs]
    try:
        parts = split(predict(merge([job.inputs for job in jobs])), rows)
    except RequestError:
        return None
    if parts is None:
        return None
    run_s = _perf_counter() - start
    total = sum(rows)
    return [InferenceResult(part, total, start - job.queued_at, run_s) for job, part in zip(jobs, parts, strict=True)]


class LoopExecutor:
    """Run jobs on the loop, those of one turn together."""

    def __init__(
        self,
        predict: Predict,
        merge_rows: int,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        on_slow: Callable[[float], None],
    ) -> None:
        self._predict = predict
        self._merge_rows = merge_rows
        # Also what is not merged waits for the end of the turn: answers written one by one bring the next requests one
        # by one, and each turn of the loop costs a poll and a write to the log (56 us a request instead of 28).
        self._most = max(merge_rows, _MOST_IN_A_TURN)
        self._on_slow = on_slow
        self._slow_runs = 0
        self._loop = loop
        self._counters = counters
        self._jobs: list[Job] = []

    def submit(self, inputs: Arrays, reply: Reply, gone: Callable[[], bool]) -> None:
        """Take one job; it runs at the end of this turn of the loop, or now when a run is full."""
        jobs = self._jobs
        jobs.append(Job(inputs, reply, gone, _perf_counter()))
        if len(jobs) == 1:
            self._loop.call_soon(self._flush)
        elif len(jobs) >= self._most:
            self._flush()

    def _flush(self) -> None:
        jobs, self._jobs = self._jobs, []
        if self._merge_rows <= 1 or len(jobs) == 1:
            # All runs, then all answers: each kind of work finds its code in the cache.
            deliver(self._loop, jobs, [self._run_alone(job) for job in jobs])
            return
        for group in _grouped(jobs, self._merge_rows):
            start = _perf_counter()
            outcomes = run_together(self._predict, group)
            self._watch(_perf_counter() - start, len(group))
            count_run(self._counters, group, outcomes)
            deliver(self._loop, group, outcomes)

    def _run_alone(self, job: Job) -> Outcome:
        """Do what is done for a group, for one: a third of the steps."""
        start = _perf_counter()
        outcome: Outcome
        try:
            outcome = InferenceResult(self._predict(job.inputs), job.rows)
        except RequestError as error:
            outcome = error
        run_s = _perf_counter() - start
        if run_s > _SLOW_ON_LOOP_S or self._slow_runs:
            self._watch(run_s, 1)
        counters = self._counters
        if type(outcome) is InferenceResult:
            counters.inferences += 1
            counters.rows += job.rows
            counters.run_s += run_s
            counters.waited_s += start - job.queued_at
            counters.run_rows.observe(job.rows)
        else:
            counters.failures += 1
        return outcome

    def _watch(self, run_s: float, jobs: int) -> None:
        """Say when real inputs make the model slower than the synthesised ones have: the loop is not its place."""
        if run_s < _SLOW_ON_LOOP_S * jobs:
            self._slow_runs = 0
            return
        self._slow_runs += 1
        if self._slow_runs == _SLOW_RUNS:
            self._on_slow(run_s / jobs)

    def close(self) -> None:
        """Nothing to stop: what was taken has run by the end of its turn."""


class WorkerBounds(NamedTuple):
    """Say how many threads run the model, how many jobs may wait for them and how long, how many rows share a run."""

    workers: int
    max_queue: int
    timeout_s: float
    run_s: float
    limit: MergeLimit
    lone: LoneCaller | None = None


class WorkerExecutor:
    """Run jobs in threads, one run per thread at a time, in the order in which they came.

    The loop's thread owns the queue and hands a run to a thread that is free, so nothing here needs a lock.
    """

    def __init__(
        self, predict: Predict, bounds: WorkerBounds, loop: asyncio.AbstractEventLoop, counters: Counters
    ) -> None:
        self._predict = predict
        self._bounds = bounds
        self._limit = bounds.limit
        self._loop = loop
        self._counters = counters
        self._jobs: deque[Job] = deque()
        self._idle = bounds.workers
        self._runs: queue.SimpleQueue[tuple[Predict, list[Job], int] | None] = queue.SimpleQueue()
        for number in range(bounds.workers):
            threading.Thread(target=self._work, name=f"model-{number}", daemon=True).start()

    def submit(self, inputs: Arrays, reply: Reply, gone: Callable[[], bool]) -> None:
        """Take one job; it starts now when a thread is free."""
        waiting = len(self._jobs)
        if waiting >= self._bounds.max_queue:
            self._counters.rejected += 1
            seconds = max(1, math.ceil(waiting * self._bounds.run_s / self._bounds.workers))
            message = f"the queue is full: {waiting} inferences wait"
            reply(RequestError(503, message, ((b"retry-after", b"%d" % seconds),)))
            return
        self._jobs.append(Job(inputs, reply, gone, _perf_counter()))
        if self._idle:
            self._start_runs(alone=not waiting and self._idle == self._bounds.workers)
        else:
            self._counters.queue_depth = waiting + 1

    def _start_runs(self, *, alone: bool) -> None:
        """Hand runs to the threads that are free; ``alone`` tells that one job came while all were."""
        lone = self._bounds.lone
        while self._idle and self._jobs:
            jobs = self._next_run()
            if not jobs:
                continue
            wide = lone.choose(alone=alone) if lone is not None else None
            threads = 1 if wide is None else self._bounds.workers
            self._idle -= threads
            self._runs.put((wide or self._predict, jobs, threads))
        self._counters.queue_depth = len(self._jobs)

    def _next_run(self) -> list[Job]:
        """Take the oldest job, and those behind it that may share its run; answer those whose time is over.

        A client that is gone wants no run: under overload those would keep the cores from who still waits.
        """
        waiting = self._jobs
        first = waiting.popleft()
        if first.gone():
            deliver(self._loop, [first], [RequestError(408, "the client went away while its request waited")])
            return []
        waited_s = _perf_counter() - first.queued_at
        if waited_s > self._bounds.timeout_s:
            deliver(self._loop, [first], [RequestError(504, f"the request waited {waited_s:.1f} s for a worker")])
            return []
        jobs, rows, limit = [first], first.rows, self._limit.rows
        while waiting and first.key is not None and waiting[0].key == first.key and rows + waiting[0].rows <= limit:
            if waiting[0].gone():
                break  # it is the next one's turn to be left out
            rows += waiting[0].rows
            jobs.append(waiting.popleft())
        return jobs

    def _work(self) -> None:
        while (run := self._runs.get()) is not None:
            predict, jobs, threads = run
            outcomes = run_together(predict, jobs)
            try:
                self._loop.call_soon_threadsafe(self._finish, jobs, outcomes, threads)
            except RuntimeError:  # the loop has closed: the process ends, and nobody waits any more
                return

    def _finish(self, jobs: list[Job], outcomes: list[Outcome], threads: int) -> None:
        self._idle += threads
        first = outcomes[0]
        if isinstance(first, InferenceResult):
            if threads == 1:
                self._limit.observe(first.run_rows, first.run_s)
            if self._bounds.lone is not None:
                self._bounds.lone.observe(first.run_s, wide=threads > 1)
        self._start_runs(alone=False)  # before the answers are written: the thread need not wait for them
        count_run(self._counters, jobs, outcomes)
        deliver(self._loop, jobs, outcomes)

    def close(self) -> None:
        """Let the threads end."""
        for _ in range(self._bounds.workers):
            self._runs.put(None)


def _grouped(jobs: list[Job], most_rows: int) -> list[list[Job]]:
    """Put jobs that may share a run together, in the order in which they came."""
    if most_rows <= 1 or len(jobs) == 1:
        return [[job] for job in jobs]
    groups: list[list[Job]] = []
    open_groups: dict[tuple[object, ...], list[Job]] = {}
    rows: dict[tuple[object, ...], int] = {}
    for job in jobs:
        key = job.key
        if key is not None and key in open_groups and rows[key] + job.rows <= most_rows:
            open_groups[key].append(job)
            rows[key] += job.rows
            continue
        group = [job]
        groups.append(group)
        if key is not None:
            open_groups[key] = group
            rows[key] = job.rows
    return groups


def deliver(loop: asyncio.AbstractEventLoop, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Give each job its outcome; one whose reply fails does not keep the others from theirs."""
    for job, outcome in zip(jobs, outcomes, strict=True):
        try:
            job.reply(outcome)
        except Exception as error:  # noqa: BLE001  # the supervisor of all replies: the next job is another client's
            loop.call_exception_handler({"message": "a reply failed", "exception": error})
            job.reply(RequestError(500, "the server failed on this request; its log says why"))


def count_run(counters: Counters, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Count one shared run, or the single runs that it fell apart into."""
    first = outcomes[0]
    if isinstance(first, InferenceResult) and first.run_rows > jobs[0].rows:
        counters.inferences += len(jobs)
        counters.rows += first.run_rows
        counters.run_s += first.run_s
        counters.waited_s += sum(outcome.waited_s for outcome in outcomes if isinstance(outcome, InferenceResult))
        counters.run_rows.observe(first.run_rows)
        return
    for job, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, RequestError):
            counters.failures += 1
            continue
        counters.inferences += 1
        counters.rows += job.rows
        counters.waited_s += outcome.waited_s
        counters.run_s += outcome.run_s
        counters.run_rows.observe(job.rows)
