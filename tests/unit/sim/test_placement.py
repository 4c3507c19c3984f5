"""Placement policies: compiled as they stand, never over capacity, the same for the same seed."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlfn_policies.place import Nodes, Offer, Pod, Policy, best_scored, fits, fullest_device
from mlfn_policies.place_openwhisk import function_hash, probe_steps
from mlfn_sim.errors import UnknownPolicy
from mlfn_sim.placement.cluster import Host, columns, fresh_known, fresh_outcome, shapes_of, shares
from mlfn_sim.placement.kernel import DRAWS, Events, Outcome
from mlfn_sim.placement.names import BUILT_IN, policy_named
from mlfn_sim.placement.programs import program

HOSTS = st.lists(
    st.builds(
        Host,
        cpu=st.sampled_from([4_000, 8_000, 32_000]),
        memory=st.sampled_from([8_192, 65_536]),
        gpus=st.sampled_from([0, 1, 2, 8]),
        model=st.sampled_from([1, 2]),
        edge=st.booleans(),
        traits=st.integers(0, 3),
        pull_rate=st.sampled_from([1, 50]),
        data_rate=st.sampled_from([0, 1, 10]),
        images=st.sampled_from([frozenset(), frozenset({0})]),
    ),
    min_size=1,
    max_size=12,
)
GPUS = st.sampled_from([(0, 0), (1, 1000), (1, 300), (1, 550), (2, 1000), (8, 1000)])
PODS = st.lists(
    st.builds(
        lambda cpu, memory, gpu, models, image, more, function: Pod(
            cpu, memory, *gpu, models if gpu[0] else 0, image, 200, more, more * 30, more, function
        ),
        cpu=st.sampled_from([100, 1_000, 4_000]),
        memory=st.sampled_from([0, 512, 4_096]),
        gpu=GPUS,
        models=st.sampled_from([0, 0, 1, 3]),
        image=st.sampled_from([-1, 0]),
        more=st.integers(0, 3),
        function=st.integers(0, 10 * len(BUILT_IN)),
    ),
    min_size=1,
    max_size=8,
)


@dataclass(frozen=True)
class Case:
    """Hold one random cluster and what comes and goes."""

    hosts: list[Host]
    pods: list[Pod]
    order: list[int]
    """Pod of each event; -1: the oldest pod still there goes."""
    seed: int


CASES = st.builds(
    Case,
    HOSTS,
    PODS,
    st.lists(st.integers(-1, 7), min_size=1, max_size=40),
    st.integers(0, 2**32),
)


def ran(case: Case, policy: Policy, *, fast: bool) -> tuple[Outcome, Nodes]:
    """Run a case."""
    kinds, which = shapes_of(case.pods)
    shape, ends, there = [], [], list[int]()
    for each in case.order:
        if each < 0 and not there:
            continue
        ends.append(there.pop(0) if each < 0 else -1)
        shape.append(which[each % len(which)] if each >= 0 else shape[ends[-1]])
        if each >= 0:
            there.append(len(shape) - 1)
    draws = np.random.default_rng(case.seed).random((len(shape), DRAWS))
    events = Events(np.array(shape, dtype=np.int64), np.array(ends, dtype=np.int64), draws)
    nodes = columns(case.hosts, shares({pod: 1 + k for k, pod in enumerate(dict.fromkeys(case.pods))}))
    outcome = fresh_outcome(len(shape))
    ready = program(policy, fast=fast)
    assert ready.compiled is fast, ready.fallback
    ready.run(kinds, events, nodes, fresh_known(len(kinds.columns), len(case.hosts), len(shape)), outcome)
    return outcome, nodes


def _of_all(part: str, arguments: str, nothing: str) -> FunctionType:
    """Return a function that does what the n-th built-in policy does; n: the pod's function modulo their number."""
    space: dict[str, Any] = {}
    lines = [f"def {part}({arguments}):"]
    for n, name in enumerate(BUILT_IN):
        space[f"{part}_{n}"] = (
            getattr(policy_named(name), part) or {"choose": best_scored, "device": fullest_device}[part]
        )
        lines += [f"    if pod.function % {len(BUILT_IN)} == {n}:", f"        return {part}_{n}({arguments})"]
    exec("\n".join([*lines, f"    return {nothing}"]), space)
    made = space[part]
    assert isinstance(made, FunctionType)
    return made


EVERY = Policy(
    _of_all("feasible", "pod, nodes, i", "False"),
    _of_all("score", "pod, nodes, i", "0.0"),
    _of_all("choose", "pod, nodes, offer", "0"),
    _of_all("device", "pod, nodes, i, draw", "-1"),
)
"""All built-in policies in one program, so that they are compiled in one go: each pod is placed by one of them."""


@pytest.mark.timeout(300)  # the program is compiled once
@settings(max_examples=200, deadline=None)
@given(case=CASES)
def test_compiled_equals_plain_and_nothing_is_over_capacity(case: Case) -> None:
    plain, nodes = ran(case, EVERY, fast=False)
    fast, _ = ran(case, EVERY, fast=True)
    for ours, theirs in zip(plain, fast, strict=True):
        assert np.array_equal(ours, theirs)
    again, _ = ran(case, EVERY, fast=True)
    assert np.array_equal(again.node, fast.node)
    for i, host in enumerate(case.hosts):
        assert 0 <= nodes.cpu_free[i] <= host.cpu
        assert 0 <= nodes.memory_free[i] <= host.memory
        assert nodes.pods[i] >= 0
        for g in range(host.gpus):
            assert 0 <= nodes.gpu_free[i, g] <= 1000


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_went_leaves_the_cluster_as_it_was(name: str) -> None:
    hosts = [Host(4_000, 8_192, 2, 1), Host(8_000, 8_192, 8, 2)]
    pods = [Pod(cpu=500, memory=100, gpus=1, milli=400), Pod(cpu=500, gpus=2, milli=1000), Pod(cpu=700)]
    _, nodes = ran(Case(hosts, pods, [0, 1, 2, 0, -1, -1, -1, -1], 1), policy_named(name), fast=False)
    for column, empty in zip(nodes[:11], columns(hosts)[:11], strict=True):
        if isinstance(column, np.ndarray):
            assert np.array_equal(column, empty)


def _placed(name: str, hosts: list[Host], pods: list[Pod]) -> list[int]:
    outcome, _ = ran(Case(hosts, pods, list(range(len(pods))), 0), policy_named(name), fast=False)
    return [int(i) for i in outcome.node]


def test_fits_decide_by_what_is_left() -> None:
    hosts = [Host(8_000, 64), Host(2_000, 64), Host(4_000, 64)]
    pods = [Pod(cpu=1_500, memory=k) for k in range(3)]
    assert _placed("first-fit", hosts, pods) == [0, 0, 0]
    assert _placed("best-fit", [Host(120_000, 64), Host(20_000, 64), Host(40_000, 64)], pods)[0] == 1
    assert _placed("worst-fit", [Host(120_000, 64), Host(20_000, 64), Host(40_000, 64)], pods)[0] == 0
    assert _placed("round-robin", hosts, pods) == [0, 1, 2]
    assert sorted(_placed("least-loaded", [Host(4_000, 64)] * 3, pods)) == [0, 1, 2]


def test_sharing_pods_are_packed_on_gpus_in_use() -> None:
    hosts = [Host(64_000, 64, 2, 1), Host(64_000, 64, 2, 1)]
    pods = [Pod(cpu=100, memory=k, gpus=1, milli=300) for k in range(3)]
    pods.append(Pod(cpu=100, gpus=1, milli=1000))  # typical too: whoever opens an idle GPU takes it from this one
    for name in ("gpu-packing", "gpu-clustering", "fgd"):
        outcome, _ = ran(Case(hosts, pods, [0, 1, 2], 3), policy_named(name), fast=False)
        assert len(set(outcome.node.tolist())) == 1, name
        assert len(set(outcome.devices.tolist())) == 1, name


def test_openwhisk_probes_in_the_documented_order() -> None:
    assert probe_steps(10) == [1, 3, 7]
    pods = [Pod(cpu=1_000, function=13) for _ in range(10)]
    outcome, _ = ran(Case([Host(1_000, 64)] * 10, pods[:1], [0] * 10, 0), policy_named("openwhisk"), fast=False)
    assert outcome.node.tolist() == [3, 6, 9, 2, 5, 8, 1, 4, 7, 0]
    assert function_hash("guest", "guest/hello") == abs(98_708_952 ^ _java("guest/hello"))


def _java(text: str) -> int:
    value = 0
    for letter in text:
        value = (31 * value + ord(letter)) % 2**32
    return value - 2**32 if value >= 2**31 else value


def test_skippy_goes_to_the_edge_with_the_image() -> None:
    hosts = [Host(4_000, 4_096), Host(4_000, 4_096, edge=True), Host(4_000, 4_096, edge=True, images=frozenset({0}))]
    assert _placed("skippy", hosts, [Pod(cpu=500, memory=512, image=0, image_mib=1_000)]) == [2]


LOOKED_UP = {"cpu": [1]}


def unhashable_score(pod: Pod, nodes: Nodes, i: int) -> float:
    """Score with what Numba cannot compile."""
    return float(LOOKED_UP[f"{'cpu'}"][0])


def test_what_cannot_be_compiled_runs_as_it_stands_and_says_so() -> None:
    ready = program(Policy(fits, unhashable_score))
    assert not ready.compiled
    assert ready.fallback
    assert _run_one(Policy(fits, unhashable_score)) == 0


def first(pod: Pod, nodes: Nodes, offer: Offer) -> int:
    """Choose the first."""
    return 0


def _run_one(policy: Policy) -> int:
    kinds, which = shapes_of([Pod(cpu=1)])
    events = Events(which, np.array([-1]), np.zeros((1, DRAWS)))
    outcome = fresh_outcome(1)
    program(policy).run(kinds, events, columns([Host(1, 1)]), fresh_known(1, 1, 1), outcome)
    return int(outcome.node[0])


class Mine:
    """Gather the functions of a policy."""

    score = staticmethod(unhashable_score)
    choose = staticmethod(first)


def test_policies_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("somebodys")
    module.__dict__.update(Mine=Mine, score=unhashable_score, nothing=3, made=Policy(fits, unhashable_score))
    monkeypatch.setitem(sys.modules, "somebodys", module)
    assert policy_named("somebodys:Mine") == Policy(fits, unhashable_score, first)
    assert policy_named("somebodys:score") == policy_named("somebodys") == policy_named("somebodys:made")
    for wrong in ("somebodys:nothing", "somebodys:absent", "no_such_policy", "no_such_module:x"):
        with pytest.raises(UnknownPolicy, match=wrong.split(":")[0]):
            policy_named(wrong)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import no_such_package\n", "broken_policy imports no_such_package, which is not there"),
        ("def score(pod, nodes, i)\n    return 0\n", "broken_policy.py:1: is not Python"),
        ("\nscore = 1 / 0\n", "broken_policy.py:2: importing failed: ZeroDivisionError: division by zero"),
        ("x = 1\n", "score is not defined; expected a plain function"),
    ],
)
def test_a_policy_that_cannot_be_imported_says_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, told: str
) -> None:
    import sys

    (tmp_path / "broken_policy.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_policy", raising=False)
    with pytest.raises(UnknownPolicy, match=re.escape(told)):
        policy_named("broken_policy")
    monkeypatch.delitem(sys.modules, "broken_policy", raising=False)


def test_hosts_of_any_shape_become_columns() -> None:
    nodes = columns([Host(1, 2), dataclasses.replace(Host(1, 2), gpus=3)])
    assert nodes.gpus[1] == 3
    assert nodes.gpu_free[1, 2] == 1000
    assert nodes.gpu_free[0, 0] == 0
