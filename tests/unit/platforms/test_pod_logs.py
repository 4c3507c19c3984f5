"""Logs of the instances of a function, over a door in memory: every pod, those that come later, those that cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlfn.errors import Conflict, NotAuthorised
from mlfn.function import LogLine
from mlfn.platforms.kube.door import LogQuery, Selection, Sight
from mlfn.platforms.kube.kinds import Kind, Object
from mlfn.platforms.kube.pod_logs import function_logs


def pod(name: str, second: int, state: str = "running", restarts: int = 0) -> Object:
    """Return a pod that started at a second."""
    status = {"name": "function", "state": {state: {}}, "restartCount": restarts}
    metadata = {"name": name, "creationTimestamp": f"2026-11-01T12:00:{second:02d}Z"}
    return {"kind": "Pod", "metadata": metadata, "status": {"containerStatuses": [status]}}


class Door:
    """Show pods, a step for each sight, and what they wrote."""

    def __init__(self, *steps: list[Object], refuse: Exception | None = None) -> None:
        self.steps = steps
        self.refuse = refuse
        self.asked: list[LogQuery] = []

    def list(self, kind: Kind, labels: str = "") -> tuple[Object, ...]:
        """Return the pods of the first step."""
        return tuple(self.steps[0])

    def watch(self, *selections: Selection, timeout_s: float) -> Iterator[Sight]:
        """Yield the steps."""
        for number, pods in enumerate(self.steps):
            yield Sight(tuple(pods), now=0.0, after_s=float(number))

    def logs(self, query: LogQuery) -> Iterator[str]:
        """Yield the last of three lines."""
        self.asked.append(query)
        if "creating" in query.pod:
            raise Conflict("the container has not started")
        if self.refuse:
            raise self.refuse
        lines = [f"{query.pod} {number}" for number in range(3)]
        return iter(lines if query.tail < 0 else lines[len(lines) - query.tail :])


def read(door: Any, *, follow: bool = False, tail: int = -1) -> Iterator[LogLine]:
    """Read the logs of a function."""
    return function_logs(door, "app=iris", follow=follow, tail=tail)


def test_each_pod_gives_its_last_lines_the_oldest_first() -> None:
    door = Door([pod("b", 1), pod("a", 2), pod("creating", 3, "waiting")])
    lines = list(read(door, tail=2))
    assert lines == [LogLine("b", "b 1"), LogLine("b", "b 2"), LogLine("a", "a 1"), LogLine("a", "a 2")]


def test_no_lines_are_asked_of_nobody() -> None:
    assert list(read(Door([]))) == []
    assert list(read(Door([pod("a", 1)]), tail=0)) == []


def test_following_takes_pods_that_come_later_from_their_beginning() -> None:
    first, later = pod("first", 1), pod("later", 2)
    lines = read(Door([first], [first, pod("later", 2, "waiting")], [first, later]), follow=True, tail=1)
    found = {next(lines).text for _ in range(4)}
    assert found == {"first 2", "later 0", "later 1", "later 2"}


def test_a_container_that_starts_again_is_followed_again() -> None:
    door = Door([pod("a", 1)], [pod("a", 1, restarts=1)])
    lines = read(door, follow=True, tail=1)
    assert sorted(next(lines).text for _ in range(4)) == ["a 0", "a 1", "a 2", "a 2"]


def test_a_right_that_is_missing_is_told() -> None:
    with pytest.raises(NotAuthorised):
        next(read(Door([pod("a", 1)], refuse=NotAuthorised("pods/log")), follow=True))
