"""Objects are read as the scheduler takes them: requests, affinities, names; what it refuses is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.decisions import Decision, unschedulable_text
from mlfn_sim.kube.engine import ENGINES, make_engine
from mlfn_sim.kube.objects import PodShape
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reading import Reader

MIB = 1 << 20
NODE_AFFINITY = "requiredDuringSchedulingIgnoredDuringExecution"


def asks(cpu: str = "", memory: str = "", **more: Any) -> dict[str, Any]:
    """Return a container."""
    requests = {name: amount for name, amount in (("cpu", cpu), ("memory", memory)) if amount}
    return {"name": "c", "image": "app:1", "resources": {"requests": requests}, **more}


def a_pod(*containers: dict[str, Any], meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **(meta or {})}, "spec": {"containers": list(containers) or [asks()], **spec}}


def a_node(name: str, images: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, "zone": name[0]}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}, "images": images or []},
    }


def shape(item: dict[str, Any], **how: Any) -> PodShape:
    return Reader(Path("file.json"), **how).pod(item).shape


def near(**term: Any) -> dict[str, Any]:
    """Return a required pod affinity."""
    return {"podAffinity": {NODE_AFFINITY: [{"topologyKey": "zone", "labelSelector": {}, **term}]}}


def named(*terms: list[str]) -> dict[str, Any]:
    """Ask for nodes by name: terms are alternatives, the names of one have to hold together."""
    fields = [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]} for name in names]}
        for names in terms
    ]
    return {"nodeAffinity": {NODE_AFFINITY: {"nodeSelectorTerms": fields}}}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("item", "requests", "assumed"),
    [
        (a_pod(asks("200m", "64Mi"), asks()), {"cpu": 200, "memory": 64 * MIB}, (300, 264 * MIB)),
        # An init container runs before the others, with the sidecars that started earlier.
        (a_pod(asks("200m"), initContainers=[asks("500m"), asks("300m", **SIDECAR)]), {"cpu": 500}, (500, 400 * MIB)),
        (a_pod(asks("200m"), initContainers=[asks("300m", **SIDECAR), asks("500m")]), {"cpu": 800}, (800, 400 * MIB)),
        (a_pod(asks("200m"), overhead={"cpu": "50m"}), {"cpu": 250}, (250, 200 * MIB)),
        # What the pod itself asks wins, for cpu, memory and huge pages.
        (
            a_pod(asks("200m", "64Mi"), resources={"requests": {"cpu": "1", "nvidia.com/gpu": "4"}}),
            {"cpu": 1000, "memory": 64 * MIB},
            (1000, 64 * MIB),
        ),
    ],
)
def test_what_a_pod_asks(item: dict[str, Any], requests: dict[str, int], assumed: tuple[int, int]) -> None:
    found = shape(item)
    assert dict(found.requests) == requests
    assert (found.assumed_cpu, found.assumed_memory) == assumed


def test_limits_stand_in_for_requests_unless_the_scheduler_saw_the_object_so() -> None:
    item = a_pod({"name": "c", "resources": {"limits": {"cpu": "1"}}})
    assert dict(shape(item).requests) == {"cpu": 1000}
    assert shape(item, as_seen=True).requests == ()


@pytest.mark.parametrize(("reason", "cpu"), [("Deferred", 800), ("Infeasible", 500)])
def test_a_resize_holds_the_most_of_what_is_asked_and_given(reason: str, cpu: int) -> None:
    status = {
        "conditions": [{"type": "PodResizePending", "reason": reason}],
        "containerStatuses": [
            {"name": "c", "resources": {"requests": {"cpu": "300m"}}, "allocatedResources": {"cpu": "500m"}}
        ],
    }
    assert dict(shape({**a_pod(asks("800m")), "status": status}).requests) == {"cpu": cpu}


@pytest.mark.parametrize(
    ("name", "tagged"),
    [
        ("app", "app:latest"),
        ("host:5000/app", "host:5000/app:latest"),
        ("host:5000/app:2", "host:5000/app:2"),
        ("app@sha256:12", "app@sha256:12"),
    ],
)
def test_names_of_images(name: str, tagged: str) -> None:
    assert shape(a_pod({"name": "c", "image": name})).images == (tagged,)
    # A node's names are taken as they are, and the first of two sizes counts.
    images = [{"names": [name], "sizeBytes": 5}, {"names": [name], "sizeBytes": 7}]
    assert Reader(Path("f")).node(a_node("a", images)).images == {name: 5}


def test_ports_of_sidecars_count_and_those_of_init_containers_do_not() -> None:
    early = asks(ports=[{"hostPort": 80}])
    stays = asks(ports=[{"hostPort": 81, "protocol": "UDP", "hostIP": "10.0.0.1"}], **SIDECAR)
    assert shape(a_pod(initContainers=[early, stays])).ports == (("10.0.0.1", "UDP", 81),)


@pytest.mark.parametrize(
    ("term", "namespaces"),
    [
        ({}, {"home"}),
        ({"namespaces": ["a", "b"]}, {"a", "b"}),
        ({"namespaceSelector": {}}, set()),
        ({"namespaceSelector": {"matchLabels": {"team": "x"}}}, {"a", "c"}),
        ({"namespaces": ["b"], "namespaceSelector": {"matchLabels": {"team": "x"}}}, {"a", "b", "c"}),
        ({"namespaceSelector": {"matchLabels": {"team": "nobody"}}}, {""}),
    ],
)
def test_namespaces_of_a_term(term: dict[str, Any], namespaces: set[str]) -> None:
    known = {"a": {"team": "x"}, "b": {"team": "y"}, "c": {"team": "x"}}
    found = shape(a_pod(meta={"namespace": "home"}, affinity=near(**term)), namespaces=known)
    assert found.affinity.required[0].namespaces == namespaces


def test_a_namespace_is_known_by_its_name_alone() -> None:
    term = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}
    assert shape(a_pod(affinity=near(**term))).affinity.required[0].namespaces == {"a"}


def decide(item: dict[str, Any], bound: dict[str, dict[str, Any]] | None = None, **how: Any) -> Decision:
    """Ask both engines of five nodes, and return what they agree on."""
    reader = Reader(Path("f"), as_seen=True)
    nodes = [reader.node(a_node(name, **how.get("specs", {}).get(name, {}))) for name in ("a1", "a2", "b1", "b2", "c1")]
    profile = how.get("profile", Profile())
    found = []
    for name in ENGINES:
        engine = make_engine(name, Catalog.of(nodes, profile), profile)
        engine.start = 3
        for there, pod in (bound or {}).items():
            engine.place(reader.pod(pod).shape, [node.name for node in nodes].index(there))
        found.append((engine.decide(reader.pod(item).shape), engine.start))
    assert found[0] == found[1]
    return found[0][0]


def test_a_pod_that_names_its_node() -> None:
    decision = decide(a_pod(nodeName="b1"))
    assert decision.feasible == (2,)
    assert decision.rejected_by() == {"NodeName": 4}
    assert decision.reasons == {"node(s) didn't match the requested node name": 4}


def test_only_the_nodes_that_affinity_names_are_looked_at() -> None:
    decision = decide(a_pod(affinity=named(["a2"], ["c1", "c1"], ["nowhere"])))
    assert (sorted(decision.feasible), decision.evaluated, decision.rejected) == ([1, 4], 2, {})


def test_words_for_named_nodes() -> None:
    full = decide(a_pod(asks("5"), affinity=named(["a2"])))
    words = "4 node(s) didn't satisfy plugin(s) [NodeAffinity]"
    assert unschedulable_text(full, 5) == f"0/5 nodes are available: 1 Insufficient cpu, {words}."
    conflict = decide(a_pod(affinity=named(["a1", "a2"])))
    assert (conflict.evaluated, conflict.rejected) == (0, {})
    assert unschedulable_text(conflict, 5) == "0/5 nodes are available: pod affinity terms conflict."


def spread(**more: Any) -> dict[str, Any]:
    hard = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", **more}
    return a_pod(meta={"labels": {"app": "x", "v": "1"}}, topologySpreadConstraints=[hard])


APP = {"matchLabels": {"app": "x"}}


@pytest.mark.parametrize(
    ("constraint", "there", "feasible"),
    [
        ({"labelSelector": APP}, {}, {2, 3, 4}),
        # A pod that ends is not counted, a selector that asks nothing counts nobody, none selects nobody.
        ({"labelSelector": APP}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, {0, 1, 2, 3, 4}),
        ({"labelSelector": {}}, {}, {0, 1, 2, 3, 4}),
        ({}, {}, {0, 1, 2, 3, 4}),
        ({"labelSelector": APP, "matchLabelKeys": ["v", "missing"]}, {}, {0, 1, 2, 3, 4}),
        ({"labelSelector": APP, "minDomains": 4}, {}, {2, 3, 4}),
        ({"labelSelector": APP, "minDomains": 4, "maxSkew": 2}, {}, {0, 1, 2, 3, 4}),
    ],
)
def test_hard_spread(constraint: dict[str, Any], there: dict[str, Any], feasible: set[int]) -> None:
    bound = {"a1": a_pod(meta={"labels": {"app": "x"}, **there})}
    assert set(decide(spread(**constraint), bound).feasible) == feasible


@pytest.mark.parametrize(("policy", "feasible"), [("Honor", {1}), ("Ignore", set())])
def test_spread_over_tainted_nodes(policy: str, feasible: set[int]) -> None:
    # b and c are tainted: their zones hold nothing, which counts unless taints are honoured.
    specs = {name: {"taints": [{"key": "k", "effect": "NoSchedule"}]} for name in ("b1", "b2", "c1")}
    item = spread(labelSelector=APP, topologyKey="kubernetes.io/hostname", nodeTaintsPolicy=policy)
    bound = {"a1": a_pod(meta={"labels": {"app": "x"}})}
    if policy == "Ignore":
        bound["a2"] = a_pod(meta={"labels": {"app": "x"}})
    assert set(decide(item, bound, specs=specs).feasible) == feasible


def test_a_cordoned_node_is_for_those_who_tolerate_that() -> None:
    specs = {"a1": {"unschedulable": True}}
    assert decide(a_pod(), specs=specs).rejected_by() == {"NodeUnschedulable": 1}
    tolerates = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert not decide(a_pod(tolerations=[tolerates]), specs=specs).rejected


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (a_pod(priority="high"), "priority = 'high'; expected a whole number"),
        (a_pod(nodeSelector={"a": 1}), r"nodeSelector\.a = 1; expected a text"),
        (a_pod(asks("100x")), "'100x' is no quantity"),
        (a_pod(asks("-1")), "expected no negative amount"),
        (a_pod(asks(ports=[{"hostPort": 70000}])), "hostPort = 70000"),
        (a_pod(asks(image=5)), "image = 5"),
        (spread(maxSkew=0), "maxSkew = 0"),
        (spread(nodeTaintsPolicy="Maybe"), "nodeTaintsPolicy = 'Maybe'; expected Honor or Ignore"),
        (a_pod(tolerations=[{"key": "k", "operator": "Gt", "value": "1"}]), "operator 'Gt'; expected Equal or Exists"),
        (a_pod(affinity={"nodeAffinity": {NODE_AFFINITY: [1]}}), "expected an object"),
        (
            a_pod(
                affinity={
                    "nodeAffinity": {
                        NODE_AFFINITY: {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["4", "5"]}]}
                            ]
                        }
                    }
                }
            ),
            "Gt goes with one whole number",
        ),
        (a_pod(affinity=near(namespaceSelector={"matchLabels": {"team": "x"}})), "namespaceSelector that needs"),
        (a_pod(affinity=near(labelSelector=[])), "labelSelector = "),
    ],
)
def test_what_cannot_be_is_refused_by_name(item: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordingError, match=rf"file\.json: Pod 'p' .*{words}"):
        shape(item)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cpu": "-4"}, "no negative amount"),
        ({"cpu": "1e30"}, "expected at most"),
        ({"cpu": True}, "expected a quantity"),
        ({}, "no status.allocatable"),
    ],
)
def test_impossible_nodes_are_refused(change: dict[str, Any], words: str) -> None:
    item = a_node("a")
    item["status"]["allocatable"] = change
    with pytest.raises(RecordingError, match=f"Node 'a' .*{words}"):
        Reader(Path("f")).node(item)
