"""A scheduler's configuration is honoured in full, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.configuration import read_profile
from mlfn_sim.kube.objects import HOSTNAME, Affinity, Effect, NodeSpec, PodShape, PodTerm, Requirement, Spread, Taint
from mlfn_sim.kube.profile import SCORES, Profile
from mlfn_sim.kube.reading import pairs_selector
from mlfn_sim.kube.reference import ReferenceEngine

ROOM = {"cpu": 1000, "memory": 1 << 30, "pods": 10}
ASKS = PodShape(labels=(("app", "web"),), requests=(("cpu", 100),))
OTHERS = PodTerm(HOSTNAME, pairs_selector({"app": "web"}), frozenset(("default",)))
MISSING = Spread("rack", 1, True, pairs_selector({"app": "web"}))


def configured(tmp_path: Path, profiles: str, scheduler: str = "") -> Profile:
    """Read a configuration with these profiles."""
    path = tmp_path / "scheduler.yaml"
    path.write_text(f"kind: KubeSchedulerConfiguration\nprofiles: {profiles}\n")
    return read_profile(path, scheduler)


def host(**labels: str) -> NodeSpec:
    """Return a node."""
    return NodeSpec("n0", ROOM, {HOSTNAME: "n0", **labels})


@pytest.mark.parametrize(
    ("plugin", "node", "shape"),
    [
        ("NodeUnschedulable", NodeSpec("n0", ROOM, unschedulable=True), ASKS),
        ("TaintToleration", NodeSpec("n0", ROOM, taints=(Taint("a", "", Effect.NO_EXECUTE),)), ASKS),
        ("NodeAffinity", host(), PodShape(node_selector=(Requirement("disk", "Exists", ()),))),
        ("NodePorts", host(), PodShape(labels=ASKS.labels, ports=(("0.0.0.0", "TCP", 80),))),
        ("PodTopologySpread", host(), PodShape(labels=ASKS.labels, spreads=(MISSING,))),
        ("InterPodAffinity", host(), PodShape(labels=ASKS.labels, affinity=Affinity(anti_required=(OTHERS,)))),
    ],
)
def test_a_disabled_filter_rejects_nobody(plugin: str, node: NodeSpec, shape: PodShape, tmp_path: Path) -> None:
    without = configured(tmp_path, f"[{{plugins: {{filter: {{disabled: [{{name: {plugin}}}]}}}}}}]")
    for profile, rejected in ((Profile(), {plugin: 1}), (without, {})):
        engine = ReferenceEngine(Catalog.of((node,), profile), profile)
        engine.place(shape, 0)
        assert engine.decide(shape).rejected_by() == rejected


def test_an_added_affinity_holds_for_every_pod(tmp_path: Path) -> None:
    terms = "{nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [ml]}]}]}"
    added = f"{{requiredDuringSchedulingIgnoredDuringExecution: {terms}}}"
    profile = configured(tmp_path, f"[{{pluginConfig: [{{name: NodeAffinity, args: {{addedAffinity: {added}}}}}]}}]")
    nodes = (host(), NodeSpec("n1", ROOM, {"pool": "ml"}))
    engine = ReferenceEngine(Catalog.of(nodes, profile), profile)
    assert engine.decide(ASKS).feasible == (1,)
    engine.change_nodes((*nodes, NodeSpec("n2", ROOM)))
    assert engine.decide(ASKS).feasible == (1,)


@pytest.mark.parametrize(
    ("plugins", "weight"),
    [
        ("{score: {enabled: [{name: NodeAffinity, weight: 7}]}}", 7),
        ("{score: {enabled: [{name: NodeAffinity, weight: 0}]}}", 1),
        ("{multiPoint: {enabled: [{name: NodeAffinity}]}}", 1),
        ("{score: {enabled: [{name: NodeAffinity, weight: 7}]}, multiPoint: {disabled: [{name: NodeAffinity}]}}", 7),
        ("{score: {disabled: [{name: NodeAffinity}]}}", None),
        ("{}", SCORES["NodeAffinity"]),
    ],
)
def test_weights(plugins: str, weight: int | None, tmp_path: Path) -> None:
    assert configured(tmp_path, f"[{{plugins: {plugins}}}]").weights.get("NodeAffinity") == weight


def test_a_profile_is_chosen_by_its_scheduler(tmp_path: Path) -> None:
    profiles = "[{percentageOfNodesToScore: 10}, {schedulerName: gpu, percentageOfNodesToScore: 20}]"
    assert configured(tmp_path, profiles).percentage == 10
    assert configured(tmp_path, profiles, "gpu").percentage == 20
    assert configured(tmp_path, profiles, "default-scheduler").percentage == 10


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ("[{schedulerName: a}, {schedulerName: a}]", "has the profile 'a' 2 times"),
        ("[{schedulerName: a}]", "has no profile for the scheduler 'gpu'; it has a"),
        ("[{plugins: {filter: {disabled: [{name: NodeResourcesFit}]}}}]", "disables the filter NodeResourcesFit"),
        ("[{pluginConfig: [{name: NodeAffinity, args: {addedAffinity: 3}}]}]", "has addedAffinity = 3"),
        ("[{plugins: {sorting: {}}}]", "unknown extension point plugins.sorting"),
        ("[{plugins: {score: {enabled: [{name: NodeAffinity, weight: heavy}]}}}]", "has weight = 'heavy'"),
        ("[{plugins: {score: {disabled: [{name: '*'}]}}}]", "disables every score"),
        ("[{pluginConfig: [{name: NodeResourcesFit, args: {ignoredResources: [a/b]}}]}]", "ignoredResources for Node"),
        ("[{pluginConfig: [{name: NodeResourcesFit, args: 3}]}]", "has args = 3"),
        ("7", "has profiles = 7; expected a list of objects"),
    ],
)
def test_what_cannot_be_simulated_is_refused(profiles: str, words: str, tmp_path: Path) -> None:
    scheduler = "gpu" if "gpu" in words else ""
    with pytest.raises(RecordingError, match=words):
        configured(tmp_path, profiles, scheduler)
