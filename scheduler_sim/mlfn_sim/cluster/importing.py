"""Read a cluster out of what ``kubectl get … -o json`` wrote.

Pods on nodes are bound, pods without a node wait, pods that ended are passed over. Whatever cannot be used is one
:class:`~mlfn_sim.errors.RecordingError` that names file, object and value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from mlfn_sim.cluster.model import GPU, WHOLE_GPU, Bound, ClusterSnapshot, with_gpus
from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.objects import NodeSpec, Pod, PodShape, Selector
from mlfn_sim.kube.reading import Reader
from mlfn_sim.recordings import read

__all__ = ["ClusterFiles", "import_cluster", "import_recording"]

_NEEDED = ("cpu", "memory", "pods")
_ENDED = ("Succeeded", "Failed")
_OWNERS = ("ReplicaSet", "ReplicationController", "StatefulSet")
_GPU_INDEX, _GPU_SHARE = "alibabacloud.com/gpu-index", "alibabacloud.com/gpu-milli"
"""Annotations by which schedulers that share GPUs note what a pod holds, for instance ``0-1`` and ``500``."""
_Owners = Mapping[tuple[str, str, str], Selector]
"""(kind, namespace, name) -> selector."""


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """Name the files of a cluster: lists as ``kubectl get nodes|pods|services|… -o json`` prints them."""

    nodes: Path
    pods: Path | None = None
    services: Path | None = None
    owners: tuple[Path, ...] = ()
    """ReplicaSets, StatefulSets and ReplicationControllers, whose selectors the default spread counts with."""


def import_cluster(files: ClusterFiles) -> ClusterSnapshot:
    """Return the cluster that the files describe. Raises RecordingError."""
    services = _services(files.services) if files.services else ()
    owners: dict[tuple[str, str, str], Selector] = {}
    for path in files.owners:
        owners.update(_owners(path))
    nodes = _nodes(files.nodes, _listed(files.nodes, ("Node",)))
    items = _listed(files.pods, ("Pod",)) if files.pods else []
    pods = _Pods(files.pods or files.nodes, nodes, services, owners)
    return pods.snapshot(items)


def import_recording(path: Path) -> ClusterSnapshot:
    """Return the cluster of a recording, ``{nodes, services, bound, pods}``: its pods wait. Raises RecordingError."""
    document = read(path).document
    if not isinstance(document, dict) or "nodes" not in document or "pods" not in document:
        raise RecordingError(f"{path}: is no cluster; expected nodes and pods, or a file that mlfn sim import wrote")
    for name in ("nodes", "pods", "bound", "services"):
        if not isinstance(document.get(name, []) or [], list):
            raise RecordingError(f"{path}: has {name} = {document[name]!r:.60}; expected a list")
    services = Reader(path).services(document.get("services") or ())
    pods = _Pods(path, _nodes(path, document["nodes"]), services, {})
    return pods.snapshot([*(document.get("bound") or ()), *document["pods"]])


def _listed(path: Path, kinds: Sequence[str]) -> list[Any]:
    """Return the objects of a List, of one object, or of a plain JSON list; every one of a kind that is expected."""
    document = read(path).document
    wanted = " or ".join(kinds)
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        items: list[Any] = document["items"]
    elif isinstance(document, dict) and document.get("kind") in kinds:
        items = [document]
    elif isinstance(document, list):
        items = document
    else:
        raise RecordingError(f"{path}: is no list of {wanted} objects, as kubectl get -o json prints it")
    for i, item in enumerate(items):
        if not isinstance(item, dict) or item.get("kind", kinds[0]) not in kinds:
            shown = item.get("kind") if isinstance(item, dict) else item
            raise RecordingError(f"{path}: item {i} is {shown!r:.60}; expected a {wanted}")
    return items


def _nodes(path: Path, items: Iterable[Any]) -> tuple[NodeSpec, ...]:
    reader = Reader(path)
    found: dict[str, NodeSpec] = {}
    for item in items:
        node = reader.node(item)
        if node.name in found:
            raise RecordingError(f"{path}: Node {node.name!r} is there twice")
        for name in _NEEDED:
            if name not in node.allocatable:
                raise RecordingError(f"{path}: Node {node.name!r} has no status.allocatable.{name}")
        found[node.name] = node
    if not found:
        raise RecordingError(f"{path}: has no nodes; expected at least one")
    return tuple(found.values())


def _services(path: Path) -> tuple[tuple[str, Mapping[str, str]], ...]:
    return Reader(path).services(_listed(path, ("Service",)))


def _owners(path: Path) -> dict[tuple[str, str, str], Selector]:
    reader = Reader(path)
    found = {}
    for item in _listed(path, _OWNERS):
        name, namespace, selector = reader.owner(item)
        found[str(item.get("kind")), namespace, name] = selector
    return found


class _Pods:
    """Sort pods into bound and pending."""

    def __init__(
        self,
        path: Path,
        nodes: tuple[NodeSpec, ...],
        services: tuple[tuple[str, Mapping[str, str]], ...],
        owners: _Owners,
    ) -> None:
        self._path = path
        self._nodes = nodes
        self._index = {node.name: i for i, node in enumerate(nodes)}
        self._services = services
        self._owners = owners
        self._reader = Reader(path, services)
        self._shapes: dict[PodShape, PodShape] = {}
        self._where = ""

    def snapshot(self, items: Iterable[Any]) -> ClusterSnapshot:
        """Return the cluster with these pods."""
        bound: list[Bound] = []
        pending: list[Pod] = []
        seen: set[tuple[str, str]] = set()
        for item in items:
            pod = self._pod(item)
            key = (pod.shape.namespace, pod.name)
            if key in seen:
                self._fail("is there twice")
            seen.add(key)
            status, spec = item.get("status"), item["spec"]
            if isinstance(status, dict) and status.get("phase") in _ENDED:
                continue
            node = spec.get("nodeName")
            if not node:
                pending.append(pod)
            elif node not in self._index:
                self._fail(f"is on the node {node!r}, which is not among the nodes; fetch nodes and pods once more")
            else:
                bound.append(Bound(pod, self._index[node], self._gpus(item, pod, self._index[node])))
        services = tuple((namespace, tuple(sorted(selector.items()))) for namespace, selector in self._services)
        return ClusterSnapshot(self._nodes, with_gpus(self._nodes, bound), tuple(pending), services)

    def _pod(self, item: Any) -> Pod:
        pod = self._reader.pod(item)
        self._where = f"Pod {pod.name!r}"
        shape = replace(pod.shape, owned_by=self._owned_by(item["metadata"], pod.shape))
        return Pod(pod.name, self._shapes.setdefault(shape, shape))

    def _owned_by(self, meta: Mapping[str, Any], shape: PodShape) -> Selector | None:
        """Return the union of the selectors of its Services and of its controller."""
        for owner in meta.get("ownerReferences") or ():
            if isinstance(owner, dict) and owner.get("controller"):
                known = self._owners.get((str(owner.get("kind")), shape.namespace, str(owner.get("name"))))
                if known is not None:
                    first = shape.owned_by.requirements if shape.owned_by else ()
                    return Selector(tuple(dict.fromkeys((*first, *known.requirements)))) if known.requirements else None
        return shape.owned_by

    def _gpus(self, item: Mapping[str, Any], pod: Pod, node: int) -> tuple[tuple[int, int], ...]:
        notes = item["metadata"].get("annotations")
        if not isinstance(notes, dict) or _GPU_INDEX not in notes:
            return ()
        try:
            share = int(notes.get(_GPU_SHARE, WHOLE_GPU))
            held = tuple(sorted(int(text) for text in str(notes[_GPU_INDEX]).split("-")))
        except ValueError:
            self._fail(f"has {_GPU_INDEX} = {notes[_GPU_INDEX]!r}; expected numbers of GPUs, such as 0-1")
        count = self._nodes[node].allocatable.get(GPU, 0)
        if not 0 < share <= WHOLE_GPU or any(not 0 <= gpu < count for gpu in held):
            self._fail(f"holds {share} thousandths of the GPUs {list(held)}; its node has {count}")
        return tuple((gpu, share) for gpu in held)

    def _fail(self, problem: str) -> NoReturn:
        raise RecordingError(f"{self._path}: {self._where} {problem}")
