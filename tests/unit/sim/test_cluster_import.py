"""A cluster comes out of kubectl's JSON as it was; what cannot be used is refused with file, object and value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlfn_sim.cluster.importing import ClusterFiles, import_cluster, import_recording
from mlfn_sim.cluster.model import ClusterSnapshot, NodeArrays
from mlfn_sim.errors import RecordingError

Json = dict[str, Any]
RECORDINGS = Path(__file__).parents[2] / "data" / "kube_scheduler"


def node(name: str, **allocatable: object) -> Json:
    """Return a node as kubectl prints it."""
    labels = {"topology.kubernetes.io/zone": "a", "mlfn.dev/location": "48.21_16.37"}
    amounts = {"cpu": "4", "memory": "32Gi", "pods": "110", **allocatable}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"allocatable": amounts}}


def pod(name: str, on: str = "", **more: Any) -> Json:
    """Return a pod as kubectl prints it."""
    container = {"name": "c", "resources": {"requests": {"cpu": "250m", **more.pop("requests", {})}}}
    spec: Json = {"containers": [container], **({"nodeName": on} if on else {})}
    meta = {"name": name, "namespace": "shop", "labels": {"app": "web"}, **more.pop("metadata", {})}
    return {"kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": "Running"}, **more}


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., ClusterSnapshot]:
    """Return a function that imports lists of objects, written as kubectl does."""

    def lists(nodes: list[Json], pods: list[Json] | None = None, **more: list[Json]) -> ClusterSnapshot:
        files = {}
        for name, items in {"nodes": nodes, "pods": pods or [], **more}.items():
            files[name] = tmp_path / f"{name}.json"
            files[name].write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        owners = (files["owners"],) if "owners" in files else ()
        return import_cluster(ClusterFiles(files["nodes"], files["pods"], files.get("services"), owners))

    return lists


def test_pods_are_sorted_by_where_they_are(take: Any) -> None:
    ended = pod("old", "n0", status={"phase": "Succeeded"})
    snapshot = take([node("n0"), node("n1")], [pod("here", "n1"), pod("new"), ended])
    assert [(each.pod.name, each.node) for each in snapshot.bound] == [("here", 1)]
    assert [each.name for each in snapshot.pending] == ["new"]
    arrays = NodeArrays.of(snapshot)
    assert arrays.used[:, 1].tolist() == [250, 0]
    assert arrays.assumed[:, 1].tolist() == [250, 200 * 1024**2]
    assert arrays.pods.tolist() == [0, 1]
    assert arrays.zones == ("a",)
    assert arrays.location[0].tolist() == [48.21, 16.37]


def test_gpus_are_held_one_by_one(take: Any) -> None:
    notes = {"annotations": {"alibabacloud.com/gpu-index": "1", "alibabacloud.com/gpu-milli": "300"}}
    pods = [pod("share", "n0", metadata=notes), pod("whole", "n0", requests={"nvidia.com/gpu": "2"})]
    snapshot = take([node("n0", **{"nvidia.com/gpu": "4"}), node("n1")], pods)
    assert NodeArrays.of(snapshot).gpu_free.tolist() == [[0, 700, 0, 1000], [-1, -1, -1, -1]]


def test_the_default_spread_counts_services_and_controllers(take: Any) -> None:
    service = {
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}},
    }
    labels = {"matchExpressions": [{"key": "pod-template-hash", "operator": "In", "values": ["x"]}]}
    owner = {"kind": "ReplicaSet", "metadata": {"name": "rs", "namespace": "shop"}, "spec": {"selector": labels}}
    owned = {"ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "controller": True}]}
    snapshot = take([node("n0")], [pod("a", metadata=owned), pod("b")], services=[service], owners=[owner])
    first, second = (each.shape.owned_by for each in snapshot.pending)
    assert [each.key for each in first.requirements] == ["app", "pod-template-hash"]
    assert [each.key for each in second.requirements] == ["app"]
    assert take([node("n0")], [pod("a", metadata=owned)]).pending[0].shape.owned_by is None


def test_a_recording_is_a_cluster_too() -> None:
    snapshot = import_recording(RECORDINGS / "r5_default_spread.json.gz")
    assert len(snapshot.nodes) > 1
    assert snapshot.pending
    assert np.all(NodeArrays.of(snapshot).pods >= 0)


@pytest.mark.parametrize(
    ("nodes", "pods", "words"),
    [
        ([node("n"), node("n")], [], r"nodes.json: Node 'n' is there twice"),
        ([node("n", cpu="-4")], [], r"nodes.json: Node 'n' has status.allocatable.cpu = '-4'; expected no negative"),
        ([node("n", cpu="4 cores")], [], r"nodes.json: Node 'n' .*allocatable.cpu = '4 cores' is no quantity"),
        ([{**node("n"), "status": {}}], [], r"Node 'n' has no status.allocatable"),
        ([{**node("n"), "status": {"allocatable": {"cpu": "1"}}}], [], r"Node 'n' has no status.allocatable.memory"),
        ([], [], r"nodes.json: has no nodes"),
        ([pod("p")], [], r"nodes.json: item 0 is 'Pod'; expected a Node"),
        ([7], [], r"nodes.json: item 0 is '7'|nodes.json: item 0 is 7"),
        ([node("n")], [pod("p", "gone")], r"pods.json: Pod 'p' is on the node 'gone'"),
        ([node("n")], [pod("p"), pod("p")], r"pods.json: Pod 'p' is there twice"),
        ([node("n")], [pod("p", requests={"cpu": "1,5"})], r"pods.json: Pod 'p' .*cpu = '1,5' is no quantity"),
        ([node("n")], [{**pod("p"), "spec": {}}], r"pods.json: Pod 'p' has no containers"),
        ([node("n")], [node("n")], r"pods.json: item 0 is 'Node'; expected a Pod"),
        (
            [node("n")],
            [pod("p", "n", metadata={"annotations": {"alibabacloud.com/gpu-index": "3"}})],
            r"Pod 'p' holds 1000 thousandths of the GPUs \[3\]; its node has 0",
        ),
    ],
)
def test_what_cannot_be_used_is_named(take: Any, nodes: list[Json], pods: list[Json], words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        take(nodes, pods)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"kind": "List", "items": [{"kind": "No', "not valid JSON"),
        ("apiVersion: v1\n", "not valid JSON"),
        ('{"kind": "ConfigMap"}', "is no list of Node objects"),
        ("", "the file is empty; expected JSON"),
    ],
)
def test_truncated_and_foreign_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(text)
    with pytest.raises(RecordingError, match=f"nodes.json: {words}"):
        import_cluster(ClusterFiles(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nodes\.json: cannot be read: No such file"):
        import_cluster(ClusterFiles(tmp_path / "nodes.json"))
