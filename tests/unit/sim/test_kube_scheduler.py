"""Scheduling in simulated time: cycles, bindings, retries, preemption, nodes that come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlfn_policies.token_bucket import Bucket, take
from mlfn_sim.kernel import Kernel
from mlfn_sim.kube.calls import Api, ApiSettings
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.journal import NEVER
from mlfn_sim.kube.live import LiveCluster
from mlfn_sim.kube.objects import Effect, NodeSpec, PodShape, Requirement, Selector, Spread, Taint
from mlfn_sim.kube.preemption import Resident
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.queue import QueueSettings
from mlfn_sim.kube.reference import ReferenceEngine
from mlfn_sim.kube.scheduler import Call, KubeScheduler, SchedulerSettings
from mlfn_sim.streams import Streams

S = 1_000_000
MS = 1_000


def node(name: str, cpu: int = 1000, zone: str = "a", **more: Any) -> NodeSpec:
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}
    return NodeSpec(name, {"cpu": cpu, "memory": 1 << 34, "pods": 110}, labels, **more)


def pod(cpu: int, priority: int = 0) -> PodShape:
    return PodShape(requests=(("cpu", cpu),), assumed_cpu=cpu, assumed_memory=1 << 27, priority=priority)


class World:
    """Hold a simulated scheduler with its clock."""

    def __init__(self, nodes: Sequence[NodeSpec], seed: int = 0, **how: Any) -> None:
        streams = Streams(seed)
        ties = streams.stream("ties")

        def make(there: tuple[NodeSpec, ...]) -> ReferenceEngine:
            return ReferenceEngine(Catalog(there), Profile(), lambda found: found[int(ties.random() * len(found))])

        how = {"cycle_us": lambda cycle: MS, "api": ApiSettings(latency_us=2 * MS), **how}
        self.kernel = Kernel()
        self.scheduler = KubeScheduler(self.kernel, LiveCluster(nodes, make), streams, SchedulerSettings(**how))

    def at(self, time_us: int, action: Any) -> World:
        self.kernel.at(time_us, action)
        return self

    def arrive(self, time_us: int, *shapes: PodShape) -> World:
        for shape in shapes:
            self.kernel.at(time_us, lambda shape=shape: self.scheduler.arrive(shape))  # type: ignore[misc]  # bound
        return self

    def run(self, until_us: int = 60 * S) -> Any:
        self.kernel.run(until_us)
        return self.scheduler.outcome()


def test_cycles_are_one_after_another_and_bindings_beside_them() -> None:
    found = World([node("n0")]).arrive(0, pod(100), pod(100)).run()
    assert found.popped_us.tolist() == [0, MS]
    assert found.assumed_us.tolist() == [MS, 2 * MS]
    assert found.bound_us.tolist() == [3 * MS, 4 * MS]
    assert found.node.tolist() == [0, 0]
    assert found.attempts.tolist() == [1, 1]


def test_an_assumed_pod_holds_its_node_before_it_is_bound() -> None:
    found = World([node("n0"), node("n1")], api=ApiSettings(latency_us=5 * S)).arrive(0, pod(600), pod(600)).run()
    assert sorted(found.node.tolist()) == [0, 1]


def test_the_client_limit_spaces_bindings() -> None:
    limit = ApiSettings(latency_us=0, per_second=10, burst=2)
    found = World([node("n0", 9000)], cycle_us=lambda cycle: 0, api=limit).arrive(0, *[pod(100)] * 5).run()
    assert found.bound_us.tolist() == [0, 0, 100 * MS, 200 * MS, 300 * MS]


@given(st.lists(st.integers(0, 3 * S), min_size=1, max_size=60), st.floats(0.5, 50), st.integers(1, 5))
def test_a_bucket_never_lets_through_more_than_burst_and_rate(gaps: list[int], rate: float, burst: int) -> None:
    bucket, now, let = Bucket(float(burst), 0), 0, []
    for gap in gaps:
        now += gap
        wait, bucket = take(bucket, now, rate, burst)
        assert wait >= 0
        let.append(now + wait)
    for i, first in enumerate(let):
        for j in range(i, len(let)):
            assert j - i + 1 <= burst + rate * (let[j] - first + 2) / 1e6 + 1e-6
    assert let == sorted(let)


def test_a_pod_that_fits_nowhere_waits_for_an_event_and_for_its_backoff() -> None:
    world = World([node("n0")]).arrive(0, pod(800)).arrive(1 * S, pod(800))
    # Rejected first at 1.001 s, for a second: cut to 2 s, and holds through that window.
    world.at(1500 * MS, lambda: world.scheduler.delete(0))
    found = world.run()
    assert found.ended_us.tolist() == [1500 * MS, NEVER]
    assert found.popped_us.tolist() == [0, 1 * S]
    assert found.cycle_us.tolist() == [0, 1 * S, 1500 * MS]  # nothing else to do: taken out of its back-off
    assert found.bound_us[1] == 1503 * MS


def test_before_133_the_backoff_is_waited_for() -> None:
    world = World([node("n0")], queue=QueueSettings(pops_from_backoff=False)).arrive(0, pod(800)).arrive(S, pod(800))
    world.at(1500 * MS, lambda: world.scheduler.delete(0))
    assert world.run().cycle_us.tolist() == [0, S, 3 * S]


def test_an_event_that_cannot_help_moves_nothing_and_a_long_wait_does() -> None:
    world = World([node("n0")]).arrive(0, pod(2000))
    world.at(S, lambda: world.scheduler.add_node(node("n1")))
    found = world.run(400 * S)
    assert found.cycle_us.tolist() == [0, 330 * S]
    world.at(500 * S, lambda: world.scheduler.add_node(node("n2", 4000)))
    found = world.run(600 * S)
    assert found.cycle_us.tolist() == [0, 330 * S, 500 * S]
    assert found.nodes[found.node[0]] == "n2"


def test_an_event_during_a_pods_own_cycle_counts() -> None:
    world = World([node("n0")], cycle_us=lambda cycle: S).arrive(0, pod(2000))
    world.at(S // 2, lambda: world.scheduler.add_node(node("n1", 4000)))
    found = world.run()
    assert found.cycle_us.tolist()[:1] == [0]
    assert found.nodes[found.node[0]] == "n1"


def test_a_refused_binding_frees_the_node_and_is_tried_again_after_a_backoff() -> None:
    world = World([node("n0")], api=ApiSettings(latency_us=MS, failure_rate=0.6), seed=5).arrive(0, pod(800))
    found = world.run()
    gaps = np.diff(found.cycle_us).tolist()
    assert len(gaps) >= 1
    # Errors back off for 1, 2, 4 ... s, cut to whole seconds and flushed a second later.
    assert gaps == [2 * S, 3 * S, 5 * S, 9 * S, 11 * S][: len(gaps)]
    assert found.bound_us[0] == found.cycle_us[-1] + 2 * MS


def test_gates_and_deletion_while_waiting() -> None:
    world = World([node("n0")])
    world.at(0, lambda: world.scheduler.arrive(pod(100), gated=True))
    world.at(0, lambda: world.scheduler.arrive(pod(5000)))
    world.at(S, lambda: world.scheduler.delete(1))
    world.at(2 * S, lambda: world.scheduler.ungate(0))
    found = world.run()
    assert found.popped_us.tolist() == [2 * S, 0]
    assert found.ended_us.tolist() == [NEVER, S]


def test_an_important_pod_ends_others_and_gets_their_node() -> None:
    world = World([node("n0"), node("n1")], grace_us=3 * S).arrive(0, pod(900, 5), pod(900, 1))
    world.arrive(S, pod(500, 10)).arrive(2 * S, pod(500, 2))
    found = world.run()
    assert found.preempted_by.tolist() == [NEVER, 2, NEVER, NEVER]
    assert found.node[2] == found.node[1]
    assert found.cycle_nominated[found.cycle_pod == 2].tolist()[0] == found.node[1]
    # The victim ends after two calls of 2 ms and its 3 s; the place stays kept from the less important one.
    assert found.ended_us[1] == S + MS + 4 * MS + 3 * S
    assert found.cycle_us[found.cycle_pod == 2].tolist() == [S, found.ended_us[1]]
    assert found.node[3] == found.node[1]
    assert found.bound_us[2] > found.ended_us[1]


def test_what_is_kept_for_one_pod_is_not_given_to_a_lesser_one() -> None:
    world = World([node("n0")], grace_us=5 * S).arrive(0, pod(300, 1)).arrive(S, pod(900, 10))
    world.arrive(2 * S, pod(500, 0))  # there is room, but the other waits for it
    found = world.run()
    assert found.ended_us[0] > 6 * S
    assert found.node.tolist()[1:] == [0, NEVER]
    assert found.popped_us[2] == 2 * S


def test_what_was_kept_for_a_pod_that_goes_is_tried_for_by_the_lesser_ones_at_once() -> None:
    world = World([node("n0")], grace_us=30 * S).arrive(0, pod(300, 1)).arrive(S, pod(900, 10))
    world.arrive(2 * S, pod(500, 0)).arrive(2 * S, pod(500, 11))
    # The more important one ignores what is kept for the other, and takes the room; the other then preempts in vain.
    found = world.at(5 * S, lambda: world.scheduler.delete(1)).run(20 * S)
    assert found.assumed_us[3] == 2 * S + MS
    assert found.node[2] == NEVER
    world = World([node("n0")], grace_us=30 * S).arrive(0, pod(300, 1)).arrive(S, pod(900, 10))
    found = world.arrive(2 * S, pod(500, 0)).at(5 * S, lambda: world.scheduler.delete(1)).run(20 * S)
    assert found.cycle_us[found.cycle_pod == 2].tolist() == [2 * S, 5 * S]
    assert found.node[2] == 0


def test_calls_take_what_they_are_said_to_take() -> None:
    asked = []

    def calls(call: Call, number: int) -> int:
        asked.append((call, number))
        return {Call.BIND: 7 * MS, Call.STATUS: 5 * MS, Call.EVICT: 3 * MS}[call]

    world = World([node("n0")], calls=calls, grace_us=lambda number: S + number)
    found = world.arrive(0, pod(900, 1)).arrive(S, pod(900, 2)).run()
    assert found.bound_us[0] == MS + 7 * MS
    assert found.ended_us[0] == S + MS + 3 * MS + S
    assert asked == [(Call.BIND, 0), (Call.EVICT, 1), (Call.STATUS, 1), (Call.BIND, 1)]


def test_pods_that_never_preempt_do_not() -> None:
    world = World([node("n0")]).arrive(0, pod(900)).arrive(S, replace(pod(900, 10), preempts=False))
    assert world.run().preempted_by.tolist() == [NEVER, NEVER]


def test_nodes_go_with_their_pods_and_change_for_those_that_wait() -> None:
    tainted = node("n1", taints=(Taint("gpu", "", Effect.NO_SCHEDULE),))
    world = World([node("n0"), tainted]).arrive(0, pod(900))
    world.arrive(S, pod(900))
    world.at(10 * S, lambda: world.scheduler.change_node(node("n1")))
    world.at(20 * S, lambda: world.scheduler.remove_node("n0"))
    found = world.run(30 * S)
    assert [found.nodes[i] for i in found.node] == ["n0", "n1"]
    assert found.ended_us.tolist() == [20 * S, NEVER]
    assert found.cycle_us.tolist() == [0, S, 10 * S]


def test_a_cluster_without_nodes_is_an_error_to_the_scheduler() -> None:
    world = World([]).arrive(0, pod(100))
    world.at(10 * S, lambda: world.scheduler.add_node(node("n0")))
    found = world.run()
    assert found.attempts[0] > 3
    assert found.node[0] == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.data())
def test_nobody_is_lost_nodes_are_never_overfull_and_runs_are_equal(seed: int, data: st.DataObject) -> None:
    arrivals = data.draw(
        st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=25)
    )
    churn = data.draw(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 24)), max_size=8))
    failing = data.draw(st.sampled_from([0.0, 0.3]))

    def play() -> Any:
        world = World(
            [node(f"n{i}", zone="ab"[i % 2]) for i in range(4)],
            seed,
            api=ApiSettings(2 * MS, 0.5, failing, 20, 5),
            grace_us=S,
        )
        for time, size, priority in arrivals:
            world.arrive(time * S // 2, pod(size * 100, priority))
        for time, which in churn:
            if which < len(arrivals):
                world.at(12 * S + time, lambda which=which: world.scheduler.delete(which))
        world.at(5 * S, lambda: world.scheduler.remove_node("n1"))
        world.at(8 * S, lambda: world.scheduler.add_node(node("n9", 2000)))
        return world.run(200 * S), world

    one, world = play()
    other, _ = play()
    assert one.decision_hash == other.decision_hash
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("bound_us", "ended_us", "node"))
    there = {name: world.scheduler.cluster.residents(name) for name in one.nodes}
    for spec in world.scheduler.cluster.nodes:
        assert sum(dict(each.shape.requests)["cpu"] for each in there[spec.name]) <= spec.allocatable["cpu"]
    held = [each.pod for pods in there.values() for each in pods]
    waiting = [each.pod for each in world.scheduler.queue.waiting()]
    ended = np.flatnonzero(one.ended_us != NEVER).tolist()
    assert sorted([*held, *waiting, *ended]) == list(range(len(arrivals)))


def test_another_stream_does_not_change_the_arrivals_latencies() -> None:
    drawn = []
    for more in (False, True):
        streams = Streams(5)
        if more:
            streams.stream("a policy of one's own").random(100)
        api = Api(ApiSettings(spread=0.5), streams)
        drawn.append([api.call_us(0) for _ in range(5)])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 5


@pytest.mark.parametrize("how", [{"failure_rate": 1.0}, {"latency_us": -1}, {"burst": 0}, {"per_second": -1.0}])
def test_impossible_servers_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"failure_rate|0 or more"):
        ApiSettings(**how)


def test_new_nodes_are_last_and_zones_take_turns() -> None:
    def make(there: tuple[NodeSpec, ...]) -> ReferenceEngine:
        return ReferenceEngine(Catalog(there), Profile())

    def walk() -> str:
        return " ".join(cluster.nodes[i].name for i in cluster.engine.catalog.order)

    cluster = LiveCluster([node("a1"), node("a2"), node("b1", zone="b")], make)
    assert walk() == "a1 b1 a2"
    steps: list[tuple[Callable[[], object], str]] = [
        (lambda: cluster.add(node("b2", zone="b")), "a1 b1 a2 b2"),
        (lambda: cluster.drop("a1"), "a2 b1 b2"),
        (lambda: cluster.change(node("a2", 5000)), "a2 b1 b2"),
        (lambda: cluster.change(node("b1", zone="c")), "a2 b2 b1"),
        (lambda: cluster.drop("a2"), "b2 b1"),
        (lambda: cluster.add(node("a3")), "b2 b1 a3"),
    ]
    for change, then in steps:
        change()
        assert walk() == then
    with pytest.raises(ValueError, match="'b2' is there already"):
        cluster.add(node("b2"))
    with pytest.raises(ValueError, match="no node 'a1'"):
        cluster.drop("a1")


def test_a_pod_that_ends_holds_its_room_and_is_not_spread_over() -> None:
    app = Selector((Requirement("app", "In", ("x",)),))
    labelled = replace(pod(300), labels=(("app", "x"),))
    spread = replace(labelled, spreads=(Spread("topology.kubernetes.io/zone", 1, True, app),))
    cluster = LiveCluster(
        [node("a1", 500), node("b1", zone="b")], lambda there: ReferenceEngine(Catalog(there), Profile())
    )
    small = replace(spread, requests=())
    cluster.place(Resident(0, labelled, 0), "a1")
    place = cluster.index("a1")
    assert place is not None

    def filters() -> list[str]:
        return [why.plugin if (why := cluster.engine.rejection(each, place)) else "" for each in (small, spread)]

    assert filters() == ["PodTopologySpread", "NodeResourcesFit"]
    for _ in range(2):  # told twice, it ends once
        cluster.note(replace(cluster.resident(0, "a1"), terminating=True), "a1")
        assert filters() == ["", "NodeResourcesFit"]
    assert cluster.remove(0, "a1") is not None
    assert filters() == ["", ""]
