"""A model that takes its time: the queue, the deadline, health meanwhile, and the end."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
BODY = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}


@pytest.fixture(scope="module")
def slow_model(house: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that takes some tenths of a second, whatever it is given."""
    return multiplying(house, tmp_path_factory.mktemp("slow"), times=40)


def multiplying(house: Any, folder: Path, times: int) -> str:
    """Write a model that multiplies matrices again and again."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["a", "a"], ["b"]),
            helper.make_node("Tanh", ["b"], ["c"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("go", BOOL, []),
            helper.make_tensor_value_info("a", FLOAT, [600, 600]),
        ],
        [helper.make_tensor_value_info("on", BOOL, []), helper.make_tensor_value_info("c", FLOAT, [600, 600])],
    )
    nodes = [
        helper.make_node("Constant", [], ["times"], value_int=times),
        helper.make_node("Constant", [], ["shape"], value_ints=[600, 600]),
        helper.make_node("Expand", ["X", "shape"], ["start"]),
        helper.make_node("Loop", ["times", "", "start"], ["end"], body=body),
        helper.make_node("ReduceMean", ["end"], ["Y"], keepdims=1),
    ]
    return str(house.save_model(folder / "slow.onnx", nodes, [("X", FLOAT, [1, 1])], [("Y", FLOAT, [1, 1])]))


@pytest.fixture
def slow(house: Any, slow_model: str, tmp_path: Path) -> Iterator[Any]:
    with house.serving(slow_model, tmp_path / "log", max_queue=1, threads=1) as server:
        yield server


def infer(house: Any) -> bytes:
    return bytes(house.request("/v2/models/slow/infer", json.dumps(BODY).encode()))


def test_it_runs_in_a_worker_and_health_is_answered_meanwhile(house: Any, slow: Any) -> None:
    assert slow.facts["execution"]["mode"] == "workers"
    asking, health = slow.connect(), slow.connect()
    asking.send(infer(house))
    for _ in range(20):
        live = health.ask(house.request("/v2/health/live", method="GET"))
        assert live.status == 200
    assert asking.read().status == 200
    slow.settle()
    (line,) = [line for line in slow.log_lines() if line.get("model") == "slow" and "status" in line]
    healthy = [line["ms"] for line in slow.log_lines() if line.get("path") == "/v2/health/live"]
    assert max(healthy) < line["ms"]


def test_a_full_queue_is_503_with_the_time_to_come_back(house: Any, slow: Any) -> None:
    clients = [slow.connect() for _ in range(3)]
    for client in clients:
        client.send(infer(house))
    answers = [client.read() for client in clients]
    assert sorted(answer.status for answer in answers) == [200, 200, 503]
    (refused,) = [answer for answer in answers if answer.status == 503]
    assert int(refused.headers["retry-after"]) >= 1
    assert "queue is full" in refused.json["error"]


def test_pipelined_behind_a_slow_answer_waits_its_turn(house: Any, slow: Any) -> None:
    client = slow.connect()
    client.send(infer(house) + house.request("/v2/health/live", method="GET"))
    assert "outputs" in client.read().json
    assert client.read().json == {"live": True}


def test_slow_answers_are_due_before_a_refusal(house: Any, tmp_path: Path) -> None:
    """However long they take: a client that sends garbage behind its requests still gets what it asked for."""
    # So slow that few requests outlast the patience, on a machine twice as fast too.
    with house.serving(multiplying(house, tmp_path, times=100), tmp_path / "log", threads=1) as server:
        client = server.connect()
        asked = int(3000 / server.facts["execution"]["run_ms"]) + 1  # longer than a refused client may linger
        assert asked < 32, "more than are read ahead"
        client.send(infer(house) * asked + b"no http\r\n\r\n")
        for _ in range(asked):
            assert client.read().status == 200
        assert client.read().status == 400
        assert client.at_end()


def test_an_answer_that_takes_too_long_is_504(house: Any, slow_model: str, tmp_path: Path) -> None:
    with house.serving(slow_model, tmp_path / "log", request_timeout_s=0.01) as server:
        clients = [server.connect() for _ in range(4)]
        for client in clients:
            client.send(infer(house))
        assert 504 in {client.read().status for client in clients}
        assert server.get("/v2/health/ready").status == 200


def test_sigterm_lets_a_run_finish(house: Any, slow: Any) -> None:
    client = slow.connect()
    client.send(infer(house))
    assert slow.get("/v2/models/slow/stats").json["in_flight"] == 2
    slow.process.send_signal(signal.SIGTERM)
    assert client.read().status == 200
    assert slow.process.wait(20) == 0


def test_sigterm_answers_all_that_was_pipelined(house: Any, slow_model: str, tmp_path: Path) -> None:
    with house.serving(slow_model, tmp_path / "log", threads=1) as server:
        client = server.connect()
        client.send(infer(house) * 3)
        while server.get("/v2/models/slow/stats").json["in_flight"] < 4:
            assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        answers = [client.read() for _ in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        assert answers[-1].headers["connection"] == "close"
        assert server.process.wait(20) == 0


def test_what_is_dropped_behind_a_refusal_is_no_longer_in_flight(house: Any, slow_model: str, tmp_path: Path) -> None:
    with house.serving(slow_model, tmp_path / "log", threads=1) as server:
        client = server.connect()
        two_hosts = house.request("/v2/health/live", headers="Host: y\r\n", method="GET")
        client.send(infer(house) + two_hosts + infer(house))
        assert [client.read().status for _ in range(2)] == [200, 400]
        assert client.at_end()
        assert server.post(BODY).status == 200  # runs behind the one that was dropped
        assert server.get("/v2/models/slow/stats").json["in_flight"] == 1


def test_no_run_outlives_the_grace(house: Any, slow_model: str, tmp_path: Path) -> None:
    with house.serving(slow_model, tmp_path / "log", drain_s=0.01) as server:
        client = server.connect()
        client.send(infer(house))
        assert server.get("/v2/health/live").status == 200
        server.process.send_signal(signal.SIGTERM)
        assert client.at_end()
        assert server.process.wait(20) == 0
        assert server.log_lines()[-1]["finished"] is False
