"""Both engines take the same decisions on random clusters with every feature on: nodes, ties, starts, hashes."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from mlfn_sim.kube.catalog import ZONE, Catalog
from mlfn_sim.kube.decisions import Rejection
from mlfn_sim.kube.engine import ENGINES, Batch, Engine, make_engine
from mlfn_sim.kube.hashing import decision_hash
from mlfn_sim.kube.objects import (
    HOSTNAME,
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
    Toleration,
)
from mlfn_sim.kube.preemption import Candidates, Resident, candidates
from mlfn_sim.kube.profile import SCORES, Profile, Strategy
from mlfn_sim.kube.ties import Draws

APPS, KINDS, HOMES, MIB = ("a", "b", "c"), ("k0", "k1"), ("default", "other"), 1 << 20
STRATEGIES = (
    Strategy(),
    Strategy(),
    Strategy("LeastAllocated", (("cpu", 2), ("memory", 1), ("gpu", 3), ("ephemeral-storage", 1))),
    Strategy("MostAllocated"),
    Strategy("RequestedToCapacityRatio", (("cpu", 3), ("gpu", 1)), (0, 50, 100), (0, 100, 30)),
)
BALANCED = (("cpu", "memory"), ("cpu", "memory"), ("cpu", "memory", "gpu"), ("cpu", "ephemeral-storage"))
CASES = 1000
CASES_PER_EXAMPLE = 25
"""So that hypothesis itself costs little."""
LARGE = 0.3
"""Share of the cases with more than 100 nodes: not all of them are looked at."""


def a_node(rng: random.Random, i: int) -> NodeSpec:
    taints = [Taint(rng.choice("xy"), "", rng.choice([*Effect])) for _ in range(rng.choice((0, 0, 1, 2)))]
    labels = {HOSTNAME: f"n{i}", "kind": rng.choice(KINDS), "size": str(rng.randint(1, 9))}
    if rng.random() < 0.85:
        labels[ZONE] = rng.choice(("z0", "z1", "z2"))
    allocatable = {"cpu": rng.choice((500, 2000, 4000)), "memory": rng.choice((0, 2000, 5000)) * MIB, "pods": 6}
    if rng.random() < 0.4:
        allocatable["gpu"] = rng.choice((1, 4))
    if rng.random() < 0.4:
        allocatable["ephemeral-storage"] = rng.choice((100, 1000)) * MIB
    images = {f"img{k}:1": rng.choice((30, 300, 900)) * MIB for k in range(3) if rng.random() < 0.4}
    return NodeSpec(f"n{i}", allocatable, labels, tuple(taints), rng.random() < 0.1, images)


def a_selector(rng: random.Random) -> Selector:
    if rng.random() < 0.05:
        return Selector(())
    return Selector((Requirement("app", rng.choice(("In", "In", "NotIn")), (rng.choice(APPS),)),))


def a_term(rng: random.Random, weight: int = 0) -> PodTerm:
    homes = rng.choice((frozenset[str](), frozenset(("default",)), frozenset(HOMES)))
    return PodTerm(rng.choice((ZONE, HOSTNAME, "kind")), a_selector(rng), homes, weight)


def terms(rng: random.Random, share: float, *, weighted: bool = False) -> tuple[PodTerm, ...]:
    return tuple(a_term(rng, rng.randint(1, 100) if weighted else 0) for _ in range(2) if rng.random() < share)


def a_spread(rng: random.Random) -> Spread:
    key, hard = rng.choice((ZONE, HOSTNAME, "kind")), rng.random() < 0.4
    domains = rng.choice((1, 1, 3)) if hard else 1
    return Spread(key, rng.randint(1, 3), hard, a_selector(rng), domains, rng.random() < 0.7, rng.random() < 0.3)


def some_nodes(rng: random.Random) -> NodeTerm:
    """Ask for a kind, a size, or a few names."""
    what = rng.random()
    if what < 0.2:
        return NodeTerm((), (Requirement("metadata.name", "In", (f"n{rng.randrange(8)}",)),))
    if what < 0.4:
        return NodeTerm((Requirement("size", rng.choice(("Gt", "Lt")), ("4",)),))
    return NodeTerm((Requirement("kind", rng.choice(("In", "NotIn")), (rng.choice(KINDS),)),))


def a_shape(rng: random.Random, priority: int = 0) -> PodShape:
    app = rng.choice(APPS)
    wanted = {"cpu": rng.choice((0, 100, 700)), "memory": rng.choice((0, 64, 900)) * MIB}
    wanted["gpu"], wanted["ephemeral-storage"] = rng.choice((0, 0, 0, 1)), rng.choice((0, 0, 0, 60)) * MIB
    requests = tuple(sorted((name, amount) for name, amount in wanted.items() if amount))
    kind = Requirement("kind", "In", (rng.choice(KINDS),))
    required = tuple(some_nodes(rng) for _ in range(rng.choice((0, 1, 2)))) if rng.random() < 0.15 else None
    return PodShape(
        namespace=rng.choice((*HOMES, "default")),
        labels=(("app", app),),
        requests=requests,
        assumed_cpu=wanted["cpu"] or 100,
        assumed_memory=wanted["memory"] or 200 * MIB,
        node_selector=(kind,) if rng.random() < 0.1 else (),
        node_terms=required,
        preferred_nodes=(NodeTerm((kind,), weight=rng.randint(1, 100)),) if rng.random() < 0.4 else (),
        tolerations=(Toleration("x", "Exists", "", rng.choice(("", "NoSchedule"))),) if rng.random() < 0.5 else (),
        spreads=tuple(a_spread(rng) for _ in range(rng.choice((0, 0, 1, 2)))),
        affinity=Affinity(
            terms(rng, 0.08), terms(rng, 0.15, weighted=True), terms(rng, 0.08), terms(rng, 0.15, weighted=True)
        ),
        images=tuple(f"img{rng.randrange(3)}:1" for _ in range(rng.randint(0, 2))),
        ports=((rng.choice(("0.0.0.0", "10.0.0.1")), "TCP", 80),) if rng.random() < 0.1 else (),
        priority=priority,
        node_name=f"n{rng.randrange(8)}" if rng.random() < 0.03 else "",
        terminating=rng.random() < 0.05,
        owned_by=Selector((Requirement("app", "In", (app,)),)) if rng.random() < 0.5 else None,
    )


def a_profile(rng: random.Random) -> Profile:
    profile = Profile(
        percentage=rng.choice((0, 0, 5, 100)), strategy=rng.choice(STRATEGIES), balanced=rng.choice(BALANCED)
    )
    if rng.random() < 0.2:
        return replace(
            profile,
            filters=profile.filters - {rng.choice(("TaintToleration", "NodeAffinity", "PodTopologySpread"))},
            weights={name: weight + rng.randrange(3) for name, weight in SCORES.items() if rng.random() < 0.8},
            added_terms=(NodeTerm((Requirement("size", "Gt", ("1",)),)),) if rng.random() < 0.5 else None,
            hard_affinity_weight=rng.choice((0, 1, 50)),
            default_spreads=((ZONE, 1),),
            system_spread=False,
        )
    return profile


def a_batch(rng: random.Random, shapes: tuple[PodShape, ...]) -> Batch:
    steps: list[int] = []
    for pods in range(1, rng.randint(6, 15)):
        steps.append(rng.randrange(len(shapes)))
        if rng.random() < 0.4:
            steps.append(-1 - rng.randrange(pods))
    return Batch(shapes, np.array(steps, np.int32))


def other_nodes(rng: random.Random, nodes: list[NodeSpec]) -> tuple[NodeSpec, ...]:
    """Change, remove, add or exchange nodes."""
    i = rng.randrange(len(nodes))
    match rng.randrange(4):
        case 0:
            nodes[i] = replace(a_node(rng, 0), name=nodes[i].name)
        case 1 if len(nodes) > 1:
            del nodes[i]
        case 2:
            nodes.insert(i, a_node(rng, 1000))
        case _:
            nodes[:] = [node for node in nodes if rng.random() < 0.8] + [a_node(rng, 1000)]
    return tuple(nodes)


def victims(engine: Engine, rng: random.Random) -> object:
    """Crowd the nodes with pods of little importance, and tell whom an important one that fits nowhere would end."""
    lesser = [a_shape(rng, rng.randint(0, 3)) for _ in range(3)]
    shape, kept = a_shape(rng, 9), a_shape(rng, 10)
    for each in (*lesser, shape, kept):
        engine.catalog.plan(each)  # all are known at once, so that tables are laid out once
    residents: dict[int, list[Resident]] = {}
    for pod in range(20):
        node = rng.randrange(min(12, len(engine.catalog.nodes)))
        there = Resident(pod, rng.choice(lesser), rng.randrange(50))
        engine.place(there.shape, node)
        residents.setdefault(node, []).append(there)
    found = {node: engine.rejection(shape, node) for node in residents}
    curable = [node for node, why in found.items() if why is not None and why.curable]
    search = Candidates(curable, residents, nominated={0: [kept]}, draw=rng.random())
    return found, candidates(engine, shape, search)


def play(name: str, case: int) -> list[object]:
    """Play a random case on an engine: a batch, other nodes, another batch, decisions one by one, victims."""
    rng = random.Random(case)
    count = rng.randint(100, 130) if rng.random() < LARGE else rng.choice((1, 4, 8, 12))
    nodes = [a_node(rng, i) for i in range(count)]
    profile = a_profile(rng)
    draws = Draws(case) if rng.random() < 0.8 else None
    engine = make_engine(name, Catalog.of(nodes, profile), profile, draws)
    shapes = tuple(a_shape(rng) for _ in range(rng.randint(1, 4)))
    told: list[object] = []
    for turn in range(2):
        outcome = engine.run(a_batch(rng, shapes))
        told += [outcome.chosen.tolist(), outcome.ties.tolist(), outcome.starts.tolist(), decision_hash(outcome.chosen)]
        if turn == 0:
            engine.change_nodes(other_nodes(rng, nodes))
    barred = {0: Rejection("NodePorts", ("kept",), curable=True)} if rng.random() < 0.3 else None
    told += [engine.decide(a_shape(rng), barred), engine.start]
    return [*told, victims(engine, rng)]


@settings(max_examples=CASES // CASES_PER_EXAMPLE, deadline=None, database=None)
@seed(5)
@given(st.integers(0, 2**40))
def test_the_engines_agree(first: int) -> None:
    for case in range(first, first + CASES_PER_EXAMPLE):
        assert play("fast", case) == play("reference", case), f"case {case}"


@pytest.mark.parametrize("name", ENGINES)
def test_the_same_seed_gives_the_same_decisions(name: str) -> None:
    assert play(name, 7) == play(name, 7)


def test_a_hash_tells_decisions_apart() -> None:
    assert decision_hash([1, 2, -1]) == decision_hash(np.array([1, 2, -1], np.int32))
    assert decision_hash([1, 2, -1]) != decision_hash([1, 2, 0])
