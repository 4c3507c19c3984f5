"""kube-scheduler as events of the kernel: one cycle after another, bindings beside them.

A cycle pops a pod, decides on the cluster as it is at that moment, and lasts as long as the service-time model says.
At its end the node is assumed (the pod holds it), and the binding is under way; or victims are told to end, and the pod
goes back into the queue. Which node is chosen is the engine's matter, which pod is next the queue's.
Source: kubernetes v1.34, ``pkg/scheduler/schedule_one.go`` and ``eventhandlers.go``.

Simplified: the pods of a node that is removed end at once (there is no pod garbage collector), and a deleted pod ends
after its grace time whatever the kubelet does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial

from mlfn_policies.kube_queue import LEFTOVER_CHECK_US, next_flush_us
from mlfn_sim.kernel import Kernel, Priority
from mlfn_sim.kube.calls import Api, ApiSettings
from mlfn_sim.kube.decisions import Decision, Rejection
from mlfn_sim.kube.hints import (
    HappenedEvent,
    NodeAdded,
    NodeChanged,
    NodeRemoved,
    NominationGone,
    PodAdded,
    PodRemoved,
    is_worth,
)
from mlfn_sim.kube.journal import NEVER, Journal, Outcome
from mlfn_sim.kube.live import LiveCluster
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.preemption import (
    CURABLE,
    Budget,
    Candidates,
    Resident,
    Victims,
    best,
    candidates,
    rejection_with_nominated,
)
from mlfn_sim.kube.queue import Place, QueuedPod, QueueSettings, SchedulingQueue
from mlfn_sim.streams import Streams

__all__ = ["Call", "Cycle", "KubeScheduler", "SchedulerSettings"]


@dataclass(frozen=True, slots=True)
class Cycle:
    """Tell what a scheduling cycle did; what its length is worked out from."""

    shape: PodShape
    decision: Decision
    nodes: int
    candidates: int
    """Nodes on which preemption was tried out."""
    pods: int = 0
    """On nodes, and below those of them that weigh others."""
    weighing: int = 0


class Call(StrEnum):
    """What the scheduler asks the API server for."""

    BIND = "bind"
    STATUS = "status"
    """To note why a pod has no node, and which one it waits for."""
    EVICT = "evict"
    """To mark a victim and to delete it: two calls."""


def _no_time(_: object) -> int:
    return 0


def _first(found: Sequence[Victims]) -> Victims:
    return found[0]


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Say how a scheduler works beside its decisions."""

    queue: QueueSettings = field(default_factory=QueueSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    cycle_us: Callable[[Cycle], int] = _no_time
    """How long a cycle takes."""
    grace_us: int | Callable[[int], int] = 0
    """How long a deleted pod goes on to hold its node: all the same, or worked out for the pod of a number."""
    budgets: tuple[Budget, ...] = ()
    pick: Callable[[Sequence[Victims]], Victims] = _first
    """Takes one of the candidates for preemption that hurt equally little."""
    calls: Callable[[Call, int], int] | None = None
    """How long a call for the pod of a number takes; None = as ``api`` says."""
    reports_failures: bool = True
    """A pod without a node is told so through the API, before the next cycle, when the reason is new."""


@dataclass(slots=True)
class _Held:
    """Hold a pod's state beside the queue's."""

    queued: QueuedPod
    node: str = ""
    """Where it is assumed or bound."""
    bound: bool = False
    deleted: bool = False
    nominated: str = ""
    """The node that is kept free for it."""
    announced: str = ""
    """The same as the API server was told it."""
    told: tuple[tuple[str, int], ...] = ()
    """The reasons that the API server was told last."""


@dataclass(slots=True)
class _Plan:
    """Hold what a cycle will do at its end."""

    held: _Held
    decision: Decision
    node: str = ""
    victims: Victims | None = None
    on: str = ""
    """The node of the victims."""
    tried: int = 0
    keeps_nomination: bool = False
    began_us: int = field(default=0)


class KubeScheduler:
    """Schedule pods on a live cluster, in simulated time."""

    def __init__(
        self, kernel: Kernel, cluster: LiveCluster, streams: Streams, settings: SchedulerSettings | None = None
    ) -> None:
        self.settings = settings or SchedulerSettings()
        self.cluster = cluster
        worth = partial(is_worth, added_terms=cluster.engine.catalog.added_terms)
        self.queue = SchedulingQueue(self.settings.queue, worth)
        self._kernel = kernel
        self._api = Api(self.settings.api, streams)
        self._preemption = streams.stream("preemption")
        self._journal = Journal()
        self._pods: list[_Held] = []
        self._nominated: dict[str, dict[int, None]] = {}
        self._busy = False
        self._flushes = False
        self._checks = False
        self._born_us = kernel.now_us

    # -- what happens to the cluster --

    def arrive(self, shape: PodShape, *, gated: bool = False) -> int:
        """Take in a pod that was created now, and return its number."""
        now_us = self._kernel.now_us
        number = self._journal.arrive(now_us)
        self._pods.append(_Held(self.queue.add(number, shape, now_us, gated=gated)))
        self._wake()
        return number

    def arrive_bound(self, shape: PodShape, node: str) -> int:
        """Take in a pod that was created on a node, and return its number."""
        now_us = self._kernel.now_us
        number = self._journal.arrive(now_us)
        self._pods.append(_Held(QueuedPod(number, shape, now_us), node, bound=True))
        self.cluster.place(Resident(number, shape, now_us), node)
        self._journal.put(number, bound_us=now_us, node=self._number(node))
        self._tell(PodAdded(shape))
        return number

    def ungate(self, pod: int) -> None:
        """Remove the scheduling gates of a pod."""
        self.queue.ungate(self._pods[pod].queued, self._kernel.now_us)
        self._wake()

    def delete(self, pod: int) -> None:
        """Delete a pod: a waiting one is gone at once, a bound one after its grace time."""
        held = self._pods[pod]
        if held.deleted:
            return
        held.deleted = True
        if held.queued.place not in (Place.GONE, Place.IN_FLIGHT):
            self.queue.remove(held.queued)
            self._denominate(pod)
            self._journal.put(pod, ended_us=self._kernel.now_us)
            self._announce(held, "")
        if held.node:
            self.cluster.note(replace(self.cluster.resident(pod, held.node), terminating=True), held.node)
            grace = self.settings.grace_us
            grace_us = grace if isinstance(grace, int) else grace(pod)
            self._kernel.after(grace_us, lambda: self._end(pod), Priority.CLUSTER)

    def add_node(self, node: NodeSpec) -> None:
        """Add a node."""
        self.cluster.add(node)
        self._tell(NodeAdded(node))

    def remove_node(self, name: str) -> None:
        """Remove a node; its pods end."""
        node, gone = self.cluster.drop(name)
        self._tell(NodeRemoved(node))
        for resident in gone:
            held = self._pods[resident.pod]
            held.node, held.deleted = "", held.bound or held.deleted
            if held.deleted:
                self._journal.put(resident.pod, ended_us=self._kernel.now_us)
            self._tell(PodRemoved(resident.shape))

    def change_node(self, node: NodeSpec) -> None:
        """Give a node other resources, labels or taints, or cordon it."""
        self._tell(NodeChanged(self.cluster.change(node), node))

    def outcome(self) -> Outcome:
        """Return what has happened so far."""
        return self._journal.outcome(self.cluster.names)

    # -- the cycle --

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            self._kernel.after(0, self._cycle, Priority.DECISION)
        if not self._flushes and self.queue.has_flushable():
            self._flushes = True
            self._kernel.at(next_flush_us(self._kernel.now_us, self.settings.queue.window_us), self._flush)
        if not self._checks and self.queue.has_unschedulable():
            self._checks = True
            past_us = (self._kernel.now_us - self._born_us) % LEFTOVER_CHECK_US
            self._kernel.after(LEFTOVER_CHECK_US - past_us, self._check_leftover)

    def _cycle(self) -> None:
        queued = self.queue.pop()
        while queued is not None and self._pods[queued.pod].deleted:
            self._forget(queued)
            queued = self.queue.pop()
        if queued is None:
            self._busy = False
            return
        plan = self._decide(self._pods[queued.pod])
        plan.began_us = self._kernel.now_us
        nominated = self._number(plan.on) if plan.on else NEVER
        self._journal.cycle(queued.pod, plan.began_us, self._number(plan.node) if plan.node else NEVER, nominated)
        there = self.cluster
        cycle = Cycle(queued.shape, plan.decision, len(there.nodes), plan.tried, there.pods, there.weighing)
        took_us = self.settings.cycle_us(cycle)
        self._kernel.after(took_us, lambda: self._finish(plan))

    def _decide(self, held: _Held) -> _Plan:
        engine, shape = self.cluster.engine, held.queued.shape
        nominated = self.cluster.index(held.nominated)
        refused = None
        if nominated is not None:
            refused = rejection_with_nominated(engine, shape, nominated, self._waiting_for(held.nominated, held))
            if refused is None:
                # The node that was made free for it is taken without looking at others, and moves no start.
                decision = Decision(nominated, (nominated,), 1, ties=(nominated,))
                return _Plan(held, decision, held.nominated)
        decision = engine.decide(shape, self._barred(held))
        if refused is not None and nominated not in decision.rejected and nominated not in decision.feasible:
            engine.start = (engine.start + 1) % len(self.cluster.nodes)
        if decision.chosen >= 0:
            return _Plan(held, decision, self.cluster.nodes[decision.chosen].name)
        return self._preempt(held, decision, refused)

    def _barred(self, held: _Held) -> dict[int, Rejection]:
        """Return the nodes that pods which wait for them keep for themselves."""
        found = {}
        for name in self._nominated:
            index = self.cluster.index(name)
            there = self._waiting_for(name, held)
            if index is not None and there:
                why = rejection_with_nominated(self.cluster.engine, held.queued.shape, index, there)
                if why is not None:
                    found[index] = why
        return found

    def _waiting_for(self, name: str, held: _Held) -> list[PodShape]:
        """Return the other pods that wait for a node and come before this one."""
        return [
            self._pods[pod].queued.shape
            for pod in self._nominated.get(name, ())
            if pod != held.queued.pod and self._pods[pod].queued.shape.priority >= held.queued.shape.priority
        ]

    def _preempt(self, held: _Held, decision: Decision, refused: Rejection | None) -> _Plan:
        plan = _Plan(held, decision)
        shape = held.queued.shape
        if not shape.preempts:
            plan.keeps_nomination = True
            return plan
        if held.nominated and (refused is None or refused.curable) and self._ends_for(held):
            plan.keeps_nomination = True  # its victims are ending: no more of them
            return plan
        search = self._search(held, decision)
        found = candidates(self.cluster.engine, shape, search)
        plan.tried = len(search.nodes)
        least = best(found)
        if least:
            plan.victims = self.settings.pick(least)
            plan.on = self.cluster.nodes[plan.victims.node].name
        return plan

    def _ends_for(self, held: _Held) -> bool:
        return any(
            each.terminating and each.shape.priority < held.queued.shape.priority
            for each in self.cluster.residents(held.nominated)
            if self._journal.get("preempted_by", each.pod) != NEVER
        )

    def _search(self, held: _Held, decision: Decision) -> Candidates:
        engine, shape, nodes = self.cluster.engine, held.queued.shape, self.cluster.nodes
        waiting = {
            index: there
            for name in self._nominated
            if (index := self.cluster.index(name)) is not None and (there := self._waiting_for(name, held))
        }
        curable = []
        for index in engine.catalog.order.tolist():
            if decision.rejected.get(index) not in CURABLE:
                continue
            why = rejection_with_nominated(engine, shape, index, waiting.get(index, ()))
            if why is not None and why.curable:
                curable.append(index)
        return Candidates(
            nodes=curable,
            residents={index: self.cluster.residents(nodes[index].name) for index in curable},
            budgets=self.settings.budgets,
            nominated=waiting,
            draw=float(self._preemption.random()) if curable else 0.0,
        )

    # -- the end of a cycle --

    def _finish(self, plan: _Plan) -> None:
        queued = plan.held.queued
        pause_us = 0
        if plan.held.deleted:
            self._forget(queued)
        elif plan.node:
            self._assume(plan)
        else:
            pause_us = self._fail(plan)
        self._kernel.after(pause_us, self._cycle, Priority.DECISION)
        self._wake()

    def _assume(self, plan: _Plan) -> None:
        held, now_us = plan.held, self._kernel.now_us
        pod = held.queued.pod
        if self.cluster.index(plan.node) is None:
            self.queue.give_back(held.queued, (), now_us)  # the node went while the cycle lasted
            return
        self._denominate(pod)
        held.node = plan.node
        self.cluster.place(Resident(pod, held.queued.shape, now_us), plan.node)
        self._journal.put(pod, assumed_us=now_us)
        self._kernel.after(self._call_us(Call.BIND, pod), lambda: self._bind(held))

    def _call_us(self, call: Call, pod: int) -> int:
        """Return how long a call that begins now takes."""
        if self.settings.calls is not None:
            return self.settings.calls(call, pod)
        first_us = self._api.call_us(self._kernel.now_us)
        return first_us + self._api.call_us(self._kernel.now_us + first_us) if call is Call.EVICT else first_us

    def _bind(self, held: _Held) -> None:
        pod, now_us = held.queued.pod, self._kernel.now_us
        name, shape = held.node, held.queued.shape
        if held.deleted and not name:
            self._forget(held.queued)
            return
        if not name or self._api.binding_fails():
            if name:
                held.node = ""
                self.cluster.remove(pod, name)
                self._tell(PodRemoved(shape))
            self.queue.give_back(held.queued, (), now_us)
            self._wake()
            return
        held.bound = True
        self.queue.done(held.queued)
        self.cluster.note(replace(self.cluster.resident(pod, name), started_us=now_us), name)
        self._journal.put(pod, bound_us=now_us, node=self._number(name))
        self._tell(PodAdded(shape))
        self._announce(held, "")

    def _fail(self, plan: _Plan) -> int:
        """Put a pod back into the queue, and return how long the scheduler is busy telling so."""
        held, now_us = plan.held, self._kernel.now_us
        queued = held.queued
        if plan.victims is not None:
            queued.gated = True  # until its victims are told to end
        # An empty cluster is an error to the scheduler, not a rejection by a filter.
        self.queue.give_back(queued, set(plan.decision.rejected.values()), now_us)
        if plan.victims is not None:
            self._nominate(held, plan.on)
            self._kernel.after(self._call_us(Call.EVICT, queued.pod), lambda: self._evict(plan))
        elif not plan.keeps_nomination:
            self._denominate(queued.pod)
        told = tuple(sorted(plan.decision.reasons.items()))
        if not self.settings.reports_failures:
            self._announce(held, held.nominated)
            return 0
        if told == held.told and held.announced == held.nominated:
            return 0
        held.told = told
        took_us = self._call_us(Call.STATUS, queued.pod)
        node = held.nominated
        self._kernel.after(took_us, lambda: self._announce(held, node))
        return took_us

    def _announce(self, held: _Held, node: str) -> None:
        """Make public which node a pod waits for; those that the earlier one was kept from may be tried again."""
        before, held.announced = held.announced, node
        if before not in ("", node):
            self._tell(NominationGone(held.queued.shape), held.queued.pod)

    def _evict(self, plan: _Plan) -> None:
        assert plan.victims is not None
        preemptor = plan.held.queued
        for pod in tuple(self._nominated.get(plan.on, ())):
            if self._pods[pod].queued.shape.priority < preemptor.shape.priority:
                self._denominate(pod)
                self._announce(self._pods[pod], "")
        preemptor.gated = False
        for victim in plan.victims.pods:
            if not self._pods[victim.pod].deleted:
                self._journal.put(victim.pod, preempted_by=preemptor.pod)
                self.delete(victim.pod)

    def _end(self, pod: int) -> None:
        held = self._pods[pod]
        name, held.node = held.node, ""
        resident = self.cluster.remove(pod, name) if name else None
        if resident is not None:
            self._journal.put(pod, ended_us=self._kernel.now_us)
            self._tell(PodRemoved(resident.shape))

    # -- the queue's clock --

    def _tell(self, event: HappenedEvent, pod: int = NEVER) -> None:
        self.queue.happened(event, self._kernel.now_us, pod)
        self._wake()

    def _flush(self) -> None:
        self._flushes = False
        self.queue.flush_backoff(self._kernel.now_us)
        self._wake()

    def _check_leftover(self) -> None:
        self._checks = False
        self.queue.flush_leftover(self._kernel.now_us)
        self._wake()

    # -- small things --

    def _forget(self, queued: QueuedPod) -> None:
        """Let go of a pod that was deleted while it was in a cycle."""
        self.queue.done(queued)
        self._denominate(queued.pod)
        self._announce(self._pods[queued.pod], "")
        if self._journal.get("ended_us", queued.pod) == NEVER:
            self._journal.put(queued.pod, ended_us=self._kernel.now_us)

    def _number(self, name: str) -> int:
        index = self.cluster.index(name)
        return self.cluster.number(index) if index is not None else NEVER

    def _nominate(self, held: _Held, node: str) -> None:
        self._denominate(held.queued.pod)
        held.nominated = node
        self._nominated.setdefault(node, {})[held.queued.pod] = None

    def _denominate(self, pod: int) -> None:
        held = self._pods[pod]
        if held.nominated:
            waiting = self._nominated[held.nominated]
            waiting.pop(pod, None)
            if not waiting:
                del self._nominated[held.nominated]
            held.nominated = ""
