"""Work out a sweep: look up what is kept, spread the rest, keep each result as it comes."""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from mlfn_sim.errors import Interrupted, WorkerDied
from mlfn_sim.sweeps.keeping import Kept
from mlfn_sim.sweeps.processes import cores, run_on_processes
from mlfn_sim.sweeps.values import ON, Answer, Call, Died, Document, Raised, Task, Where
from mlfn_sim.sweeps.working import named, perform

__all__ = ["sweep"]

_TOO_MANY = 3
"""Processes that die in a row, before anything is finished: then every other would too."""
_Told = Callable[[str], None]


def _unheard(message: str) -> None:
    """Let progress pass."""


def sweep(
    tasks: Sequence[Task],
    work: str | Callable[[Any], Document],
    *,
    where: Where = Where(),  # noqa: B008  # frozen
    progress: _Told = _unheard,
) -> list[Document]:
    """Return what the work of every task gives, in their order; ``progress`` hears how far it is.

    What the work raises ends the sweep and is raised here. Raises WorkerDied when a process was killed (after the
    others' tasks are done), Interrupted for Ctrl-C, NotWritten; what was finished before stays in ``where.out``.
    """
    _check(tasks, where)
    name = named(work)
    kept = Kept(where.out, name) if where.out else None
    known = [kept.get(task) if kept else None for task in tasks]
    results: dict[int, Document] = {i: found for i, found in enumerate(known) if found is not None}
    missing = [i for i in range(len(tasks)) if i not in results]
    count = _Count(len(tasks), len(results), progress)
    died: list[str] = []
    try:
        calls = [Call(name, pickle.dumps(tasks[i]), tuple(sys.path)) for i in missing]
        with closing(_spread(calls, where)) as answers:
            for place, answer in answers:
                i = missing[place]
                if isinstance(answer, Died):
                    died.append(f"{tasks[i].key} ({answer.how})")
                    if len(died) == _TOO_MANY and not count.finished:
                        break
                    continue
                text = _text(answer, tasks[i].key)
                if kept:
                    kept.put(tasks[i], text)
                results[i] = json.loads(text)
                count.one_more()
    except KeyboardInterrupt as error:
        raise Interrupted(f"{len(results)} of {len(tasks)} runs are done; {_afterwards(where)}") from error
    if died:
        these = f"the process of {died[0]}" if len(died) == 1 else f"the processes of {', '.join(died)}"
        raise WorkerDied(f"{these} died; {len(results)} of {len(tasks)} runs are done; {_afterwards(where)}")
    return [results[i] for i in range(len(tasks))]


def _check(tasks: Sequence[Task], where: Where) -> None:
    seen: set[str] = set()
    for task in tasks:
        if task.key in seen:
            raise ValueError(f"two tasks have the key {task.key!r}")
        seen.add(task.key)
    if where.on not in ON:
        raise ValueError(f"on is {where.on!r}; expected one of {', '.join(ON)}")


def _spread(calls: Sequence[Call], where: Where) -> Generator[tuple[int, Answer]]:
    workers = min(where.workers or cores(), len(calls))
    if not calls:
        return
    if where.on == "ray":
        from mlfn_sim.sweeps.on_ray import run_on_ray

        yield from run_on_ray(calls, workers, where.address)
    elif where.on == "dask":
        from mlfn_sim.sweeps.on_dask import run_on_dask

        yield from run_on_dask(calls, workers, where.address)
    elif len(calls) == 1:
        yield 0, perform(calls[0])  # a process would only import everything again
    else:
        yield from run_on_processes(calls, workers)


def _text(answer: Answer, key: str) -> str:
    """Return a result as JSON, or raise what the work raised."""
    if isinstance(answer, Raised):
        raise answer.error from _AtRun(f"at the run {key}:\n{answer.trace}")
    assert not isinstance(answer, Died)
    return answer.text


class _AtRun(Exception):
    """Show in a traceback where in the worker it went wrong."""


def _afterwards(where: Where) -> str:
    if where.out:
        return f"they are kept in {where.out}, and the same command goes on from there"
    return "none is kept without a folder to keep them in"


class _Count:
    """Tell how many runs are done, and about how long the others take."""

    def __init__(self, total: int, kept: int, progress: _Told) -> None:
        self._total, self._kept, self._progress = total, kept, progress
        self._began = time.monotonic()
        self.finished = 0
        if kept:
            progress(f"{kept} of {total} runs are done from before")

    def one_more(self) -> None:
        self.finished += 1
        done = self._kept + self.finished
        left_s = (time.monotonic() - self._began) / self.finished * (self._total - done)
        left = (
            f", {left_s / 60:.0f} min left" if left_s > 90 else f", {left_s:.0f} s left" if done < self._total else ""
        )
        self._progress(f"{done} of {self._total} runs{left}")
