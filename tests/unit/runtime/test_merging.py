"""Requests that share a run: what goes in and comes out, and that nobody's input is another's failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlfn_runtime.counters import Counters
from mlfn_runtime.errors import RequestError
from mlfn_runtime.execution import LoopExecutor, WorkerBounds, WorkerExecutor
from mlfn_runtime.merge_limit import MergeLimit
from mlfn_runtime.merging import merge, merge_key, rows_of, split
from mlfn_runtime.requests import InferenceResult

Arrays = dict[str, NDArray[Any]]
Outcome = InferenceResult | RequestError


def inputs(rows: int, width: int = 2, start: float = 0.0) -> Arrays:
    return {"X": np.arange(rows * width, dtype=np.float32).reshape(rows, width) + start, "Y": np.full((rows,), start)}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_what_is_merged_is_split_into_the_same(rows: list[int]) -> None:
    parts = [inputs(count, start=float(index)) for index, count in enumerate(rows)]
    again = split(merge(parts), rows)
    assert again is not None
    for part, one in zip(parts, again, strict=True):
        assert all(np.array_equal(part[name], one[name]) for name in part)


@given(st.lists(st.lists(st.integers(0, 3), min_size=0, max_size=3), min_size=2, max_size=2))
def test_only_equal_trailing_axes_share_a_key(shapes: list[list[int]]) -> None:
    keys = [merge_key({"X": np.zeros(shape)}) for shape in shapes]
    for key, shape in zip(keys, shapes, strict=True):
        assert (key is None) == (not shape or shape[0] == 0)
    if None not in keys:
        assert (keys[0] == keys[1]) == (shapes[0][1:] == shapes[1][1:])


def test_inputs_of_different_rows_are_never_merged() -> None:
    assert merge_key({"X": np.zeros((2, 3)), "S": np.zeros((1, 3))}) is None
    assert merge_key({"X": np.zeros((2, 3)), "sr": np.array(16000)}) is None
    assert rows_of({"X": np.array(1.0)}) == 1


def test_outputs_without_the_rows_are_not_split() -> None:
    assert split({"Y": np.zeros((3,))}, [1, 1]) is None
    assert split({"Y": np.array(1.0)}, [1]) is None


def refuse_negative(arrays: Arrays) -> Arrays:
    if (arrays["X"] < 0).any():
        raise RequestError(400, "negative")
    return {"Z": arrays["X"] * 2}


class Recorder:
    """A model that notes the rows of its runs."""

    def __init__(self, predict: Callable[[Arrays], Arrays] = refuse_negative) -> None:
        self.runs: list[int] = []
        self._predict = predict

    def __call__(self, arrays: Arrays) -> Arrays:
        self.runs.append(rows_of(arrays))
        return self._predict(arrays)


def somebody_waits() -> bool:
    return False


async def outcomes_of(executor: LoopExecutor | WorkerExecutor, requests: list[Arrays]) -> list[Outcome]:
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in requests]
    for request, answer in zip(requests, answers, strict=True):
        executor.submit(request, answer.set_result, somebody_waits)
    done = await asyncio.wait_for(asyncio.gather(*answers), 10)
    executor.close()
    return list(done)


def on_loop(model: Recorder, requests: list[Arrays], merge_rows: int = 64) -> tuple[list[Outcome], Counters]:
    counters = Counters()

    async def run() -> list[Outcome]:
        executor = LoopExecutor(model, merge_rows, asyncio.get_running_loop(), counters, lambda run_s: None)
        return await outcomes_of(executor, requests)

    return asyncio.run(run()), counters


def in_workers(model: Recorder, requests: list[Arrays], limit: MergeLimit, **bounds: float) -> list[Outcome]:
    async def run() -> list[Outcome]:
        chosen = WorkerBounds(1, int(bounds.get("max_queue", 100)), bounds.get("timeout_s", 60.0), 0.005, limit)
        return await outcomes_of(WorkerExecutor(model, chosen, asyncio.get_running_loop(), Counters()), requests)

    return asyncio.run(run())


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([2, 3]), st.booleans()), min_size=1, max_size=12))
def test_requests_of_one_turn_get_what_they_would_get_alone(asked: list[tuple[int, int, bool]]) -> None:
    requests = [{"X": np.full((rows, width), -1.0 if bad else rows)} for rows, width, bad in asked]
    outcomes, counters = on_loop(Recorder(), requests, merge_rows=8)
    for request, outcome in zip(requests, outcomes, strict=True):
        if (request["X"] < 0).any():
            assert isinstance(outcome, RequestError)
        else:
            assert isinstance(outcome, InferenceResult)
            assert np.array_equal(outcome.outputs["Z"], request["X"] * 2)
    failed = sum(isinstance(outcome, RequestError) for outcome in outcomes)
    assert (counters.failures, counters.inferences) == (failed, len(asked) - failed)


def test_requests_of_one_turn_share_a_run_up_to_the_limit() -> None:
    model = Recorder()
    outcomes, counters = on_loop(model, [{"X": np.ones((2, 2))} for _ in range(5)], merge_rows=4)
    assert model.runs == [4, 4, 2]
    assert [outcome.run_rows for outcome in outcomes if isinstance(outcome, InferenceResult)] == [4, 4, 4, 4, 2]
    assert (counters.rows, counters.run_rows.count) == (10, 3)


def test_a_run_that_gives_other_rows_than_it_got_falls_apart() -> None:
    model = Recorder(lambda arrays: {"Z": arrays["X"].sum(axis=0)})
    outcomes, _ = on_loop(model, [{"X": np.ones((1, 2))} for _ in range(3)])
    assert model.runs == [3, 1, 1, 1]
    assert all(isinstance(outcome, InferenceResult) for outcome in outcomes)


def test_a_failing_reply_does_not_keep_the_others_from_theirs() -> None:
    heard: list[object] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: heard.append(context["message"]))
        executor = LoopExecutor(Recorder(), 64, loop, Counters(), lambda run_s: None)
        first_calls: list[Outcome] = []

        def broken(outcome: Outcome) -> None:
            first_calls.append(outcome)
            if len(first_calls) == 1:
                raise ValueError("cannot be written")

        second: asyncio.Future[Outcome] = loop.create_future()
        executor.submit({"X": np.ones((1, 2))}, broken, somebody_waits)
        executor.submit({"X": np.ones((1, 2))}, second.set_result, somebody_waits)
        assert isinstance(await second, InferenceResult)
        assert isinstance(first_calls[1], RequestError)
        assert first_calls[1].status == 500

    asyncio.run(run())
    assert heard == ["a reply failed"]


def test_a_model_that_turns_out_slow_is_told_of_once() -> None:
    told: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        large = Recorder(lambda arrays: {"Z": np.sort(np.tile(arrays["X"], 400_000))})
        executor = LoopExecutor(large, 1, loop, Counters(), told.append)
        for _ in range(7):
            answer: asyncio.Future[Outcome] = loop.create_future()
            executor.submit({"X": np.random.default_rng(1).random((1, 3))}, answer.set_result, somebody_waits)
            await answer

    asyncio.run(run())
    assert len(told) == 1


def test_what_waits_for_a_client_that_went_away_is_not_run() -> None:
    began, go_on = threading.Event(), threading.Event()
    ran: list[float] = []

    def predict(arrays: Arrays) -> Arrays:
        began.set()
        assert go_on.wait(10)
        ran.extend(arrays["X"][:, 0])
        return {"Z": arrays["X"]}

    async def run() -> list[Outcome]:
        loop = asyncio.get_running_loop()
        bounds = WorkerBounds(1, 100, 60.0, 0.005, MergeLimit(8))
        executor = WorkerExecutor(predict, bounds, loop, Counters())
        answers: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in range(6)]
        gone: set[int] = set()
        for number, answer in enumerate(answers):
            inputs = {"X": np.full((1, 2), float(number))}
            executor.submit(inputs, answer.set_result, lambda number=number: number in gone)  # type: ignore[misc]  # mypy infers no lambda with a default
        await asyncio.to_thread(began.wait, 10)
        gone.update({0, 1, 3, 5})
        go_on.set()
        done = await asyncio.wait_for(asyncio.gather(*answers), 10)
        executor.close()
        return list(done)

    outcomes = asyncio.run(run())
    assert ran == [0.0, 2.0, 4.0]  # what had begun is finished
    assert [isinstance(outcome, RequestError) for outcome in outcomes] == [False, True, False, True, False, True]


def test_workers_merge_what_waits_and_keep_the_order() -> None:
    model = Recorder()
    requests = [{"X": np.full((1, 2), float(number))} for number in range(9)]
    outcomes = in_workers(model, requests, MergeLimit(4))
    assert model.runs[0] == 1  # alone, at once
    assert sum(model.runs) == 9
    assert max(model.runs) == 4
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, InferenceResult)
        assert outcome.outputs["Z"][0, 0] == 2 * number


def test_a_full_queue_refuses_with_the_time_to_come_back() -> None:
    outcomes = in_workers(Recorder(), [{"X": np.ones((1, 2))} for _ in range(8)], MergeLimit(1), max_queue=3)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RequestError)]
    assert len(refused) == 4  # one runs, three wait
    assert {(error.status, error.headers) for error in refused} == {(503, ((b"retry-after", b"1"),))}


def test_a_request_that_waited_too_long_is_not_run() -> None:
    outcomes = in_workers(Recorder(), [{"X": np.ones((1, 2))}], MergeLimit(1), timeout_s=-1.0)
    assert isinstance(outcomes[0], RequestError)
    assert outcomes[0].status == 504


def run_s(curve: dict[int, float]) -> Callable[[int], float]:
    return lambda rows: rows / curve[rows]


def settle(limit: MergeLimit, seconds_of: Callable[[int], float]) -> int:
    for _ in range(200):
        limit.observe(limit.rows, seconds_of(limit.rows))
    return limit.rows


def test_the_limit_follows_the_measured_curve() -> None:
    """Rows per second of 1, 2, 4, ... as measured of a transformer and of a convolution."""
    gains = {1: 1.0, 2: 1.31, 4: 1.46, 8: 1.54, 16: 1.53, 32: 1.43}
    losses = {1: 1.0, 2: 1.15, 4: 1.13, 8: 0.9, 16: 0.73, 32: 0.68}
    for curve, chosen in ((gains, 8), (losses, 2)):
        limit = MergeLimit(2)
        limit.seed(1, 1.0)
        limit.seed(2, 2 / curve[2])
        assert settle(limit, run_s(curve)) == chosen
    assert settle(MergeLimit(1), lambda rows: 1.0) == 1
