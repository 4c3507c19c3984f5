"""Where a model runs: on the loop, merged by turn, or in worker threads, first come first served.

Both take a ``Job`` on the loop's thread and call its reply once, on the loop's thread. Neither uses a timer: a job that
is alone runs at once; jobs that came while the model was busy, or in the same turn of the loop, may share a run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from mlfn_runtime.errors import RequestError
from mlfn_runtime.merging import merge, merge_key, rows_of, split
from mlfn_runtime.requests import InferenceResult

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mlfn_runtime.counters import Counters

    Arrays = dict[str, NDArray[Any]]
    Predict = Callable[[Arrays], Arrays]
    Outcome = InferenceResult | RequestError

__all__ = ["Job", "LoopExecutor", "WorkerExecutor", "run_together"]


class Job:
    """Hold one inference that waits for its run."""

    __slots__ = ("deadline", "inputs", "key", "queued_at", "reply", "rows")

    def __init__(self, inputs: Arrays, reply: Callable[[Outcome], None], queued_at: float, deadline: float) -> None:
        self.inputs = inputs
        self.reply = reply
        self.queued_at = queued_at
        self.deadline = deadline
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
        start = time.perf_counter()
        try:
            outputs = predict(job.inputs)
        except RequestError as error:
            alone.append(error)
        else:
            alone.append(InferenceResult(outputs, job.rows, start - job.queued_at, time.perf_counter() - start))
    return alone


def _run_merged(predict: Predict, jobs: Sequence[Job]) -> list[Outcome] | None:
    start = time.perf_counter()
    rows = [job.rows for job in jobs]
    try:
        parts = split(predict(merge([job.inputs for job in jobs])), rows)
    except RequestError:
        return None
    if parts is None:
        return None
    run_s = time.perf_counter() - start
    total = sum(rows)
    return [InferenceResult(part, total, start - job.queued_at, run_s) for job, part in zip(jobs, parts, strict=True)]


class LoopExecutor:
    """Run jobs on the loop, those of one turn together."""

    def __init__(self, predict: Predict, merge_rows: int, loop: asyncio.AbstractEventLoop, counters: Counters) -> None:
        self._predict = predict
        self._merge_rows = merge_rows
        self._loop = loop
        self._counters = counters
        self._jobs: list[Job] = []

    @property
    def waiting(self) -> int:
        """Return how many jobs wait; never more than the rows of one run."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Take one job; it runs at the end of this turn of the loop, or now when a run is full."""
        jobs = self._jobs
        jobs.append(job)
        if len(jobs) == 1:
            self._loop.call_soon(self._flush)
        elif len(jobs) >= self._merge_rows:
            self._flush()

    def _flush(self) -> None:
        jobs, self._jobs = self._jobs, []
        if self._merge_rows > 1 and len(jobs) > 1:
            for group in _grouped(jobs, self._merge_rows):
                self._run(group)
        else:
            for job in jobs:
                self._run([job])

    def _run(self, jobs: list[Job]) -> None:
        outcomes = run_together(self._predict, jobs)
        count_run(self._counters, jobs, outcomes)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.reply(outcome)

    def close(self) -> None:
        """Nothing to stop: what was taken has run by the end of its turn."""


class WorkerExecutor:
    """Run jobs in threads, one run per thread at a time, in the order in which they came.

    The loop's thread owns the queue and hands a run to a thread that is free, so nothing here needs a lock.
    """

    def __init__(
        self, predict: Predict, workers: int, limit: MergeLimit, loop: asyncio.AbstractEventLoop, counters: Counters
    ) -> None:
        self._predict = predict
        self._limit = limit
        self._loop = loop
        self._counters = counters
        self._jobs: deque[Job] = deque()
        self._idle = workers
        self._workers = workers
        self._runs: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        for number in range(workers):
            threading.Thread(target=self._work, name=f"model-{number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Return how many jobs wait for a thread."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Take one job; it starts now when a thread is free."""
        self._jobs.append(job)
        if self._idle:
            self._start_runs()

    def _start_runs(self) -> None:
        while self._idle and self._jobs:
            jobs = self._next_run()
            if jobs:
                self._idle -= 1
                self._runs.put(jobs)
        self._counters.queue_depth = len(self._jobs)

    def _next_run(self) -> list[Job]:
        """Take the oldest job, and those behind it that may share its run; answer those whose time is over."""
        waiting = self._jobs
        first = waiting.popleft()
        now = time.perf_counter()
        if now > first.deadline:
            first.reply(RequestError(504, f"the request waited {now - first.queued_at:.1f} s for a worker"))
            return []
        jobs, rows, limit = [first], first.rows, self._limit.rows
        while waiting and first.key is not None and waiting[0].key == first.key and rows + waiting[0].rows <= limit:
            rows += waiting[0].rows
            jobs.append(waiting.popleft())
        return jobs

    def _work(self) -> None:
        while (jobs := self._runs.get()) is not None:
            outcomes = run_together(self._predict, jobs)
            try:
                self._loop.call_soon_threadsafe(self._finish, jobs, outcomes)
            except RuntimeError:  # the loop has closed: the process ends, and nobody waits any more
                return

    def _finish(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        self._idle += 1
        first = outcomes[0]
        if isinstance(first, InferenceResult):
            self._limit.observe(first.run_rows, first.run_s)
        self._start_runs()  # before the answers are written: the thread need not wait for them
        count_run(self._counters, jobs, outcomes)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.reply(outcome)

    def close(self) -> None:
        """Let the threads end."""
        for _ in range(self._workers):
            self._runs.put(None)


class MergeLimit:
    """Learn from the runs themselves how many rows a run may have.

    Starts at what calibration allowed, doubles when full runs give more rows per second than runs of half the size,
    and goes back when they do not: transformers gain to 8 or 16 rows, convolutions lose from 2 or 4 on.
    """

    _CEILING = 32
    _GAIN = 1.04
    _SAMPLES = 8

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._seconds_per_row: dict[int, float] = {}
        self._samples = 0
        self._settled = rows <= 1

    def seed(self, rows: int, run_s: float) -> None:
        """Note a run measured before."""
        self._seconds_per_row[rows] = run_s / rows

    def observe(self, rows: int, run_s: float) -> None:
        """Note one run; may change ``rows``."""
        if self._settled or rows != self.rows:
            return
        best = self._seconds_per_row.get(rows)
        self._seconds_per_row[rows] = run_s / rows if best is None else min(best, run_s / rows)
        self._samples += 1
        if self._samples < self._SAMPLES:
            return
        self._samples = 0
        half = self._seconds_per_row.get(rows // 2)
        if half is not None and half < self._seconds_per_row[rows] * self._GAIN:
            self.rows, self._settled = rows // 2, True
        elif rows * 2 > self._CEILING:
            self._settled = True
        else:
            self.rows = rows * 2


def _grouped(jobs: list[Job], most_rows: int) -> list[list[Job]]:
    """Put jobs that may share a run together, in the order in which they came."""
    groups: list[list[Job]] = []
    current: dict[tuple[object, ...], tuple[list[Job], int]] = {}
    for job in jobs:
        open_group = current.get(job.key) if job.key is not None else None
        if open_group is not None and open_group[1] + job.rows <= most_rows:
            open_group[0].append(job)
            current[job.key] = (open_group[0], open_group[1] + job.rows)  # type: ignore[index]  # found by this key
            continue
        group = [job]
        groups.append(group)
        if job.key is not None:
            current[job.key] = (group, job.rows)
    return groups


def count_run(counters: Counters, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Count one run, or the runs that it fell apart into."""
    for job, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, RequestError):
            counters.failures += 1
            continue
        counters.inferences += 1
        counters.rows += job.rows
        counters.waited_s += outcome.waited_s
    first = outcomes[0]
    if isinstance(first, InferenceResult):
        counters.run_rows.observe(first.run_rows)
        counters.run_s += first.run_s
