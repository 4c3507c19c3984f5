"""Pings of the local service: through its router to real instances, on a clock that the test moves."""

from __future__ import annotations

import itertools
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

PERIOD_S = 45


class Clock:
    """Tell the time that the test says, and a little later each time it is asked: a ping takes time too."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._asked = itertools.count()

    def __call__(self) -> float:
        return self.now_s + next(self._asked) * 1e-4


@pytest.fixture
def seconds(in_process: Callable[..., Any]) -> Callable[[int], None]:
    """Return a function that lets so many seconds pass."""
    clock = Clock()
    service = in_process(clock=clock, beats=False)

    def let_pass(count: int) -> None:
        for _ in range(count):
            clock.now_s += 1.0
            service.beat()

    return let_pass


def sent(world: Any) -> int:
    """How many pings were answered."""
    count: int = world.platform.status("iris").warm.sent
    return count


def metric(world: Any, name: str) -> float:
    """A number of the one instance, asked through the router."""
    with urllib.request.urlopen(f"http://127.0.0.1:{world.settings['local.port']}/iris/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_pings_keep_the_instance_and_are_nobodys_requests(world: Any, seconds: Callable[[int], None]) -> None:
    world.deploy(warm=f"{PERIOD_S}s")
    (instance,) = world.platform.status("iris").instances
    seconds(1)
    for number in range(1, 13):
        world.wait_until(lambda number=number: sent(world) == number)
        seconds(PERIOD_S)
    world.wait_until(lambda: sent(world) == 13)
    status = world.platform.status("iris")
    assert [each.id for each in status.instances] == [instance.id]
    assert [(change.before, change.after) for change in status.decisions] == [(0, 1)]
    warm = status.warm
    assert (warm.sender, warm.period_s, warm.failed, warm.last_error) == ("local service", PERIOD_S, 0, "")
    assert metric(world, "mlfn_warm_pings_total") == 13
    assert metric(world, "mlfn_request_seconds_count") == 1  # the look at the metrics before
    assert metric(world, "mlfn_inferences_total") == 0


def test_without_them_it_goes_and_with_them_it_comes_back(world: Any, seconds: Callable[[int], None]) -> None:
    world.deploy(warm=f"{PERIOD_S}s")
    world.deploy(warm="off")
    assert world.platform.status("iris").warm.period_s == 0
    seconds(70)
    world.wait_until(lambda: world.platform.status("iris").instances == ())
    world.deploy(warm=f"{PERIOD_S}s", min_scale=0)
    seconds(70)
    world.wait_until(lambda: len(world.platform.status("iris").instances) == 1)


def test_a_minimum_is_not_pinged(world: Any, seconds: Callable[[int], None]) -> None:
    world.deploy(warm=f"{PERIOD_S}s", min_scale=1)
    seconds(100)
    warm = world.platform.status("iris").warm
    assert (warm.always, warm.period_s) == (1, 0)


def test_a_ping_to_nothing_waits_for_a_start(world: Any, seconds: Callable[[int], None]) -> None:
    world.deploy(warm="10s", window_s=20)
    for pid in world.instance_pids():
        world.kill_instance(pid)
    seconds(1)
    world.wait_until(lambda: sent(world) >= 1)
    assert world.platform.status("iris").warm.failed == 0
    assert len(world.instance_pids()) == 1
