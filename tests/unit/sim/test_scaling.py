"""The scalability experiment: its queue against theory, copies against one scheduler, conflicts, the claim."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.engine import Batch, Engine, make_engine
from mlfn_sim.kube.objects import HOSTNAME, NodeSpec, PodShape
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.ties import Draws
from mlfn_sim.scaling.constraints import CONSTRAINTS
from mlfn_sim.scaling.copies import Work, run_copies
from mlfn_sim.scaling.experiment import run_grid
from mlfn_sim.scaling.origins import CLAIM_NODES, CLAIM_PER_S, capacity_per_s
from mlfn_sim.scaling.quality import quality
from mlfn_sim.scaling.report import at_rate, write_report
from mlfn_sim.scaling.running import run_point
from mlfn_sim.scaling.values import BURST, DESIGNS, Grid, Point
from mlfn_sim.scaling.world import functions, nodes_of, sequence
from mlfn_sim.streams import Streams
from mlfn_sim.sweeps import Where

SECOND = 1_000_000


def _engine(nodes: tuple[NodeSpec, ...]) -> Engine:
    return make_engine("fast", Catalog(nodes), Profile(), Draws(1))


def test_waiting_is_that_of_a_queue_with_constant_service() -> None:
    """M/D/1: the mean wait is rho / (2 (1 - rho)) services; a mean of 3,000 waits is within 20 % with this seed."""
    cycle_us = next(each for each in DESIGNS if each.name == "default").cycle_us(1000, 0, 1.0)
    for load in (0.3, 0.6):
        point = Point(1000, 0, "default", (load / cycle_us * SECOND,), 3000, 7, 1.0)
        waited_s = run_point(point)["rates"][0]["queueing_mean_s"]
        assert waited_s == pytest.approx(load / (2 * (1 - load)) * cycle_us / SECOND, rel=0.2)


@pytest.mark.parametrize("rate", [BURST, 500.0])
def test_one_copy_is_one_scheduler(rate: float) -> None:
    streams = Streams(3)
    nodes, shapes, function = nodes_of(60, streams), functions(6), sequence(150, streams)
    gaps = streams.stream("gaps").exponential(SECOND / rate, 150) if rate else np.zeros(150)
    arrival_us = np.cumsum(gaps).astype(np.int64)
    ended = run_copies(_engine(nodes), Work(shapes, function, arrival_us, 1000, 2000), 1)
    alone = _engine(nodes).run(Batch(shapes, function.astype(np.int32)))
    assert ended.chosen.tolist() == alone.chosen.tolist()
    assert ended.conflicts == 0
    free_us = 0
    for pod in range(150):
        started_us = max(free_us, int(arrival_us[pod]))
        free_us = started_us + 1000
        assert ended.started_us[pod] == started_us
        assert ended.bound_us[pod] == free_us + (2000 if ended.chosen[pod] >= 0 else 0)


def test_two_copies_that_take_the_same_room_conflict_and_the_later_bind_is_tried_again() -> None:
    def node(name: str) -> NodeSpec:
        return NodeSpec(name, {"cpu": 1000, "memory": 1 << 30, "pods": 10}, {HOSTNAME: name})

    shape = PodShape(requests=(("cpu", 1000), ("memory", 1 << 20)), assumed_cpu=1000, assumed_memory=1 << 20)
    work = Work([shape], np.zeros(2, np.int64), np.zeros(2, np.int64), 1000, 2000)
    one = run_copies(_engine((node("a"),)), work, 2)
    assert (one.chosen.tolist(), one.conflicts) == ([0, -1], 1)
    assert one.bound_us.tolist() == [3000, 3000 + SECOND + 1000]
    # On two nodes the second search begins behind the first, or the tie is broken otherwise: then nobody conflicts.
    two = run_copies(_engine((node("a"), node("b"))), work, 2)
    assert sorted(two.chosen.tolist()) == [0, 1]
    assert two.bound_us.max() == 3000 + two.conflicts * (SECOND + 3000)


def test_constraints_bind_and_more_of_them_take_longer() -> None:
    found = [run_point(Point(100, count, "default", (), 300, 1, 1.0)) for count in (0, 10)]
    bursts = [at_rate(each, BURST) for each in found]
    assert bursts[0]["most_on_a_node"] > 1
    assert bursts[1]["most_on_a_node"] == 1  # required anti-affinity
    assert found[0]["cycle_us"] < found[1]["cycle_us"]
    assert bursts[0]["throughput_per_s"] > bursts[1]["throughput_per_s"]
    assert run_point(Point(100, 10, "default", (), 300, 1, 1.0)) == found[1]


def test_quality_by_hand() -> None:
    def node(name: str, zone: str, *, image: bool) -> NodeSpec:
        labels = {HOSTNAME: name, "topology.kubernetes.io/zone": zone}
        return NodeSpec(name, {"cpu": 4000}, labels, images={"f:1": 1} if image else {})

    nodes = (node("a", "x", image=True), node("b", "x", image=False), node("c", "y", image=False))
    shape = PodShape(requests=(("cpu", 500),), images=("f:1",))
    found = quality(nodes, [shape], np.zeros(5, np.int64), np.array([0, 1, 1, 2, -1]))
    # Zones hold 3 and 1; free are 3500, 3000 and 3500, of which 1500, 1000 and 1500 are no use; b and c pull once.
    assert found.zone_skew_percent == 50.0
    assert found.most_on_a_node == 2
    assert found.fragmentation_percent == 40.0
    assert found.image_hit_percent == 50.0


def test_the_claim_is_where_the_model_ends_with_ten_constraints() -> None:
    assert capacity_per_s("default", CLAIM_NODES, 9) > CLAIM_PER_S > capacity_per_s("default", CLAIM_NODES, 10)
    assert capacity_per_s("default", CLAIM_NODES, 0) > 60 * CLAIM_PER_S
    rates = [capacity_per_s("default", CLAIM_NODES, count) for count in range(len(CONSTRAINTS) + 1)]
    assert rates == sorted(rates, reverse=True)
    assert capacity_per_s("default", CLAIM_NODES, 0, speed=2.0) == pytest.approx(2 * rates[0])


def test_a_grid_becomes_a_document_and_a_page_that_holds_its_plots(tmp_path: Path) -> None:
    grid = Grid((100, 200), (0, 2), (10.0,), tuple(design.name for design in DESIGNS), 40)
    document = run_grid(grid, Where(tmp_path / "runs", workers=1), lambda told: None)
    assert [(each["nodes"], each["constraints"], each["design"]) for each in document["points"]] == [
        (nodes, constraints, design.name) for nodes in (100, 200) for constraints in (0, 2) for design in DESIGNS
    ]
    page = write_report(document, tmp_path)
    assert json.loads((tmp_path / "scale.json").read_text())["schema"] == "mlfn.scale/v1"
    text = page.read_text()
    assert text.count("data:image/png;base64,") == len(list(tmp_path.glob("*.png"))) == 3
    assert "two-choices" in text
    assert "http" not in text.replace("http-equiv", "")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    write_report(run_grid(grid, Where(tmp_path / "runs", workers=1), lambda told: None), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before
