"""Turn a scenario into what the scheduler works on: nodes, pods that are there, shapes of pods that come, a profile.

Files are looked for beside the scenario. What a file holds is refused as its own reader words it; what does not fit the
scenario is told at the scenario's line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlfn_sim.cluster.files import SUFFIXES, read_cluster
from mlfn_sim.cluster.generators import generate
from mlfn_sim.cluster.importing import import_recording
from mlfn_sim.cluster.model import GPU, Bound, ClusterSnapshot
from mlfn_sim.errors import RecordingError, UnknownPolicy
from mlfn_sim.experiments.problems import Problem
from mlfn_sim.experiments.reading import refuse_at
from mlfn_sim.experiments.scenario import Cluster, Function, Scenario
from mlfn_sim.kube.configuration import read_profile
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.profile import Profile, Strategy
from mlfn_sim.kube.reading import Reader
from mlfn_sim.placement.names import policy_named
from mlfn_sim.streams import Streams

__all__ = ["KUBE_POLICIES", "Kind", "World", "make_world"]

KUBE_POLICIES = ("kube-default", "most-allocated", "requested-to-capacity")
"""Those that the exact engine of kube-scheduler decides by itself."""
_MIB = 1 << 20
_STRATEGIES = {
    "most-allocated": Strategy("MostAllocated"),
    "requested-to-capacity": Strategy("RequestedToCapacityRatio", utilizations=(0, 100), scores=(0, 100)),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """Hold one function: the shape of its pods, and its share of those that come."""

    name: str
    shape: PodShape
    share: float


@dataclass(frozen=True, slots=True)
class World:
    """Hold what one seed of a scenario starts from."""

    nodes: tuple[NodeSpec, ...]
    more: tuple[NodeSpec, ...]
    """Nodes that events add, in their order."""
    bound: tuple[Bound, ...]
    kinds: tuple[Kind, ...]
    given: npt.NDArray[np.int64]
    """With pods from a file: the kind of each, in their order; else empty."""
    trace: Path | None
    """The file that says when pods come, where there is one."""
    profile: Profile


@dataclass(frozen=True, slots=True)
class Source:
    """Say where a scenario comes from."""

    path: Path = Path("scenario")

    def beside(self, name: str) -> Path:
        """Return the path of a file that the scenario names."""
        return self.path.parent / name


def make_world(scenario: Scenario, source: Path, seed: int) -> World:
    """Return the world of a seed. Raises ScenarioError, and RecordingError for the files that it names."""
    streams, at = Streams(seed), Source(source)
    snapshot, more = _cluster(scenario.cluster, at, streams)
    kinds, given = _from_file(scenario, at) if scenario.workload.pods.file else (_kinds(scenario, at), np.zeros(0, int))
    images = {each.image: each for each in scenario.workload.functions if each.image and each.image_on}
    nodes = _with_images((*snapshot.nodes, *more), list(images.values()), streams)
    count = len(snapshot.nodes)
    trace = at.beside(scenario.workload.pods.trace) if scenario.workload.pods.trace else None
    return World(nodes[:count], nodes[count:], snapshot.bound, kinds, given, trace, _profile(scenario, at))


def _cluster(cluster: Cluster, at: Source, streams: Streams) -> tuple[ClusterSnapshot, tuple[NodeSpec, ...]]:
    if cluster.generate is None:
        snapshot = _read(at.beside(cluster.file))
        for i, event in enumerate(cluster.events):
            unknown = sorted(set(event.names) - {node.name for node in snapshot.nodes})
            if unknown:
                text = f"names {unknown[0]!r}, which {cluster.file} does not have"
                refuse_at(at.path, Problem(("cluster", "events", i, "names"), text))
        return snapshot, ()
    more = sum(event.nodes for event in cluster.events if event.what == "add")
    made = generate(cluster.generate.shape, cluster.generate.nodes + more, streams).nodes
    first = made[: cluster.generate.nodes]
    return ClusterSnapshot(first), made[cluster.generate.nodes :]


def _read(path: Path) -> ClusterSnapshot:
    snapshot = read_cluster(path) if path.suffix in SUFFIXES else import_recording(path)
    if not snapshot.nodes:
        raise RecordingError(f"{path}: has no nodes; expected at least one")
    return snapshot


def _kinds(scenario: Scenario, at: Source) -> tuple[Kind, ...]:
    kinds: list[Kind] = []
    for i, function in enumerate(scenario.workload.functions):
        for k in range(function.copies):
            name = f"{function.name}-{k}" if function.copies > 1 else function.name
            try:
                shape = _shape(function, name)
            except RecordingError as error:
                told = str(error).partition(": ")[2]
                refuse_at(at.path, Problem(("workload", "functions", i), f"cannot be used: {told}"))
            weight = function.share / (len(kinds) + 1) ** scenario.workload.zipf
            kinds.append(Kind(name, shape, weight))
    total = sum(each.share for each in kinds)
    return tuple(replace(each, share=each.share / total) for each in kinds)


def _shape(function: Function, name: str) -> PodShape:
    requests = {"cpu": function.cpu, "memory": function.memory, **function.resources}
    if function.gpus:
        requests[GPU] = str(function.gpus)
    container: dict[str, Any] = {"name": "function", "resources": {"requests": requests}}
    if function.image:
        container["image"] = function.image
    labels = {**function.labels, "app": name}
    spec = {"containers": [container], "priority": function.priority, **function.constraints}
    services = (("default", {"app": name}),) if function.service else ()
    item = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    return Reader(Path("workload"), services).pod(item).shape


def _from_file(scenario: Scenario, at: Source) -> tuple[tuple[Kind, ...], npt.NDArray[np.int64]]:
    path = at.beside(scenario.workload.pods.file)
    pending = _read(path).pending
    if not pending:
        raise RecordingError(f"{path}: has no pod that waits; expected those that are to come")
    index: dict[PodShape, int] = {}
    names: dict[str, int] = {}
    kinds: list[Kind] = []
    for pod in pending:
        if pod.shape not in index:
            name = dict(pod.shape.labels).get("app") or pod.name
            names[name] = names.get(name, 0) + 1
            index[pod.shape] = len(kinds)
            kinds.append(Kind(name if names[name] == 1 else f"{name}-{names[name]}", pod.shape, 0.0))
    given = np.array([index[pod.shape] for pod in pending], np.int64)
    counts = np.bincount(given, minlength=len(kinds)) / len(given)
    return tuple(replace(kind, share=float(share)) for kind, share in zip(kinds, counts, strict=True)), given


def _with_images(nodes: tuple[NodeSpec, ...], functions: list[Function], streams: Streams) -> tuple[NodeSpec, ...]:
    """Put images onto nodes; each image has a stream of its own, so that another one moves none."""
    has = {each.image: streams.stream(f"image {each.image}").random(len(nodes)) < each.image_on for each in functions}
    if not has:
        return nodes
    made = []
    for i, node in enumerate(nodes):
        own = {_tagged(each.image): each.image_mib * _MIB for each in functions if has[each.image][i]}
        made.append(replace(node, images={**node.images, **own}))
    return tuple(made)


def _tagged(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"


def _profile(scenario: Scenario, at: Source) -> Profile:
    scheduler = scenario.scheduler
    profile = read_profile(at.beside(scheduler.profile), scheduler.profile_name) if scheduler.profile else Profile()
    if scheduler.percentage_of_nodes_to_score is not None:
        profile = replace(profile, percentage=scheduler.percentage_of_nodes_to_score)
    if scheduler.policy in _STRATEGIES:
        return replace(profile, strategy=_STRATEGIES[scheduler.policy])
    if scheduler.policy not in KUBE_POLICIES:
        try:
            policy_named(scheduler.policy)
        except UnknownPolicy as error:
            refuse_at(at.path, Problem(("scheduler", "policy"), f"cannot be used: {error}"))
    return profile
