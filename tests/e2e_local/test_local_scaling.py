"""Scale from zero and back by the policies, through real instances, on a clock that the test moves."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

IRIS_BODY = b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'


class Clock:
    """Tell the time that the test says."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seconds(in_process: Callable[..., Any], clock: Clock) -> Callable[[int], None]:
    """Return a function that lets so many seconds pass."""
    service = in_process(clock=clock, beats=False)

    def let_pass(count: int) -> None:
        for _ in range(count):
            clock.now_s += 1.0
            service.beat()

    return let_pass


def states(world: Any, name: str = "iris") -> list[str]:
    return [instance.state for instance in world.platform.status(name).instances]


@contextlib.contextmanager
def under_way(world: Any) -> Iterator[Callable[[], bytes]]:
    """Have a request in flight: its last byte is sent at the end, when its answer can be had."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", int(world.settings["local.port"])), 10) as link:
        head = b"POST /iris/v2/models/iris/infer HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        link.sendall(head % len(IRIS_BODY) + IRIS_BODY[:-1])
        world.wait_until(lambda: any(i.in_flight for i in world.platform.status("iris").instances))
        yield lambda: bytes(received)
        link.sendall(IRIS_BODY[-1:])
        while data := link.recv(65536):
            received.extend(data)
    assert received.startswith(b"HTTP/1.1 200 ")


def test_a_function_goes_to_zero_after_its_window_and_comes_back_for_a_request(
    world: Any, seconds: Callable[[int], None]
) -> None:
    world.deploy()
    seconds(55)
    assert states(world) == ["ready"]
    seconds(15)
    world.wait_until(lambda: states(world) == [])
    answer = world.ask()
    assert answer.status == 200
    assert 0 < float(answer.headers["mlfn-held-seconds"]) < 5
    assert states(world) == ["ready"]
    seconds(70)
    world.wait_until(lambda: states(world) == [])
    changes = [(d.before, d.after) for d in world.platform.status("iris").decisions]
    assert changes == [(0, 1), (1, 0), (0, 1), (1, 0)]
    assert "no traffic for 60 s" in world.platform.status("iris").decisions[1].reason


def test_requests_keep_it_awake(world: Any, seconds: Callable[[int], None]) -> None:
    world.deploy(window_s=6)
    (before,) = world.platform.status("iris").instances
    for _ in range(10):
        seconds(3)
        with under_way(world) as answer:
            seconds(1)
        assert b"mlfn-held-seconds" not in answer()
    assert world.platform.status("iris").instances[0].id == before.id
    seconds(16)
    world.wait_until(lambda: states(world) == [])


def test_the_minimum_always_runs_and_load_scales_up_to_the_maximum(world: Any, seconds: Callable[[int], None]) -> None:
    world.deploy("iris", min_scale=2, max_scale=3, concurrency=1, target=1.0)
    seconds(4)
    world.wait_until(lambda: states(world) == ["ready"] * 2)
    seconds(200)
    assert states(world) == ["ready"] * 2
    with contextlib.ExitStack() as requests:
        for _ in range(3):
            requests.enter_context(under_way(world))
        seconds(10)
        world.wait_until(lambda: states(world) == ["ready"] * 3)
        seconds(20)
        assert len(states(world)) == 3
    seconds(80)
    world.wait_until(lambda: states(world) == ["ready"] * 2)
    reasons = [d.reason for d in world.platform.status("iris").decisions]
    assert any("max-scale 3" in reason for reason in reasons)


def test_without_a_maximum_the_cores_are_the_maximum(world: Any, seconds: Callable[[int], None]) -> None:
    from mlfn_runtime.limits import cores_here

    world.deploy("iris", concurrency=1, target=0.01)
    with under_way(world):
        seconds(4)
        world.wait_until(lambda: states(world) == ["ready"] * cores_here())
        seconds(10)
        assert len(states(world)) == cores_here()


def test_many_requests_at_zero_are_all_answered(world: Any, seconds: Callable[[int], None]) -> None:
    world.deploy()
    seconds(70)
    world.wait_until(lambda: states(world) == [])
    with ThreadPoolExecutor(20) as clients:
        statuses = list(clients.map(lambda _: world.ask().status, range(60)))
    assert statuses == [200] * 60
    assert len(states(world)) == 1
