"""Both engines take the same decisions on random clusters with every feature on: nodes, ties, starts, hashes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from mlfn_sim.kube.catalog import ZONE, Catalog
from mlfn_sim.kube.engine import ENGINES, Batch, make_engine
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
from mlfn_sim.kube.profile import Profile, Strategy
from mlfn_sim.kube.ties import Draws

APPS, KINDS, MIB = ("a", "b", "c"), ("k0", "k1"), 1 << 20
STRATEGIES = (
    Strategy(),
    Strategy("MostAllocated"),
    Strategy("RequestedToCapacityRatio", (("cpu", 3), ("gpu", 1)), (0, 50, 100), (0, 100, 30)),
)
CASES = 1000
CASES_PER_EXAMPLE = 10
"""So that hypothesis itself costs little."""


def a_node(rng: random.Random, i: int) -> NodeSpec:
    taints = [Taint(rng.choice("xy"), "", rng.choice([*Effect])) for _ in range(rng.choice((0, 0, 1, 2)))]
    labels = {HOSTNAME: f"n{i}", "kind": rng.choice(KINDS)}
    if rng.random() < 0.85:
        labels[ZONE] = rng.choice(("z0", "z1", "z2"))
    allocatable = {"cpu": rng.choice((500, 2000, 4000)), "memory": rng.choice((0, 2000, 5000)) * MIB, "pods": 6}
    if rng.random() < 0.4:
        allocatable["gpu"] = rng.choice((1, 4))
    images = {f"img{k}:1": rng.choice((30, 300, 900)) * MIB for k in range(3) if rng.random() < 0.4}
    return NodeSpec(f"n{i}", allocatable, labels, tuple(taints), rng.random() < 0.1, images)


def a_selector(rng: random.Random) -> Selector:
    return Selector((Requirement("app", rng.choice(("In", "In", "NotIn")), (rng.choice(APPS),)),))


def a_term(rng: random.Random, weight: int = 0) -> PodTerm:
    return PodTerm(rng.choice((ZONE, HOSTNAME, "kind")), a_selector(rng), frozenset(("default",)), weight)


def terms(rng: random.Random, share: float, *, weighted: bool = False) -> tuple[PodTerm, ...]:
    return tuple(a_term(rng, rng.randint(1, 100) if weighted else 0) for _ in range(2) if rng.random() < share)


def a_spread(rng: random.Random) -> Spread:
    key, hard = rng.choice((ZONE, HOSTNAME, "kind")), rng.random() < 0.4
    domains = rng.choice((1, 1, 3)) if hard else 1
    return Spread(key, rng.randint(1, 3), hard, a_selector(rng), domains, rng.random() < 0.7, rng.random() < 0.3)


def a_shape(rng: random.Random) -> PodShape:
    app = rng.choice(APPS)
    wanted = {"cpu": rng.choice((0, 100, 700)), "memory": rng.choice((0, 64, 900)) * MIB}
    wanted["gpu"] = rng.choice((0, 0, 0, 1))
    requests = tuple(sorted((name, amount) for name, amount in wanted.items() if amount))
    kind = Requirement("kind", "In", (rng.choice(KINDS),))
    return PodShape(
        labels=(("app", app),),
        requests=requests,
        assumed_cpu=wanted["cpu"] or 100,
        assumed_memory=wanted["memory"] or 200 * MIB,
        node_selector=(kind,) if rng.random() < 0.1 else (),
        node_terms=(NodeTerm((kind,)),) if rng.random() < 0.1 else None,
        preferred_nodes=(NodeTerm((kind,), weight=rng.randint(1, 100)),) if rng.random() < 0.4 else (),
        tolerations=(Toleration("x", "Exists", "", rng.choice(("", "NoSchedule"))),) if rng.random() < 0.5 else (),
        spreads=tuple(a_spread(rng) for _ in range(rng.choice((0, 0, 1, 2)))),
        affinity=Affinity(
            terms(rng, 0.08), terms(rng, 0.15, weighted=True), terms(rng, 0.08), terms(rng, 0.15, weighted=True)
        ),
        images=tuple(f"img{rng.randrange(3)}:1" for _ in range(rng.randint(0, 2))),
        ports=((rng.choice(("0.0.0.0", "10.0.0.1")), "TCP", 80),) if rng.random() < 0.1 else (),
        owned_by=Selector((Requirement("app", "In", (app,)),)) if rng.random() < 0.5 else None,
    )


def a_batch(rng: random.Random, shapes: tuple[PodShape, ...]) -> Batch:
    steps: list[int] = []
    for pods in range(1, rng.randint(6, 15)):
        steps.append(rng.randrange(len(shapes)))
        if rng.random() < 0.4:
            steps.append(-1 - rng.randrange(pods))
    return Batch(shapes, np.array(steps, np.int32))


def play(name: str, case: int) -> list[object]:
    """Play a random case on an engine: a batch, other nodes, another batch, and decisions one by one."""
    rng = random.Random(case)
    # From 100 nodes on, not all of them are looked at.
    count = rng.choice((1, 4, 8, 12)) if rng.random() < 0.97 else rng.randint(101, 130)
    nodes = [a_node(rng, i) for i in range(count)]
    profile = Profile(percentage=rng.choice((0, 5, 100)), strategy=rng.choice(STRATEGIES))
    engine = make_engine(name, Catalog(tuple(nodes)), profile, Draws(case) if rng.random() < 0.8 else None)
    shapes = tuple(a_shape(rng) for _ in range(rng.randint(1, 4)))
    told: list[object] = []
    for turn in range(2):
        outcome = engine.run(a_batch(rng, shapes))
        told += [outcome.chosen.tolist(), outcome.ties.tolist(), outcome.starts.tolist(), decision_hash(outcome.chosen)]
        if turn == 0:
            nodes[rng.randrange(len(nodes))] = a_node(rng, rng.randrange(len(nodes), 2 * len(nodes)))
            nodes = [node for node in nodes if rng.random() < 0.8] + [a_node(rng, 1000)]
            engine.change_nodes(tuple(nodes))
    shape = a_shape(rng)
    decision = engine.decide(shape)
    return [*told, decision, engine.start]


@settings(max_examples=CASES // CASES_PER_EXAMPLE, deadline=None, database=None)
@seed(5)
@given(st.integers(0, 2**40))
def test_the_engines_agree(first: int) -> None:
    for case in range(first, first + CASES_PER_EXAMPLE):
        assert play("fast", case) == play("reference", case)


@pytest.mark.parametrize("name", ENGINES)
def test_the_same_seed_gives_the_same_decisions(name: str) -> None:
    assert play(name, 7) == play(name, 7)


def test_a_hash_tells_decisions_apart() -> None:
    assert decision_hash([1, 2, -1]) == decision_hash(np.array([1, 2, -1], np.int32))
    assert decision_hash([1, 2, -1]) != decision_hash([1, 2, 0])
