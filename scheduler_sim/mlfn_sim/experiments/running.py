"""Run one seed of a scenario: the scheduler on the kernel, pods that come and go, nodes that fail and come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mlfn_sim.experiments.arrivals import draw_pods
from mlfn_sim.experiments.policy_engine import Choosing, PolicyEngine
from mlfn_sim.experiments.scenario import NodeEvent, Scenario
from mlfn_sim.experiments.trace import FOREVER, Coming
from mlfn_sim.experiments.watching import Decisions, WatchedCluster
from mlfn_sim.experiments.world import KUBE_POLICIES, World, make_world
from mlfn_sim.kernel import SECOND_US, Kernel, Priority
from mlfn_sim.kube.calls import ApiSettings
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.engine import make_engine
from mlfn_sim.kube.live import Engine
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.queue import QueueSettings
from mlfn_sim.kube.scheduler import KubeScheduler, SchedulerSettings
from mlfn_sim.kube.ties import Draws
from mlfn_sim.streams import Streams

__all__ = ["Simulation", "engine_maker"]


def engine_maker(scenario: Scenario, world: World, seed: int) -> Callable[[tuple[NodeSpec, ...]], Engine]:
    """Return what makes the engine of a scenario, again and again as nodes change: draws go on where they were."""
    scheduler = scenario.scheduler
    if scheduler.policy in KUBE_POLICIES:
        draws = Draws(seed) if scheduler.ties == "random" else None
        return lambda nodes: make_engine(scenario.run.engine, Catalog.of(nodes, world.profile), world.profile, draws)
    typical: dict[PodShape, float] = {}
    for kind in world.kinds:
        typical[kind.shape] = typical.get(kind.shape, 0.0) + kind.share
    choosing = Choosing(scheduler.policy, scenario.run.engine, Streams(seed), typical)
    return lambda nodes: PolicyEngine(Catalog.of(nodes, world.profile), world.profile, choosing)


@dataclass(slots=True)
class _Known:
    """Hold what the workload knows of a pod."""

    kind: int
    left_us: int
    """Of its life; FOREVER."""
    bound_us: int = -1


@dataclass
class Simulation:
    """Hold one run. Everything in it happens in simulated time."""

    scenario: Scenario
    source: Path
    seed: int
    world: World = field(init=False)
    kernel: Kernel = field(init=False, default_factory=Kernel)

    def __post_init__(self) -> None:
        """Build the world; nothing has happened yet."""
        scenario, streams = self.scenario, Streams(self.seed)
        self.world = make_world(scenario, self.source, self.seed)
        self.cluster = WatchedCluster(self.world.nodes, engine_maker(scenario, self.world, self.seed))
        for kind in self.world.kinds:
            # Known from the start: a shape that comes later has the engine lay its tables out again.
            self.cluster.engine.catalog.plan(kind.shape)
            self.cluster.engine.catalog.plan(replace(kind.shape, terminating=True))
        self.decisions = Decisions(scenario.scheduler.service_time, lambda: self.cluster.engine)
        self.scheduler = KubeScheduler(self.kernel, self.cluster, streams, self._settings())
        self.pods: list[_Known] = []
        """By the scheduler's numbers; pods of the cluster's file first."""
        self.coming: Coming = draw_pods(scenario, self.world, streams)
        self.came = self.waiting = self.lost_pods = 0
        for bound in self.world.bound:
            self.pods.append(_Known(-1, FOREVER))
            self.scheduler.arrive_bound(bound.pod.shape, self.world.nodes[bound.node].name)
        self.cluster.listener = self
        self._nodes = _NodeEvents(self, streams)
        self._next()

    def _settings(self) -> SchedulerSettings:
        scheduler, profile = self.scenario.scheduler, self.world.profile
        grace_us = round(scheduler.grace_s * SECOND_US)
        api = ApiSettings(
            latency_us=round(scheduler.api.latency_ms * 1000),
            spread=scheduler.api.spread,
            failure_rate=scheduler.api.failure_rate,
            per_second=scheduler.api.client_per_s,
            burst=scheduler.api.client_burst,
        )
        return SchedulerSettings(
            queue=QueueSettings(round(profile.initial_backoff_s * SECOND_US), round(profile.max_backoff_s * SECOND_US)),
            api=api,
            cycle_us=self.decisions.cycle_us,
            grace_us=lambda pod: grace_us,
        )

    @property
    def settled(self) -> bool:
        """Tell whether all pods came and none waits for a node."""
        return self.came == len(self.coming.time_us) and self.waiting == 0

    # -- names --

    def function_of(self, pod: int) -> str:
        """Return the function of a pod; empty for one that was on the cluster before."""
        kind = self.pods[pod].kind
        return self.world.kinds[kind].name if kind >= 0 else ""

    def pod_names(self) -> list[str]:
        """Return the names of all pods so far: FUNCTION-0, FUNCTION-1, … in the order in which they were created."""
        counts: Counter[str] = Counter()
        names = [bound.pod.name for bound in self.world.bound]
        for pod in range(len(names), len(self.pods)):
            function = self.function_of(pod)
            names.append(f"{function}-{counts[function]}")
            counts[function] += 1
        return names

    # -- pods --

    def _next(self) -> None:
        """Plan the arrival of the next pod."""
        if self.came < len(self.coming.time_us):
            self.kernel.at(int(self.coming.time_us[self.came]), self._arrive, Priority.ARRIVAL)

    def _arrive(self) -> None:
        k, self.came = self.came, self.came + 1
        self._create(int(self.coming.kind[k]), int(self.coming.lifetime_us[k]))
        self._next()

    def _create(self, kind: int, left_us: int) -> None:
        self.pods.append(_Known(kind, left_us))
        self.waiting += 1
        self.scheduler.arrive(self.world.kinds[kind].shape)

    def bound(self, pod: int) -> None:
        """Begin the life of a pod that runs now."""
        known = self.pods[pod]
        known.bound_us = self.kernel.now_us
        self.waiting -= 1
        if known.left_us != FOREVER:
            self.kernel.after(known.left_us, partial(self._end, pod), Priority.CLUSTER)

    def _end(self, pod: int) -> None:
        self.cluster.asked_to_end.add(pod)
        self.scheduler.delete(pod)

    def lost(self, pod: int) -> None:
        """Let a pod come again that did not end by itself, for the rest of its life."""
        known = self.pods[pod]
        self.lost_pods += 1
        if known.kind < 0 or not self.scenario.workload.pods.replaced:
            return
        left_us = known.left_us
        if left_us != FOREVER:
            left_us = max(1, left_us - (self.kernel.now_us - known.bound_us))
        self.kernel.after(0, partial(self._create, known.kind, left_us), Priority.ARRIVAL)


class _NodeEvents:
    """Let nodes fail, come back, be added and cordoned."""

    def __init__(self, simulation: Simulation, streams: Streams) -> None:
        self._simulation = simulation
        self._chance = streams.stream("node events")
        self._streams = streams
        self._failed: dict[str, NodeSpec] = {}
        self._more = list(simulation.world.more)
        for event in simulation.scenario.cluster.events:
            self._at(round(event.at_s * SECOND_US), partial(self._happen, event))
        if simulation.scenario.cluster.failures:
            for node in simulation.world.nodes:
                self._plan_failure(node.name)

    def _at(self, time_us: int, action: Callable[[], None]) -> None:
        self._simulation.kernel.at(time_us, action, Priority.CLUSTER)

    def _happen(self, event: NodeEvent) -> None:
        match event.what:
            case "fail":
                for name in self._chosen(event, [node.name for node in self._there()]):
                    self._fail(name)
            case "repair":
                for name in self._chosen(event, list(self._failed)):
                    self._repair(name)
            case "add":
                for node in self._more[: event.nodes]:
                    self._simulation.scheduler.add_node(node)
                del self._more[: event.nodes]
            case _:
                shut = event.what == "cordon"
                names = [node.name for node in self._there() if node.unschedulable != shut]
                for name in self._chosen(event, names):
                    node = next(each for each in self._there() if each.name == name)
                    self._simulation.scheduler.change_node(replace(node, unschedulable=shut))

    def _there(self) -> tuple[NodeSpec, ...]:
        return tuple(self._simulation.cluster.nodes)

    def _chosen(self, event: NodeEvent, names: list[str]) -> list[str]:
        """Return the nodes that are meant, of those for which the event means something."""
        if event.names:
            return [name for name in event.names if name in names]
        if not event.nodes or event.nodes >= len(names):
            return names
        return [names[i] for i in sorted(self._chance.choice(len(names), event.nodes, replace=False).tolist())]

    def _fail(self, name: str) -> None:
        cluster = self._simulation.cluster
        index = cluster.index(name)
        if index is not None:
            self._failed[name] = cluster.nodes[index]
            self._simulation.scheduler.remove_node(name)

    def _repair(self, name: str) -> None:
        node = self._failed.pop(name, None)
        if node is not None:
            self._simulation.scheduler.add_node(node)

    # -- by chance: each node has a stream of its own --

    def _plan_failure(self, name: str) -> None:
        failures = self._simulation.scenario.cluster.failures
        assert failures is not None
        draws = self._streams.stream(f"failures {name}")
        life_us = round(draws.exponential(failures.mean_time_to_failure_s) * SECOND_US)
        repair_us = max(1, round(draws.exponential(failures.mean_repair_s) * SECOND_US))

        def fail() -> None:
            self._fail(name)
            self._simulation.kernel.after(repair_us, back, Priority.CLUSTER)

        def back() -> None:
            self._repair(name)
            self._plan_failure(name)

        self._simulation.kernel.after(life_us, fail, Priority.CLUSTER)
