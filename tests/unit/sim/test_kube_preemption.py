"""Victims and node are those of the scheduler's rules; a smaller version of the rules says the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.objects import Affinity, NodeSpec, PodShape, PodTerm, Requirement, Selector, Spread
from mlfn_sim.kube.preemption import (
    Budget,
    Candidates,
    Resident,
    Victims,
    best,
    candidates,
    rejection_with_nominated,
    victims_on,
)
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reference import ReferenceEngine

APP = Selector((Requirement("app", "In", ("a",)),))


def node(name: str = "n0", cpu: int = 4000, zone: str = "z") -> NodeSpec:
    return NodeSpec(name, {"cpu": cpu, "memory": 1 << 34, "pods": 20}, {"zone": zone})


def pod(cpu: int, priority: int = 0, app: str = "") -> PodShape:
    labels = (("app", app),) if app else ()
    return PodShape(labels=labels, requests=(("cpu", cpu),) if cpu else (), assumed_cpu=cpu, priority=priority)


def cluster(nodes: list[NodeSpec], residents: dict[int, list[Resident]]) -> ReferenceEngine:
    engine = ReferenceEngine(Catalog(tuple(nodes)), Profile())
    for where, there in residents.items():
        for each in there:
            engine.place(each.shape, where)
    return engine


def search(residents: dict[int, list[Resident]], *budgets: Budget, nodes: int = 1, draw: float = 0.0) -> Candidates:
    return Candidates(range(nodes), residents, budgets, draw=draw)


def test_the_least_important_pods_end() -> None:
    there = {0: [Resident(0, pod(2000, 5), 10), Resident(1, pod(1000, 1), 10), Resident(2, pod(1000, 1), 20)]}
    found = victims_on(cluster([node()], there), pod(1000, 10), 0, search(there))
    assert found == Victims(0, (there[0][2],), 0)  # the younger of the two that are least important


def test_equals_and_betters_stay() -> None:
    there = {0: [Resident(0, pod(4000, 10), 0)]}
    assert victims_on(cluster([node()], there), pod(1000, 10), 0, search(there)) is None


def test_protected_pods_are_spared_first_and_violations_counted() -> None:
    there = {0: [Resident(0, pod(2000, 5), 0), Resident(1, pod(2000, 1, "a"), 0)]}
    budget = Budget("default", APP, 0)
    engine = cluster([node()], there)
    assert victims_on(engine, pod(2000, 10), 0, search(there, budget)) == Victims(0, (there[0][0],), 0)
    assert victims_on(engine, pod(4000, 10), 0, search(there, budget)) == Victims(0, tuple(there[0]), 1)
    allowed = replace(budget, allowed=1)
    assert victims_on(engine, pod(2000, 10), 0, search(there, allowed)) == Victims(0, (there[0][1],), 0)


def test_a_node_is_chosen_by_harm_in_order() -> None:
    high, low = Resident(0, pod(1, 5), 100), Resident(1, pod(1, 1), 100)
    early = replace(low, started_us=50)
    assert best([Victims(0, (low,), 1), Victims(1, (high,), 0)]) == (Victims(1, (high,), 0),)
    assert best([Victims(0, (high,), 0), Victims(1, (low, low), 0)]) == (Victims(1, (low, low), 0),)
    assert best([Victims(0, (low, low), 0), Victims(1, (low,), 0)]) == (Victims(1, (low,), 0),)
    assert best([Victims(0, (early,), 0), Victims(1, (low,), 0)]) == (Victims(1, (low,), 0),)
    assert len(best([Victims(0, (low,), 0), Victims(1, (low,), 0)])) == 2
    assert best([]) == ()


def test_only_nodes_that_the_end_of_pods_could_open_are_curable() -> None:
    there = {0: [Resident(0, pod(3000, 0, "a"), 0)]}
    engine = cluster([node(), node("n1", zone="y")], there)
    full = engine.rejection(pod(2000), 0)
    assert full is not None
    assert full.curable
    too_big = engine.rejection(pod(5000), 0)
    assert too_big is not None
    assert not too_big.curable
    term = PodTerm("zone", APP, frozenset(("default",)))
    away = engine.rejection(replace(pod(1), affinity=Affinity(anti_required=(term,))), 0)
    assert away is not None
    assert (away.plugin, away.curable) == ("InterPodAffinity", True)
    near = engine.rejection(replace(pod(1), affinity=Affinity(required=(term,))), 1)
    assert near is not None
    assert (near.plugin, near.curable) == ("InterPodAffinity", False)
    uneven = engine.rejection(replace(pod(1, 0, "a"), spreads=(Spread("zone", 1, True, APP),)), 0)
    assert uneven is not None
    assert (uneven.plugin, uneven.curable) == ("PodTopologySpread", True)
    keyless = engine.rejection(replace(pod(1), spreads=(Spread("rack", 1, True, APP),)), 0)
    assert keyless is not None
    assert not keyless.curable


def test_pods_that_wait_for_a_node_count_for_lesser_ones() -> None:
    engine = cluster([node()], {})
    waits = pod(3000, 5)
    assert rejection_with_nominated(engine, pod(2000, 1), 0, [waits]) is not None
    assert rejection_with_nominated(engine, pod(2000, 6), 0, [waits]) is None
    assert engine.rejection(pod(4000), 0) is None  # and the engine is as it was


def test_anti_affinity_is_cured_by_the_pod_it_is_about() -> None:
    there = {0: [Resident(0, pod(100, 0, "a"), 0), Resident(1, pod(100, 0, "b"), 0)]}
    term = PodTerm("zone", APP, frozenset(("default",)))
    wants = replace(pod(100, 9), affinity=Affinity(anti_required=(term,)))
    assert victims_on(cluster([node()], there), wants, 0, search(there)) == Victims(0, (there[0][0],), 0)


def test_the_search_ends_at_enough_candidates_and_begins_where_drawn() -> None:
    there = {i: [Resident(i, pod(4000, 1), i)] for i in range(150)}
    engine = cluster([node(f"n{i}") for i in range(150)], there)
    found = candidates(engine, pod(1000, 5), search(there, nodes=150, draw=0.9))
    assert [each.node for each in found] == [i % 150 for i in range(135, 235)]


# -- a smaller version: one resource, sets instead of an engine --

RESIDENTS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 4), st.integers(0, 3), st.sampled_from(["", "a"])), max_size=6
)


@settings(max_examples=300)
@given(
    st.lists(RESIDENTS, min_size=1, max_size=5),
    st.integers(1, 8),
    st.integers(0, 5),
    st.integers(0, 2),
    st.floats(0, 0.99),
)
def test_a_smaller_version_says_the_same(
    clusters: list[list[tuple[int, int, int, str]]], asked: int, priority: int, allowed: int, draw: float
) -> None:
    numbers = iter(range(1000))
    there = {
        i: [Resident(next(numbers), pod(cpu, level, app), started) for cpu, level, started, app in pods]
        for i, pods in enumerate(clusters)
    }
    capacity = 8
    engine = cluster([node(f"n{i}", capacity) for i in there], there)
    wants = pod(asked, priority)
    rejected = [i for i in there if engine.rejection(wants, i) is not None]
    looked = Candidates(rejected, there, (Budget("default", APP, allowed),), draw=draw)
    found = candidates(engine, wants, looked)
    expected = {i: ends for i in rejected if (ends := _small(there[i], asked, priority, allowed, capacity)) is not None}
    assert {each.node: ({p.pod for p in each.pods}, each.violations) for each in found} == expected
    assert all(engine.rejection(wants, i) is not None for i in rejected)  # the engine is as it was
    for each in found:
        ended = sum(_cpu(p) for p in each.pods)
        used = sum(map(_cpu, there[each.node]))
        assert used - ended + asked <= capacity
        # No victim is in vain.
        for fewer in combinations(each.pods, len(each.pods) - 1):
            assert used - sum(map(_cpu, fewer)) + asked > capacity


def _cpu(resident: Resident) -> int:
    return dict(resident.shape.requests)["cpu"]


def _small(pods: list[Resident], asked: int, priority: int, allowed: int, capacity: int) -> tuple[set[int], int] | None:
    stays = [p for p in pods if p.shape.priority >= priority]
    room = capacity - asked - sum(map(_cpu, stays))
    lesser = sorted((p for p in pods if p.shape.priority < priority), key=lambda p: (-p.shape.priority, p.started_us))
    if room < 0 or not lesser:
        return None
    covered = [p.pod for p in lesser if p.shape.labels]
    hurt = set(covered[max(0, allowed) :])
    ends = set()
    for p in [p for p in lesser if p.pod in hurt] + [p for p in lesser if p.pod not in hurt]:
        if _cpu(p) <= room:
            room -= _cpu(p)
        else:
            ends.add(p.pod)
    return (ends, len(ends & hurt)) if ends else None
