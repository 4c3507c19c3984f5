"""All cores for one caller: when they are asked for, used, and given back."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfn_runtime.counters import Counters
from mlfn_runtime.errors import RequestError
from mlfn_runtime.execution import WorkerBounds, WorkerExecutor
from mlfn_runtime.lone_caller import LoneCaller
from mlfn_runtime.merge_limit import MergeLimit
from mlfn_runtime.requests import InferenceResult

Arrays = dict[str, NDArray[Any]]


def wide(inputs: Arrays) -> Arrays:
    return {"by": np.array(2)}


def narrow(inputs: Arrays) -> Arrays:
    return {"by": np.array(1)}


def test_it_is_asked_for_once_and_only_by_requests_one_by_one() -> None:
    asked: list[int] = []
    lone = LoneCaller(lambda: asked.append(1))
    for number in range(300):
        lone.choose(alone=number % 30 != 0)
    assert asked == []
    for _ in range(100):
        assert lone.choose(alone=True) is None
    assert asked == [1]


def test_two_at_once_end_it_for_a_while() -> None:
    lone = LoneCaller(lambda: None)
    lone.offer(wide)
    chosen = [lone.choose(alone=alone) is wide for alone in [True] * 10 + [False] + [True] * 10]
    assert chosen == [False] * 8 + [True] * 2 + [False] + [False] * 8 + [True] * 2


def used_after(wide_s: float) -> bool:
    lone = LoneCaller(lambda: None)
    lone.offer(wide)
    for _ in range(10):
        lone.choose(alone=True)
        lone.observe(1.0, wide=False)
    for _ in range(8):
        lone.observe(wide_s, wide=True)
    return lone.choose(alone=True) is wide


def test_it_rests_when_it_does_not_gain() -> None:
    assert used_after(0.55)
    assert not used_after(0.95)
    lone = LoneCaller(lambda: None)
    lone.offer(wide)
    lone.observe(1.0, wide=False)
    for _ in range(8):
        lone.observe(0.95, wide=True)
    assert [lone.choose(alone=True) is wide for _ in range(201)] == [False] * 200 + [True]


def test_the_executor_uses_it_for_one_caller_and_not_for_two() -> None:
    async def run() -> tuple[list[int], list[int]]:
        loop = asyncio.get_running_loop()
        lone = LoneCaller(lambda: lone.offer(wide))
        bounds = WorkerBounds(2, 100, 60.0, 0.001, MergeLimit(1), lone)
        executor = WorkerExecutor(narrow, bounds, loop, Counters())

        async def ask() -> int:
            answer: asyncio.Future[InferenceResult | RequestError] = loop.create_future()
            executor.submit({"X": np.ones((1, 1))}, answer.set_result, lambda: False)
            outcome = await asyncio.wait_for(answer, 10)
            assert isinstance(outcome, InferenceResult)
            return int(outcome.outputs["by"])

        one_by_one = [await ask() for _ in range(45)]
        at_once = [by for _ in range(10) for by in await asyncio.gather(ask(), ask(), ask())]
        executor.close()
        return one_by_one, at_once

    one_by_one, at_once = asyncio.run(run())
    assert one_by_one == [1] * 39 + [2] * 6
    assert at_once.count(2) <= 1  # the first of the first three
