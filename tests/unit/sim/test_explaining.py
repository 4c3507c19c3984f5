"""An explanation says what the engine decided, and every change it offers works when it is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlfn_sim.cluster.importing import import_recording
from mlfn_sim.cluster.model import Bound, ClusterSnapshot
from mlfn_sim.errors import NotWritten, RecordingError
from mlfn_sim.explaining.asking import explain
from mlfn_sim.explaining.picture import draw
from mlfn_sim.explaining.values import Explanation, Question
from mlfn_sim.kube.objects import (
    HOSTNAME,
    Affinity,
    Effect,
    NodeSpec,
    NodeTerm,
    Pod,
    PodShape,
    PodTerm,
    Requirement,
    Spread,
    Taint,
    Toleration,
)
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reading import pairs_selector

RECORDINGS = Path(__file__).parents[2] / "data" / "kube_scheduler"
WEB = (("app", "web"),)
ZONE = "topology.kubernetes.io/zone"


def node(name: str, cpu: int = 1000, **labels: str) -> NodeSpec:
    """Return a small node."""
    return NodeSpec(name, {"cpu": cpu, "memory": 1 << 30, "pods": 10}, {HOSTNAME: name, ZONE: "a", **labels})


ASKS = PodShape(labels=WEB, requests=(("cpu", 500),), assumed_cpu=500)
ONE = (node("n0"),)
Taken = tuple[PodShape, ...]
Nodes = tuple[NodeSpec, ...]


def asked(nodes: tuple[NodeSpec, ...], shape: PodShape, there: Taken = (), on: str = "") -> Explanation:
    """Ask about a pod of a shape, with others on the first node."""
    bound = tuple(Bound(Pod(f"b{i}", each), 0) for i, each in enumerate(there))
    return explain(ClusterSnapshot(nodes, bound, (Pod("p", shape),)), Profile(), Question("p", on))


def with_taint(spec: NodeSpec) -> NodeSpec:
    """Taint a node."""
    return replace(spec, taints=(Taint("dedicated", "ml", Effect.NO_SCHEDULE),))


def only(**labels: str) -> PodShape:
    """Return a shape with a node selector."""
    return replace(ASKS, node_selector=pairs_selector(labels).requirements)


NEAR = PodTerm(HOSTNAME, pairs_selector({"app": "db"}), frozenset(("default",)))
AWAY = replace(NEAR, selector=pairs_selector({"app": "web"}))
TERMS = (NodeTerm((Requirement("gpu", "Exists", ()), Requirement("arch", "In", ("arm64",)))), NodeTerm(()))


@pytest.mark.parametrize(
    ("nodes", "shape", "there", "steps"),
    [
        (ONE, replace(ASKS, requests=(("cpu", 1300),)), (), ("300m more cpu on n0 (or the pod asking 1000m instead",)),
        ((replace(ONE[0], unschedulable=True),), ASKS, (), ("uncordon n0",)),
        ((with_taint(ONE[0]),), ASKS, (), ("a toleration of dedicated=ml:NoSchedule",)),
        (ONE, only(disk="ssd"), (), ("the label disk=ssd on n0 (it has none)",)),
        ((node("n0", disk="hdd"),), only(disk="ssd"), (), ("the label disk=ssd on n0 (it has disk=hdd)",)),
        (ONE, replace(ASKS, node_terms=TERMS[:1]), (), ("a label gpu on n0", "the label arch=arm64 on n0")),
        (
            ONE,
            replace(ASKS, ports=(("0.0.0.0", "TCP", 80),)),
            (PodShape(ports=(("0.0.0.0", "TCP", 80),)),),
            ("host port 80/TCP free on n0 (b0 holds it)",),
        ),
        (ONE, ASKS, (PodShape(),) * 10, ("1 pod fewer on n0",)),
        (ONE, ASKS, (PodShape(),) * 12, ("3 pods fewer on n0",)),
        (
            ONE,
            replace(ASKS, affinity=Affinity(required=(NEAR,))),
            (),
            ("a pod that its affinity asks for",),
        ),
        (ONE, replace(ASKS, affinity=Affinity(anti_required=(AWAY,))), (ASKS,), ("b0 gone from kubernetes.io/host",)),
        (ONE, ASKS, (replace(ASKS, affinity=Affinity(anti_required=(AWAY,))),), ("b0 gone from kubernetes.io/host",)),
        (
            (with_taint(node("n0", 400)),),
            only(disk="ssd"),
            (),
            ("a toleration of", "the label disk=ssd", "100m more cpu"),
        ),
    ],
)
def test_what_it_takes_to_fit(
    nodes: tuple[NodeSpec, ...], shape: PodShape, there: Taken, steps: tuple[str, ...]
) -> None:
    explanation = asked(nodes, shape, there)
    assert explanation.chosen == ""
    assert explanation.message.startswith("0/1 nodes are available: 1 ")
    (change,) = explanation.to_fit
    assert change.node == "n0"
    assert len(change.steps) == len(steps)
    for told, wanted in zip(change.steps, steps, strict=True):
        assert told.startswith(wanted)


def test_a_skew_is_the_least_that_lets_it_in() -> None:
    spread = Spread(HOSTNAME, 1, True, pairs_selector({"app": "web"}))
    shape = replace(ASKS, requests=(), spreads=(spread,))
    small = replace(ONE[0], allocatable={**ONE[0].allocatable, "cpu": 10_000})
    full = with_taint(node("n1"))
    explanation = asked((small, full), shape, (replace(ASKS, requests=()),) * 3)
    steps = {each.node: each.steps for each in explanation.to_fit}
    (step,) = steps["n0"]
    assert step.startswith("maxSkew 4 instead of 1 for kubernetes.io/hostname (or 3 fewer of its pods in ")
    told = asked(
        (small, full), replace(shape, spreads=(replace(spread, max_skew=4),)), (replace(ASKS, requests=()),) * 3
    )
    assert told.chosen == "n0"


def test_making_the_change_makes_it_fit() -> None:
    cpu = asked((with_taint(node("n0", 400)),), ASKS).to_fit[0].steps
    assert cpu[1].startswith("100m more cpu on n0")
    tolerant = replace(ASKS, tolerations=(Toleration("dedicated", "Equal", "ml", "NoSchedule"),))
    assert asked((with_taint(node("n0", 499)),), tolerant).chosen == ""
    assert asked((with_taint(node("n0", 500)),), tolerant).chosen == "n0"


def test_what_it_takes_to_win() -> None:
    nodes = (node("n0", 4000), node("n1", 4000))
    busy = replace(ASKS, requests=(("cpu", 1000),), assumed_cpu=1000)
    explanation = asked(nodes, ASKS, (busy,))
    assert (explanation.chosen, explanation.ties) == ("n1", ("n1",))
    steps = [each.steps[0] for each in explanation.to_win]
    assert explanation.to_win[0].node == "n0"
    assert "a preferred node affinity of weight 1 for kubernetes.io/hostname=n0" in steps
    asks = NodeTerm((Requirement(HOSTNAME, "In", ("n0",)),), (), 1)
    assert asked(nodes, replace(ASKS, preferred_nodes=(asks,)), (busy,)).ties == ("n0",)


def test_an_image_that_would_bring_it() -> None:
    nodes = (replace(node("n0"), images={"m:1": 900 << 20}), node("n1"), node("n2"))
    explanation = asked(nodes, replace(ASKS, images=("m:1",)), (PodShape(assumed_cpu=100),), on="n1")
    assert explanation.chosen == "n0"
    assert "the image m:1 on n1" in [each.steps[0] for each in explanation.to_win]


def test_a_pod_that_is_there_is_asked_anew() -> None:
    snapshot = ClusterSnapshot((node("n0"), node("n1")), (Bound(Pod("p", ASKS), 0), Bound(Pod("q", ASKS), 0)))
    explanation = explain(snapshot, Profile(), Question("default/p"))
    assert (explanation.bound, explanation.chosen) == ("n0", "n1")


def test_the_pods_in_front_are_placed_first() -> None:
    first = Pod("first", replace(ASKS, priority=5))
    snapshot = ClusterSnapshot((node("n0", 600),), (), (Pod("p", ASKS), first))
    assert explain(snapshot, Profile(), Question("p")).chosen == ""
    assert explain(snapshot, Profile(), Question("p", alone=True)).chosen == "n0"
    assert explain(snapshot, Profile(), Question("first")).chosen == "n0"


@pytest.mark.parametrize("name", ["r7_all", "r8_full", "r4_spread", "r6_interpod", "r3_taint_affinity"])
def test_filters_add_up_on_real_clusters(name: str) -> None:
    snapshot = import_recording(RECORDINGS / f"{name}.json.gz")
    explanation = explain(snapshot, Profile(percentage=100), Question(snapshot.pending[40].name, top=3))
    assert explanation.ahead <= 40
    assert explanation.evaluated == explanation.filters[0].asked == len(snapshot.nodes)
    last = explanation.filters[-1]
    assert last.asked - last.rejected == explanation.feasible
    for score in explanation.scores:
        assert score.total == sum(score.plugins.values())
    rejected = {each.name for each in explanation.filters if each.rejected}
    assert not rejected or explanation.to_fit


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question("nobody"), "there is no pod 'nobody'; there are p, q, twin, for instance"),
        (Question("twin"), r"the pod 'twin' is in several namespaces \(a, b\); name it as NAMESPACE/NAME"),
        (Question("p", "n9"), "there is no node 'n9'"),
    ],
)
def test_an_impossible_question_is_refused(question: Question, words: str) -> None:
    twins = tuple(Pod("twin", replace(ASKS, namespace=home)) for home in "ab")
    snapshot = ClusterSnapshot(ONE, (), (Pod("p", ASKS), Pod("q", ASKS), *twins))
    with pytest.raises(RecordingError, match=words):
        explain(snapshot, Profile(), question)


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_picture_is_the_same_each_time(suffix: str, begins: bytes, tmp_path: Path) -> None:
    explanation = asked((node("n0", 4000), node("n1")), ASKS)
    draw(explanation, tmp_path / f"a{suffix}")
    draw(explanation, tmp_path / f"b{suffix}")
    first = (tmp_path / f"a{suffix}").read_bytes()
    assert first.startswith(begins)
    assert first == (tmp_path / f"b{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    explanation = asked(ONE, ASKS)
    with pytest.raises(NotWritten, match=r"a\.png: cannot be written: No such file"):
        draw(explanation, tmp_path / "none" / "a.png")
    with pytest.raises(RecordingError, match=r"ends in \.png or \.svg"):
        draw(explanation, tmp_path / "a.gif")
