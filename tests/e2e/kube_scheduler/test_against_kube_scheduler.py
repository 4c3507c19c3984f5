"""Random clusters, scheduled by the real kube-scheduler and by ours: the same pods bound, rejected and preempted.

What the real one chose among equals is given to ours, so that both go on from the same cluster; that it *was* among
ours is what is tested. So is what is outside of it: when pods came and ended, how long its cycles and its calls to the
API server took. Each scenario has four acts: a burst of pods of all kinds, important pods that need others to
end, pods that go, and nodes that come and change. The queue, its hints and its back-offs decide who is tried again.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mlfn_sim.kernel import Kernel
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.decisions import Decision, Rejection, unschedulable_text
from mlfn_sim.kube.live import LiveCluster
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.preemption import Budget, Victims
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reading import Reader, pairs_selector
from mlfn_sim.kube.reference import ReferenceEngine
from mlfn_sim.kube.scheduler import Call, Cycle, KubeScheduler, SchedulerSettings
from mlfn_sim.streams import Streams

POOL = "mlfn.test/pool"
ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"
NOT_ENDED_US = 10**15
SIZES = [50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 200, 55, 75, 105, 135]


# -- scenarios --


@dataclass(frozen=True)
class Random:
    """Make the objects of one scenario."""

    draw: random.Random
    priorities: Mapping[int, str]
    pool: str
    """The name of the scheduler, of its namespace, and of its nodes' pool."""

    def node(self, name: str) -> dict[str, Any]:
        draw = self.draw
        room = {
            "cpu": draw.choice(["1", "2", "4"]),
            "memory": draw.choice(["2Gi", "4Gi", "8Gi"]),
            "pods": draw.choice(["3", "5", "110"]),
        }
        if draw.random() < 0.3:
            room["example.com/gpu"] = draw.choice(["1", "2"])
        taints = [{"key": POOL, "value": self.pool, "effect": "NoSchedule"}]
        if draw.random() < 0.2:
            taints.append({"key": "slow", "value": "yes", "effect": draw.choice(["NoSchedule", "PreferNoSchedule"])})
        labels = {HOST: name, POOL: self.pool, "disk": draw.choice(["ssd", "hdd"])}
        if draw.random() < 0.9:
            labels[ZONE] = draw.choice("abc")
        images = [
            {"names": [f"e2e.test/{image}:1"], "sizeBytes": size} for image, size in (("a", 4 * 10**8), ("b", 10**8))
        ]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "spec": {"taints": taints},
            "status": {
                "capacity": room,
                "allocatable": room,
                "images": [each for each in images if draw.random() < 0.4],
            },
        }

    def pod(self, name: str, priority: int, **more: Any) -> dict[str, Any]:
        draw = self.draw
        asked = {
            "cpu": draw.choice(["100m", "400m", "900m", "1500m"]),
            "memory": draw.choice(["100Mi", "700Mi", "1500Mi"]),
        }
        if draw.random() < 0.15:
            asked["example.com/gpu"] = "1"
        if draw.random() < 0.1:
            asked = {}
        app = draw.choice(["web", "db", "batch"])
        tolerations = [{"key": POOL, "operator": "Exists"}]
        if draw.random() < 0.5:
            tolerations.append({"key": "slow", "operator": "Exists"})
        spec: dict[str, Any] = {
            "schedulerName": self.pool,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "priorityClassName": self.priorities[priority],
            "nodeSelector": {POOL: self.pool},
            "tolerations": tolerations,
            "containers": [
                {
                    "name": "c",
                    "image": f"e2e.test/{draw.choice('abc')}:1",
                    "resources": {"requests": asked, "limits": {k: v for k, v in asked.items() if "/" in k}},
                }
            ],
        }
        self._affinity(spec, app)
        self._spread(spec, app)
        if draw.random() < 0.08:
            spec["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 8080}]
        spec.update(more)
        # A label of its own tells whose shape the engine is asked about.
        meta = {"name": name, "namespace": self.pool, "labels": {"app": app, "pod": name}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}

    def _affinity(self, spec: dict[str, Any], app: str) -> None:
        draw = self.draw
        affinity: dict[str, Any] = {}
        if draw.random() < 0.3:
            fast = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
            affinity["nodeAffinity"] = {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 30, "preference": fast}]
            }
        key = draw.choice([HOST, ZONE])
        term: dict[str, Any] = {
            "topologyKey": key,
            "labelSelector": {"matchLabels": {"app": draw.choice(["web", "db"])}},
        }
        soft: dict[str, Any] = {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 40, "podAffinityTerm": term}]
        }
        match draw.randrange(8):
            case 0:
                affinity["podAffinity"] = soft
            case 1:
                affinity["podAntiAffinity"] = soft
            case 2:
                own: dict[str, Any] = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": app}}}
                affinity["podAntiAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [own]}
            case 3:
                near: dict[str, Any] = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "web"}}}
                affinity["podAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [near]}
        if affinity:
            spec["affinity"] = affinity

    def _spread(self, spec: dict[str, Any], app: str) -> None:
        if self.draw.random() < 0.25:
            spec["topologySpreadConstraints"] = [
                {
                    "maxSkew": self.draw.choice([1, 2]),
                    "topologyKey": self.draw.choice([HOST, ZONE]),
                    "whenUnsatisfiable": self.draw.choice(["DoNotSchedule", "ScheduleAnyway"]),
                    "labelSelector": {"matchLabels": {"app": app}},
                }
            ]

    def service(self) -> dict[str, Any]:
        spec = {"selector": {"app": "db"}, "ports": [{"port": 80}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": spec}

    def budget(self) -> dict[str, Any]:
        spec = {"minAvailable": 10_000, "selector": {"matchLabels": {"app": "web"}}}
        return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec}


# -- what the real scheduler did --


@dataclass
class Attempt:
    """One scheduling cycle of the real scheduler."""

    pod: str
    began_us: int
    ended_us: int = -1
    calls_us: dict[Call, int] = field(default_factory=dict)
    """When its calls to the API server were answered."""
    totals: dict[str, int] = field(default_factory=dict)
    node: str = ""
    error: str = ""
    nominated: str = ""


def attempts(entries: Sequence[Any]) -> list[Attempt]:
    """Return the cycles of the log, in their order."""
    found: list[Attempt] = []
    for entry in entries:
        match entry.text:
            case "Attempting to schedule pod":
                if found and found[-1].ended_us < 0:
                    found[-1].ended_us = entry.at_us
                found.append(Attempt(entry.pod, entry.at_us))
            case "Update event for unscheduled pod" if found and found[-1].pod == entry.pod:
                found[-1].calls_us.setdefault(Call.STATUS, entry.at_us)
            case "Async Preemption finished completely":
                pod = entry.fields["preemptor"].rpartition("/")[2]
                waits = next(x for x in found if x.pod == pod and x.nominated and Call.EVICT not in x.calls_us)
                waits.calls_us[Call.EVICT] = entry.at_us
            case "Add event for scheduled pod":
                for each in found:
                    if each.pod == entry.pod and each.node:
                        each.calls_us[Call.BIND] = entry.at_us
            case "Calculated node's final score for pod":
                found[-1].totals[entry.fields["node"]] = int(entry.fields["score"])
            case "the target node for the preemption is determined":
                found[-1].nominated = entry.fields["node"]
            case "Unable to schedule pod; no fit; waiting":
                found[-1].error = entry.fields["err"]
            case "Updating pod condition and nominated node name":
                found[-1].ended_us = entry.at_us  # what comes then is a call
            case "Attempting to bind pod to node":
                last = next(each for each in reversed(found) if each.pod == entry.pod)
                last.node = entry.fields["node"]
                if last.ended_us < 0:
                    last.ended_us = entry.at_us
    return found


# -- ours, which is told how equals were chosen among --


class Ours:
    """Simulate the same scheduler on the same objects."""

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        shapes: Mapping[str, PodShape],
        recorded: Sequence[Attempt],
        rules: SchedulerSettings,
    ) -> None:
        self.failed: dict[str, Decision] = {}
        """The last decision of each pod that found no node, and below the totals that pods were placed by."""
        self.totals: dict[str, dict[str, int]] = {}
        self.numbers: dict[str, int] = {}
        self.ends_us: dict[str, int] = {}
        """When the real pods that were deleted were gone."""
        self.problems: list[str] = []
        self._shapes = shapes
        self._queues: dict[str, list[Attempt]] = defaultdict(list)
        for each in recorded:
            self._queues[each.pod].append(each)
        self._tried: Counter[str] = Counter()
        self._picked: dict[str, int] = {}
        self._pod = ""
        self.kernel = Kernel()
        cluster = LiveCluster(nodes, lambda there: _Told(there, self))
        rules = replace(rules, pick=self._pick, grace_us=self._grace_us, cycle_us=self._cycle_us, calls=self._call_us)
        self.scheduler = KubeScheduler(self.kernel, cluster, Streams(0), rules)

    def arrive(self, pod: str) -> None:
        self.numbers[pod] = self.scheduler.arrive(self._shapes[pod])

    def _grace_us(self, number: int) -> int:
        """Let a deleted pod end when kwok let it end."""
        return max(0, self.ends_us.get(self._name(number), NOT_ENDED_US) - self.kernel.now_us)

    def _cycle_us(self, cycle: Cycle) -> int:
        """Let a pod's n-th cycle last as long as its n-th real one."""
        pod = dict(cycle.shape.labels)["pod"]
        self._tried[pod] += 1
        each = self._now(pod)
        return max(0, each.ended_us - each.began_us)

    def _call_us(self, call: Call, number: int) -> int:
        """Let a call take as long as the real one."""
        each = self._now(self._name(number))
        return max(0, each.calls_us.get(call, each.ended_us) - each.ended_us)

    def _name(self, number: int) -> str:
        return next(pod for pod, each in self.numbers.items() if each == number)

    def _now(self, pod: str) -> Attempt:
        """Return the real attempt that goes with our last one of a pod."""
        real = self._queues[pod]
        return real[min(self._tried[pod], len(real)) - 1]

    def asked(self, pod: str) -> None:
        self._pod = pod

    def choose(self, ties: Sequence[int]) -> int:
        chosen = next((each.node for each in self._queues[self._pod] if each.node), "")
        index = self.scheduler.cluster.index(chosen)
        if index is None or index not in ties:
            names = [self.scheduler.cluster.nodes[tie].name for tie in ties]
            self.problems.append(f"{self._pod}: chosen {chosen or 'none'}, our ties {names}")
            return ties[0]
        return index

    def _pick(self, found: Sequence[Victims]) -> Victims:
        names = [self.scheduler.cluster.nodes[each.node].name for each in found]
        # The node that the pod waits for already, once more, or the next that the real one made it wait for.
        real, at = nominations(self._queues[self._pod]), self._picked.get(self._pod, 0)
        for i, chosen in enumerate(real[at : at + 2]):
            if chosen in names:
                self._picked[self._pod] = at + i
                return found[names.index(chosen)]
        self.problems.append(f"{self._pod}: victims on {real[at:] or 'none'}, our candidates {names}")
        return found[0]


def nominations(cycles: Sequence[Attempt]) -> list[str]:
    """Return the nodes that a pod was made to wait for, one after another; the same again counts once."""
    return [name for name, _ in itertools.groupby(each.nominated for each in cycles if each.nominated)]


class _Told(ReferenceEngine):
    """The reference engine, which tells whose turn it is."""

    def __init__(self, nodes: Sequence[NodeSpec], ours: Ours) -> None:
        super().__init__(Catalog(tuple(nodes)), Profile(), ours.choose)
        self._ours = ours

    def decide(self, shape: PodShape, barred: Mapping[int, Rejection] | None = None) -> Decision:
        pod = dict(shape.labels)["pod"]
        self._ours.asked(pod)
        decision = super().decide(shape, barred)
        if decision.chosen < 0:
            self._ours.failed[pod] = decision
        else:
            names = [self.catalog.nodes[index].name for index in decision.feasible]
            self._ours.totals[pod] = dict(zip(names, decision.totals, strict=True))
        return decision


def play(scheduler: Any, make: Random, eventually: Callable[..., Any]) -> None:
    """Play all acts on the real scheduler."""
    cluster, namespace = scheduler.cluster, scheduler.namespace
    scheduler.apply([make.service(), make.budget()])
    levels = make.draw.sample(range(1, 61), 40)
    scheduler.create([make.pod(f"p-{i:03}", level) for i, level in enumerate(levels)])
    before = scheduler.facts["before"] = scheduler.nodes()
    scheduler.start()
    eventually(scheduler.is_quiet(set(scheduler.created)), within_s=60)
    # Large ones, which others have to make room for, and one that may not ask for that.
    large = [make.pod(f"q-{i:03}", 1001 if i == 3 else 1000) for i in range(4)]
    for each in large:
        each["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "3", "memory": "1Gi"}}
    scheduler.create(large)
    eventually(scheduler.is_quiet(set(scheduler.created)), within_s=60)
    there = [
        each["metadata"]["name"] for each in cluster.objects("pods", "-n", namespace) if each["spec"].get("nodeName")
    ]
    gone = scheduler.facts["gone"] = make.draw.sample(sorted(there), min(4, len(there)))
    scheduler.delete(sorted(gone))
    eventually(lambda: set(gone) <= {e.pod for e in scheduler.entries() if e.text == "Delete event for scheduled pod"})
    eventually(scheduler.is_quiet(set(scheduler.created)), within_s=60)
    opened = make.draw.choice([each["metadata"]["name"] for each in before if POOL in each["metadata"]["labels"]])
    taints = next(each["spec"]["taints"] for each in scheduler.nodes() if each["metadata"]["name"] == opened)
    patch = {
        "metadata": {"labels": {"disk": "ssd", ZONE: "b"}},
        "spec": {"taints": [each for each in taints if each["key"] != "slow"]},
    }
    # kwok, too, changes nodes now and then, in what a scheduler does not care for.
    scheduler.facts["opened"], scheduler.facts["updates"] = opened, len(updates(scheduler.entries(), opened))
    cluster.kubectl("patch", "node", opened, "--type=merge", "-p", json.dumps(patch))
    eventually(lambda: len(updates(scheduler.entries(), opened)) > scheduler.facts["updates"])
    eventually(scheduler.is_quiet(set(scheduler.created)), within_s=60)
    scheduler.facts["after"] = next(each for each in scheduler.nodes() if each["metadata"]["name"] == opened)
    scheduler.stop()


def updates(entries: Sequence[Any], node: str) -> list[int]:
    """Return when a node changed."""
    return [x.at_us for x in entries if x.text == "Update event for node" and x.fields["node"] == node]


def replay(scheduler: Any) -> Ours:
    """Run ours: pods arrive, are deleted, end, and nodes change when the log says so; all else is the simulation."""
    namespace, entries, facts = scheduler.namespace, scheduler.entries(), scheduler.facts
    reader = Reader(Path("given.json"), [(namespace, {"app": "db"})])
    shapes = {name: reader.pod(each).shape for name, each in scheduler.created.items()}
    before = [reader.node(each) for each in facts["before"]]
    opened, after = facts["opened"], reader.node(facts["after"])
    rules = SchedulerSettings(budgets=(Budget(namespace, pairs_selector({"app": "web"}), 0),))
    recorded = attempts(entries)
    ours = Ours(before, shapes, recorded, rules)
    begun = recorded[0].began_us
    for entry in entries:
        if not entry.fields.get("pod", "").startswith(f"{namespace}/"):
            continue
        match entry.text:
            case "Add event for unscheduled pod":
                ours.kernel.at(max(begun, entry.at_us), lambda pod=entry.pod: ours.arrive(pod))  # type: ignore[misc]
            case "Delete event for scheduled pod":
                ours.ends_us[entry.pod] = entry.at_us
                if entry.pod in facts["gone"]:
                    ours.kernel.at(entry.at_us, lambda pod=entry.pod: ours.scheduler.delete(ours.numbers[pod]))  # type: ignore[misc]
    ours.kernel.at(updates(entries, opened)[facts["updates"]], lambda: ours.scheduler.change_node(after))
    ours.kernel.run(entries[-1].at_us + 20_000_000)
    return ours


def words(decision: Decision, nodes: int) -> str:
    """Return our text as later patch releases put it: they no longer name the taint (1.34.1 does, 1.34.4 does not)."""
    reasons: Counter[str] = Counter()
    for reason, count in decision.reasons.items():
        tainted = reason.startswith("node(s) had untolerated taint {")
        reasons["node(s) had untolerated taint(s)" if tainted else reason] += count
    return unschedulable_text(replace(decision, reasons=reasons), nodes)


@pytest.mark.parametrize("number", range(len(SIZES)))
def test_ours_does_what_the_real_one_does(
    number: int, real: Any, priorities: dict[int, str], eventually: Callable[..., Any]
) -> None:
    make = Random(random.Random(number), priorities, real.namespace)
    real.apply([make.node(f"{real.namespace}-{i:03}") for i in range(SIZES[number])])
    eventually(lambda: not real.unready_nodes(), within_s=180)
    play(real, make, eventually)
    compare(real)


def compare(scheduler: Any) -> None:
    """See that ours, given what the real one was, did the same."""
    ours = replay(scheduler)
    recorded = attempts(scheduler.entries())
    outcome = ours.scheduler.outcome()
    names = {number: pod for pod, number in ours.numbers.items()}
    assert ours.problems == []
    # The same pods are bound, in the same order, from the same totals; and the others are not, for the same reasons.
    theirs_bound = [(each.pod, each.node) for each in recorded if each.node]
    cycles = zip(outcome.cycle_pod, outcome.cycle_node, strict=True)
    assert [(names[pod], outcome.nodes[node]) for pod, node in cycles if node >= 0] == theirs_bound
    for each in recorded:
        if each.node and each.totals:
            assert ours.totals[each.pod] == each.totals, each.pod
    errors = {each.pod: each.error for each in recorded if each.error}
    bound = {pod for pod, _ in theirs_bound}
    for pod in set(scheduler.created) - bound:
        assert errors[pod].startswith(words(ours.failed[pod], len(ours.scheduler.cluster.nodes))), pod
    # The same victims, for the same pods.
    ended = {
        e.pod for e in scheduler.entries() if e.text == "Delete event for scheduled pod" and e.pod in names.values()
    }
    assert {names[i] for i in range(len(names)) if outcome.ended_us[i] >= 0} == ended
    for pod, number in ours.numbers.items():
        nominated = outcome.cycle_nominated[outcome.cycle_pod == number]
        ours_of_pod = [outcome.nodes[node] for node, _ in itertools.groupby(nominated[nominated >= 0].tolist())]
        assert ours_of_pod == nominations([each for each in recorded if each.pod == pod]), pod
