"""Spread calls over processes of this machine, one for each core.

A process takes one task after another, so that it compiles and reads once. Each has a pipe of its own: when one dies,
it is known which task it had.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from mlfn_sim.sweeps.values import Answer, Call, Died
from mlfn_sim.sweeps.working import perform

__all__ = ["cores", "run_on_processes"]

_PATIENCE_S = 5.0
"""For a process that was told to end."""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(eq=False, slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: int = -1
    """The call it works on; -1: none."""


def run_on_processes(calls: Sequence[Call], workers: int) -> Generator[tuple[int, Answer]]:
    """Yield (number of the call, how it ended) as they end. Ends its processes when it is closed."""
    waiting = deque(range(len(calls)))
    busy: list[_Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                busy.append(_hired())
                _hand(busy[-1], waiting.popleft(), calls)
            ready = wait([worker.pipe for worker in busy])
            for worker in [each for each in busy if each.pipe in ready]:
                yield worker.task, _answer(worker)
                if worker.process.exitcode is None and waiting:
                    _hand(worker, waiting.popleft(), calls)
                else:
                    busy.remove(worker)
                    _dismiss(worker)
    finally:
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            _dismiss(worker)


def _hired() -> _Worker:
    context = get_context("spawn")  # a fork would inherit the threads' locks of numba, pyarrow and progress lines
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that its end is an end of file here
    return _Worker(process, ours)


def _hand(worker: _Worker, number: int, calls: Sequence[Call]) -> None:
    worker.task = number
    try:
        worker.pipe.send(calls[number])
    except BrokenPipeError:
        pass  # it died: the end of its pipe tells


def _answer(worker: _Worker) -> Answer:
    try:
        found: Answer = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        code = worker.process.exitcode or 0
        if code >= 0:
            return Died(f"ended with code {code}")
        by = signal.Signals(-code).name
        memory = " (a machine out of memory does that)" if by == "SIGKILL" else ""
        return Died(f"was killed by {by}{memory}")
    return found


def _dismiss(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.join(_PATIENCE_S)
    if worker.process.exitcode is None:
        worker.process.kill()
        worker.process.join()
    worker.process.close()


def _work(pipe: Connection) -> None:
    """Perform calls until the pipe ends. Ctrl-C is the first process's to handle: it reaches all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        while True:
            pipe.send(perform(pipe.recv()))
    except (EOFError, BrokenPipeError):
        return  # the first process is done, or gone
