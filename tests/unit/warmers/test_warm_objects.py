"""The objects that ping, and the pinger in the foreground."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn.errors import Unreachable
from mlfn.warmers import CRON_JOB, PING_SOURCE, WARM_RUN, PingOrder, objects
from mlfn.warmers.pinger import Ping, Waiting, pings
from mlfn.warmers.schedules import with_minutes, with_seconds

DAY_S = 86400
IMAGE = "registry.example.com/team/iris@sha256:" + "0" * 64


def firings(schedule: str) -> list[int]:
    """The seconds of a day at which a schedule of these fires; only minutes and seconds are ever said."""
    fields = schedule.split()
    second, minute = (fields[0], fields[1]) if len(fields) == 6 else ("0", fields[0])
    assert fields[-3:] == ["*", "*", "*"]

    def values(field: str) -> list[int]:
        if field == "*":
            return list(range(60))
        return list(range(0, 60, int(field[2:]))) if field.startswith("*/") else [int(field)]

    return [h * 3600 + m * 60 + s for h in range(24) for m in values(minute) for s in values(second)]


def longest_pause(schedule: str) -> int:
    """The longest time between two firings, over midnight too."""
    times = firings(schedule)
    return max(after - before for before, after in zip(times, [*times[1:], times[0] + DAY_S], strict=True))


@given(period_s=st.integers(1, 59))
def test_a_schedule_of_seconds_never_pauses_longer(period_s: int) -> None:
    assert longest_pause(with_seconds(period_s)) == period_s


@given(minutes=st.integers(1, 60))
def test_a_schedule_of_minutes_never_pauses_longer(minutes: int) -> None:
    schedule = with_minutes(minutes * 60)
    assert longest_pause(schedule) == minutes * 60
    assert with_seconds(minutes * 60) == schedule
    assert len(schedule.split()) == 5


@pytest.mark.parametrize("period_s", [45, 90, 0, 3660])
def test_minutes_are_whole_and_an_hour_at_most(period_s: int) -> None:
    with pytest.raises(ValueError, match="whole minutes up to an hour"):
        with_minutes(period_s)


def test_a_ping_source_sends_to_the_warm_path() -> None:
    (made,) = objects(PingOrder("iris", 45, PING_SOURCE))
    assert (made["apiVersion"], made["kind"]) == ("sources.knative.dev/v1", "PingSource")
    assert made["spec"] == {
        "schedule": "*/45 * * * * *",
        "sink": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "iris"}, "uri": "/"},
    }


def test_a_cron_job_pings_with_the_functions_own_image_and_no_rights() -> None:
    (made,) = objects(PingOrder("iris", 60, CRON_JOB, image=IMAGE, image_pull_secret="pull"))
    spec = made["spec"]
    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("* * * * *", "Forbid")
    pod: dict[str, Any] = spec["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert container["args"] == ["ping", "http://iris.$(NAMESPACE).svc/"]
    assert container["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_a_long_name_leaves_kubernetes_its_room() -> None:
    names = {objects(PingOrder("a" * length, 60, CRON_JOB, image=IMAGE))[0]["metadata"]["name"] for length in (62, 63)}
    assert len(names) == 2
    assert all(len(name) <= 52 for name in names)


def test_a_person_is_no_object() -> None:
    assert objects(PingOrder("iris", 45, WARM_RUN)) == ()


class Days:
    """Time that passes when somebody waits, or sends slowly."""

    def __init__(self, until_s: float) -> None:
        self.now_s = 0.0
        self.until_s = until_s
        self.sent_at: list[float] = []

    def wait(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now_s += seconds
        return self.now_s >= self.until_s

    def run(self, period_s: float, fails: int = 0, takes_s: float = 0.0) -> list[Ping]:
        """Ping until the end; the first ``fails`` pings fail."""

        def send(number: int) -> None:
            self.sent_at.append(self.now_s)
            self.now_s += takes_s
            if number <= fails:
                raise Unreachable("nobody there")

        return list(pings(send, period_s, Waiting(lambda: self.now_s, self.wait)))


def test_pings_keep_their_period_however_long_they_take() -> None:
    days = Days(until_s=200)
    assert not any(ping.error for ping in days.run(45, takes_s=2))
    assert days.sent_at == [0, 45, 90, 135, 180]


def test_a_ping_that_failed_is_tried_again_with_growing_pauses() -> None:
    days = Days(until_s=60)
    outcomes = days.run(45, fails=4)
    assert [ping.error for ping in outcomes[:5]] == ["nobody there"] * 4 + [""]
    assert days.sent_at[:5] == [0, 1, 3, 7, 15]
    assert Days(until_s=1e6).run(10, fails=2000)[1999].next_s == 10
