"""The queue keeps the scheduler's order, back-offs and flushes, and moves pods for the right events only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlfn_policies import kube_queue as rules
from mlfn_sim.kube.hints import (
    Forced,
    HappenedEvent,
    NodeAdded,
    NodeChanged,
    NodeRemoved,
    NominationGone,
    PodAdded,
    PodRemoved,
    is_worth,
)
from mlfn_sim.kube.objects import (
    Affinity,
    Effect,
    NodeSpec,
    NodeTerm,
    PodShape,
    PodTerm,
    Requirement,
    Selector,
    Spread,
    Taint,
)
from mlfn_sim.kube.queue import Place, QueuedPod, QueueSettings, SchedulingQueue

S = 1_000_000
FIT = ("NodeResourcesFit",)
GONE = PodRemoved(PodShape())
OLD = QueueSettings(pops_from_backoff=False)


def shape(priority: int = 0) -> PodShape:
    return PodShape(priority=priority)


def popped(queue: SchedulingQueue) -> QueuedPod:
    found = queue.pop()
    assert found is not None
    return found


def test_higher_priority_first_then_the_one_that_came_first() -> None:
    queue = SchedulingQueue()
    for pod, (priority, since) in enumerate([(0, 5), (10, 9), (0, 3), (10, 7), (0, 3)]):
        queue.add(pod, shape(priority), since)
    assert [popped(queue).pod for _ in range(5)] == [3, 1, 2, 4, 0]
    assert queue.pop() is None


def test_a_pod_given_back_stands_behind_those_that_came_meanwhile() -> None:
    queue = SchedulingQueue()
    first = queue.add(0, shape(), 0)
    queue.add(1, shape(), 5)
    popped(queue)
    queue.happened(GONE, 6)
    assert queue.give_back(first, FIT, 7) is Place.BACKOFF  # the event came during its own cycle
    queue.flush_backoff(2 * S)
    assert [popped(queue).pod, popped(queue).pod] == [1, 0]
    assert first.attempts == 2


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (6, 10), (99, 10)])
def test_backoff_doubles_up_to_ten_seconds(failures: int, seconds: int) -> None:
    assert rules.backoff_us(failures, S, 10 * S) == seconds * S


def test_errors_have_a_count_of_their_own() -> None:
    assert rules.expiry_us(0, 3, 0, S, 10 * S) == 4 * S
    assert rules.expiry_us(0, 3, 1, S, 10 * S) == S
    assert rules.expiry_us(0, 0, 0, S, 10 * S) == -1
    queue = SchedulingQueue(OLD)
    pod = queue.add(0, shape(), 0)
    for errors, now in ((1, 0), (2, 10 * S)):
        popped(queue)
        assert queue.give_back(pod, (), now) is Place.BACKOFF
        assert (pod.errors, pod.failures) == (errors, 0)
        queue.flush_backoff(now + 10 * S)
    popped(queue)
    queue.give_back(pod, FIT, 30 * S)
    assert (pod.errors, pod.failures, pod.ends_us) == (0, 1, 31 * S)


def test_without_pods_to_do_the_next_is_taken_out_of_its_backoff() -> None:
    queue = SchedulingQueue()
    pod = queue.add(0, shape(), 0)
    popped(queue)
    queue.happened(GONE, 0)
    assert queue.give_back(pod, FIT, 100) is Place.BACKOFF
    assert popped(queue) is pod


def test_before_133_and_after_errors_a_backoff_is_waited_for() -> None:
    for settings_, rejectors in ((OLD, FIT), (QueueSettings(), ())):
        queue = SchedulingQueue(settings_)
        pod = queue.add(0, shape(), 0)
        popped(queue)
        queue.happened(GONE, 0)
        assert queue.give_back(pod, rejectors, S + 100) is Place.BACKOFF
        assert queue.pop() is None
        assert queue.flush_backoff(2 * S) == ()
        assert queue.flush_backoff(3 * S) == (pod,)


def test_ends_are_cut_to_seconds_and_priority_orders_within_one() -> None:
    queue = SchedulingQueue()
    pods = [queue.add(i, shape(priority), 0) for i, priority in enumerate([0, 5, 9])]
    for _ in pods:
        popped(queue)
    queue.happened(GONE, 0)
    for pod, now in zip(pods, (100, S - 1, S + 1), strict=True):
        queue.give_back(pod, FIT, now)
    assert [pod.ends_us for pod in pods] == [S, S, 2 * S]
    assert [popped(queue).pod for _ in pods] == [1, 0, 2]
    # A back-off holds through the whole window in which it ends.
    assert rules.is_backing_off(S, 2 * S - 1, S)
    assert not rules.is_backing_off(S, 2 * S, S)
    assert not rules.is_backing_off(-1, 0, S)


@given(st.integers(0, 10**9))
def test_flushes_are_at_whole_seconds(now: int) -> None:
    flush = rules.next_flush_us(now, S)
    assert flush % S == 0
    assert now < flush <= now + S


def test_a_pod_unschedulable_for_more_than_five_minutes_is_tried_again() -> None:
    queue = SchedulingQueue()
    pod = queue.add(0, shape(), 0)
    popped(queue)
    assert queue.give_back(pod, FIT, 10 * S) is Place.UNSCHEDULABLE
    assert queue.flush_leftover(310 * S) == ()
    assert queue.flush_leftover(310 * S + 1) == (pod,)
    assert pod.place is Place.ACTIVE


def test_a_pod_in_its_cycle_is_tried_again_when_old_ones_were_meanwhile() -> None:
    queue = SchedulingQueue()
    old, new = queue.add(0, shape(), 0), queue.add(1, shape(), 1)
    popped(queue)
    queue.give_back(old, FIT, 0)
    popped(queue)
    assert queue.flush_leftover(301 * S) == (old,)
    assert queue.give_back(new, FIT, 301 * S) is Place.BACKOFF
    third = queue.add(2, shape(1), 301 * S)
    assert popped(queue) is third
    assert queue.flush_leftover(330 * S) == ()  # there was none
    assert queue.give_back(third, FIT, 330 * S) is Place.UNSCHEDULABLE


def test_a_node_no_longer_kept_is_told_to_pods_that_are_no_more_important() -> None:
    queue = SchedulingQueue()
    pods = [queue.add(i, shape(priority), 0) for i, priority in enumerate([3, 2, 1])]
    for pod in pods:
        popped(queue)
        queue.give_back(pod, FIT, 0)
    assert queue.happened(NominationGone(shape(2)), S, pod=9) == (pods[1], pods[2])
    own = queue.add(4, EVEN, 0)
    while popped(queue) is not own:
        pass
    queue.give_back(own, {"PodTopologySpread"}, 0)
    assert queue.happened(NominationGone(EVEN), S, pod=9) == ()
    assert queue.happened(NominationGone(EVEN), S, pod=4) == (own,)


def test_gates_keep_a_pod_out_until_they_are_gone() -> None:
    queue = SchedulingQueue()
    pod = queue.add(0, shape(), 0, gated=True)
    assert pod.place is Place.UNSCHEDULABLE
    assert queue.pop() is None
    assert queue.happened(Forced(), 1) == ()
    assert queue.ungate(pod, 5) is Place.ACTIVE
    assert popped(queue) is pod
    assert pod.attempts == 1


def test_an_event_moves_a_waiting_pod_and_a_deleted_pod_is_forgotten() -> None:
    queue = SchedulingQueue()
    pods = [queue.add(i, shape(), 0) for i in range(3)]
    for pod in pods:
        popped(queue)
        queue.give_back(pod, FIT, 0)
    queue.remove(pods[1])
    assert queue.happened(NodeRemoved(NodeSpec("n", {})), S) == ()
    assert queue.happened(GONE, 2 * S) == (pods[0], pods[2])
    assert [pods[0].place, pods[1].place] == [Place.ACTIVE, Place.GONE]
    queue.remove(pods[0])
    assert popped(queue) is pods[2]
    assert queue.pop() is None


@settings(max_examples=60)
@given(st.data())
def test_no_pod_is_lost_and_none_is_popped_twice(data: st.DataObject) -> None:
    queue = SchedulingQueue(QueueSettings(pops_from_backoff=data.draw(st.booleans())))
    now, added, flying, gone = 0, {}, {}, set()
    for step in range(data.draw(st.integers(1, 60))):
        now += data.draw(st.sampled_from([0, 1000, S, 12 * S]))
        match data.draw(st.sampled_from(["add", "pop", "back", "error", "done", "event", "flush", "left", "remove"])):
            case "add":
                added[step] = queue.add(step, shape(data.draw(st.integers(0, 2))), now)
            case "pop":
                before = {q.pod: q for q in queue.waiting() if q.place is Place.ACTIVE}
                pod = queue.pop()
                if pod is not None:
                    assert pod.pod not in flying
                    if before:
                        best = min((-q.shape.priority, q.since_us) for q in before.values())
                        assert (-pod.shape.priority, pod.since_us) == best
                    flying[pod.pod] = pod
            case "back" | "error" as how if flying:
                pod = flying.pop(data.draw(st.sampled_from(sorted(flying))))
                queue.give_back(pod, FIT if how == "back" else (), now)
            case "done" if flying:
                pod = flying.pop(data.draw(st.sampled_from(sorted(flying))))
                queue.done(pod)
                gone.add(pod.pod)
            case "event":
                queue.happened(GONE, now)
                assert not any(q.place is Place.UNSCHEDULABLE for q in queue.waiting())
            case "flush":
                queue.flush_backoff(now)
                ended = [q for q in queue.waiting() if q.place is Place.BACKOFF]
                assert all(rules.is_backing_off(q.ends_us, now, queue.settings.window_us) for q in ended)
            case "left":
                queue.flush_leftover(now)
            case "remove":
                waiting = sorted(q.pod for q in queue.waiting())
                if waiting:
                    chosen = data.draw(st.sampled_from(waiting))
                    queue.remove(added[chosen])
                    gone.add(chosen)
        held = [q.pod for q in queue.waiting()]
        assert len(held) == len(set(held))
        assert set(held) == set(added) - set(flying) - gone


# -- hints --

ROOM = {"cpu": 4000, "memory": 1 << 30, "pods": 10}
NODE = NodeSpec("n", ROOM, {"zone": "a", "disk": "ssd"})
WANTS = PodShape(requests=(("cpu", 2000),))
ON_SSD = PodShape(node_selector=(Requirement("disk", "In", ("ssd",)),))
WEB = Selector((Requirement("app", "In", ("web",)),))
WEB_POD = PodShape(labels=(("app", "web"),))
OTHER = PodShape(labels=(("app", "db"),))
EVEN = PodShape(labels=(("app", "web"),), spreads=(Spread("zone", 1, True, WEB),))
NEAR = PodShape(affinity=Affinity(required=(PodTerm("zone", WEB, frozenset(("default",))),)))
AWAY = PodShape(affinity=Affinity(anti_required=(PodTerm("zone", WEB, frozenset(("default",))),)))
TAINTED = replace(NODE, taints=(Taint("gpu", "", Effect.NO_SCHEDULE),))
PORTS = PodShape(ports=(("0.0.0.0", "TCP", 80),))


def changed(before: NodeSpec = NODE, **how: object) -> NodeChanged:
    return NodeChanged(before, replace(before, **how))  # type: ignore[arg-type]  # fields of NodeSpec


def room(**how: int) -> Mapping[str, int]:
    return {**ROOM, **how}


@pytest.mark.parametrize(
    ("plugin", "waiting", "event", "worth"),
    [
        ("NodeResourcesFit", WANTS, PodRemoved(OTHER), True),
        ("NodeResourcesFit", WANTS, PodAdded(OTHER), False),
        ("NodeResourcesFit", WANTS, NodeAdded(NODE), True),
        ("NodeResourcesFit", WANTS, NodeAdded(replace(NODE, allocatable=room(cpu=1000))), False),
        ("NodeResourcesFit", WANTS, NodeAdded(replace(NODE, allocatable=room(pods=0))), False),
        ("NodeResourcesFit", WANTS, changed(allocatable=room(cpu=8000)), True),
        ("NodeResourcesFit", WANTS, changed(allocatable=room(memory=1 << 31)), False),
        ("NodeResourcesFit", WANTS, changed(allocatable=room(pods=20)), True),
        ("NodeResourcesFit", WANTS, changed(labels={"zone": "b"}), False),
        ("NodeAffinity", ON_SSD, NodeAdded(NODE), True),
        ("NodeAffinity", ON_SSD, NodeAdded(replace(NODE, labels={})), False),
        ("NodeAffinity", ON_SSD, changed(replace(NODE, labels={}), labels={"disk": "ssd"}), True),
        ("NodeAffinity", ON_SSD, changed(labels={"disk": "ssd", "zone": "z"}), False),
        ("NodeAffinity", ON_SSD, PodRemoved(OTHER), False),
        ("TaintToleration", WANTS, changed(TAINTED, taints=()), True),
        ("TaintToleration", WANTS, NodeAdded(TAINTED), False),
        ("TaintToleration", WANTS, NodeAdded(NODE), True),
        ("TaintToleration", WANTS, changed(allocatable=room(cpu=8000)), False),
        ("NodeUnschedulable", WANTS, changed(replace(NODE, unschedulable=True), unschedulable=False), True),
        ("NodeUnschedulable", WANTS, changed(unschedulable=True), False),
        ("NodeUnschedulable", WANTS, NodeAdded(replace(NODE, unschedulable=True)), False),
        ("NodePorts", PORTS, PodRemoved(replace(OTHER, ports=(("10.0.0.1", "TCP", 80),))), True),
        ("NodePorts", PORTS, PodRemoved(replace(OTHER, ports=(("0.0.0.0", "UDP", 80),))), False),
        ("NodePorts", PORTS, NodeAdded(NODE), True),
        ("NodePorts", PORTS, NominationGone(PORTS), True),
        ("NodePorts", PORTS, NominationGone(OTHER), False),
        ("NodeName", WANTS, NodeAdded(NODE), True),
        ("NodeName", WANTS, changed(labels={}), False),
        ("NodeResourcesFit", WANTS, NominationGone(OTHER), True),
        ("PodTopologySpread", EVEN, NominationGone(EVEN), False),
        ("PodTopologySpread", EVEN, NominationGone(EVEN, own=True), True),
        ("InterPodAffinity", AWAY, NominationGone(WEB_POD), False),
        ("PodTopologySpread", EVEN, PodRemoved(WEB_POD), True),
        ("PodTopologySpread", EVEN, PodAdded(WEB_POD), True),
        ("PodTopologySpread", EVEN, PodAdded(OTHER), False),
        ("PodTopologySpread", EVEN, PodAdded(replace(WEB_POD, namespace="else")), False),
        ("PodTopologySpread", EVEN, NodeAdded(NODE), True),
        ("PodTopologySpread", EVEN, NodeRemoved(NODE), True),
        ("PodTopologySpread", EVEN, NodeAdded(replace(NODE, labels={})), False),
        ("PodTopologySpread", EVEN, changed(labels={"zone": "b"}), True),
        ("PodTopologySpread", EVEN, changed(labels={"zone": "a"}), False),
        ("PodTopologySpread", EVEN, changed(taints=TAINTED.taints), True),
        ("InterPodAffinity", NEAR, PodAdded(WEB_POD), True),
        ("InterPodAffinity", NEAR, PodAdded(OTHER), False),
        ("InterPodAffinity", NEAR, PodRemoved(WEB_POD), False),
        ("InterPodAffinity", AWAY, PodRemoved(WEB_POD), True),
        ("InterPodAffinity", AWAY, PodAdded(WEB_POD), False),
        ("InterPodAffinity", AWAY, NodeAdded(replace(NODE, labels={})), True),
        ("InterPodAffinity", NEAR, NodeAdded(replace(NODE, labels={})), False),
        ("InterPodAffinity", NEAR, changed(labels={"zone": "b"}), True),
        ("InterPodAffinity", AWAY, changed(labels={}), True),
        ("InterPodAffinity", NEAR, changed(labels={}), False),
    ],
)
def test_a_rejecting_filter_is_asked_about_the_event(
    plugin: str, waiting: PodShape, event: HappenedEvent, worth: bool
) -> None:
    assert is_worth(waiting, {plugin}, event) is worth


def test_one_filter_that_says_yes_suffices_and_an_error_is_always_tried_again() -> None:
    assert is_worth(WANTS, {"NodeAffinity", "NodeResourcesFit"}, PodRemoved(OTHER))
    assert not is_worth(WANTS, {"NodeAffinity", "TaintToleration"}, PodRemoved(OTHER))
    assert is_worth(WANTS, (), PodAdded(OTHER))


def test_a_node_that_the_profile_keeps_everybody_off_is_no_news_to_node_affinity() -> None:
    only_b = (NodeTerm((Requirement("zone", "In", ("b",)),)),)
    assert not is_worth(ON_SSD, {"NodeAffinity"}, NodeAdded(NODE), only_b)
    assert is_worth(ON_SSD, {"NodeAffinity"}, NodeAdded(replace(NODE, labels={"disk": "ssd", "zone": "b"})), only_b)
    # As the real one: that a node now suits the profile is no news to a pod whose own wishes it met before.
    assert not is_worth(ON_SSD, {"NodeAffinity"}, changed(labels={"disk": "ssd", "zone": "b"}), only_b)
