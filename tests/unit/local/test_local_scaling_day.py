"""One revision's scale over simulated time, by the same object that the service uses."""

from __future__ import annotations

import pytest

from mlfn_local.records import FunctionSettings
from mlfn_local.scaling import RevisionScaler


class Life:
    """Let seconds pass: instances follow the scale at once, requests last as long as the test says."""

    def __init__(self, *, resumed: bool = False, **settings: object) -> None:
        self.now_s = 1_000.0
        made = FunctionSettings(**settings)  # type: ignore[arg-type]  # the test names fields
        self.scaler = RevisionScaler(made, cores=4, now_s=self.now_s, resumed=resumed)
        self.ready = 0 if resumed else 1
        self.cold = 0

    def seconds(self, count: int, load: int = 0) -> None:
        """Let time pass with so many requests in flight all the while."""
        if load and not self.ready:
            self.cold += 1
            self.ready = max(1, self.scaler.first_request(self.now_s).desired)
        self.scaler.meter.change(self.now_s, load)
        for _ in range(count):
            self.now_s += 1.0
            self.scaler.report(self.now_s, self.ready)
            if self.now_s % 2 == 0:
                self.ready = self.scaler.decide(self.now_s, self.ready).desired
        self.scaler.meter.change(self.now_s, -load)


@pytest.mark.parametrize("window_s", [6, 30, 60, 300])
def test_it_falls_to_zero_soon_after_its_window(window_s: int) -> None:
    life = Life(window_s=window_s)
    life.seconds(4, load=1)
    life.seconds(window_s - 2)
    assert life.ready == 1
    life.seconds(14)
    assert life.ready == 0


def test_a_restarted_service_begins_at_the_minimum() -> None:
    assert Life(resumed=True).scaler.scale.desired == 0
    assert Life(resumed=True, min_scale=2).scaler.scale.desired == 2


def test_the_bounds_hold() -> None:
    life = Life(concurrency=1, target=1.0, min_scale=1, max_scale=3)
    life.seconds(30, load=50)
    assert life.ready == 3
    life.seconds(300)
    assert life.ready == 1


def test_the_cores_bound_what_has_no_bound() -> None:
    life = Life(concurrency=1, target=1.0)
    life.seconds(30, load=50)
    assert life.ready == 4


@pytest.mark.parametrize(("period", "cold"), [(45, 0), (300, 12)])
def test_sparse_traffic_meets_a_warm_instance_as_often_as_its_window_says(period: int, cold: int) -> None:
    life = Life()
    for _ in range(12):
        life.seconds(period - 1)
        life.seconds(1, load=1)
    assert life.cold == cold
