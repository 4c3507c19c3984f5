"""The readable engine: one pod, one node after another, in plain Python.

It keeps no more state than the rules name: requests, pods and ports by node, and the counts of the catalog's tallies.
The fast engine is held to it. Nothing here is random but the choice among equals, which is an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mlfn_policies import kube_scores as rules
from mlfn_sim.kube.catalog import CPU, MEMORY, Catalog, ShapePlan, SpreadPlan, TermPlan, Verdict
from mlfn_sim.kube.decisions import Decision, Rejection
from mlfn_sim.kube.engine import Batch, Outcome
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reasons import AFFINITY, ANTI_AFFINITY, KEPT_OUT, SPREAD, TEXT, taint_text

__all__ = ["ReferenceEngine", "first_of"]

_STATIC = {
    Verdict.UNSCHEDULABLE: "NodeUnschedulable",
    Verdict.TAINT: "TaintToleration",
    Verdict.NODE_AFFINITY: "NodeAffinity",
}
_Columns = dict[str, list[int]]


def first_of(ties: Sequence[int]) -> int:
    """Choose the tie that comes first in the order of the nodes' addition, as recorders do."""
    return min(ties)


class ReferenceEngine:
    """Hold the state of a cluster and decide for one pod after another."""

    def __init__(self, catalog: Catalog, profile: Profile, choose: Callable[[Sequence[int]], int] = first_of) -> None:
        self.profile = profile
        self.start = 0
        """Where the next search begins, in the snapshot's order."""
        self._choose = choose
        self._settle(catalog)

    def _settle(self, catalog: Catalog) -> None:
        count = len(catalog.nodes)
        self.catalog = catalog
        self.pods = [0] * count
        self._order: list[int] = catalog.order.tolist()
        self._allowed: list[int] = catalog.allowed_pods.tolist()
        self._position = {node: p for p, node in enumerate(self._order)}
        self._capacity = [row.tolist() for row in catalog.allocatable]
        self._used = [[0] * count for _ in catalog.allocatable]
        self._assumed_cpu = [0] * count
        self._assumed_memory = [0] * count
        self._ports: list[Counter[tuple[str, str, int]]] = [Counter() for _ in range(count)]
        self._shapes: list[Counter[int]] = [Counter() for _ in range(count)]
        """By node: shape -> pods there; what a new tally is counted from."""
        self._counts: list[list[int]] = []
        """By tally, then topology value."""
        self._plans: dict[int, _Lists] = {}

    def decide(self, shape: PodShape, barred: Mapping[int, Rejection] | None = None) -> Decision:
        """Return what the scheduler would do with a pod now; places nothing, but moves the start of the next search.

        ``barred`` nodes are rejected as given: on them, pods that wait for a node of their own count as there.
        """
        plan = self._plan(shape)
        self.start %= max(1, len(self._order))
        found, evaluated, rejected, reasons = self._search(plan, barred or {})
        if self._order:
            self.start = (self.start + evaluated) % len(self._order)
        if not found:
            return Decision(-1, (), evaluated, rejected, reasons)
        scores = self._scores(plan, found)
        totals = [sum(column) for column in zip(*scores.values(), strict=True)] or [0] * len(found)
        best = max(totals)
        ties = tuple(node for node, total in zip(found, totals, strict=True) if total == best)
        chosen = self._choose(sorted(ties, key=self._position.__getitem__))
        return Decision(chosen, tuple(found), evaluated, rejected, reasons, scores, totals, ties)

    def rejection(self, shape: PodShape, node: int) -> Rejection | None:
        """Return why a pod cannot go onto one node now, None when it can."""
        plan = self._plan(shape)
        reasons: Counter[str] = Counter()
        plugin = self._reject(plan, node, [self._floor(spread) for spread in plan.plan.hard_spreads], reasons)
        return Rejection(plugin, tuple(reasons), self._is_curable(plan.plan, node, plugin)) if plugin else None

    def place(self, shape: PodShape, node: int) -> None:
        """Put a pod onto a node, fitting or not."""
        self._change(shape, node, 1)

    def remove(self, shape: PodShape, node: int) -> None:
        """Take a pod off a node."""
        self._change(shape, node, -1)

    def run(self, batch: Batch) -> Outcome:
        """Decide and place one pod after another."""
        placed: list[tuple[PodShape, int]] = []
        columns: list[tuple[int, int, int]] = []
        for step in batch.steps.tolist():
            if step >= 0:
                decision = self.decide(batch.shapes[step])
                placed.append((batch.shapes[step], decision.chosen))
                columns.append((decision.chosen, len(decision.ties), self.start))
                if decision.chosen >= 0:
                    self.place(*placed[-1])
            elif placed[-1 - step][1] >= 0:
                self.remove(*placed[-1 - step])
                placed[-1 - step] = placed[-1 - step][0], -1
        table = np.array(columns, np.int32).reshape(-1, 3)
        return Outcome(table[:, 0], table[:, 1], table[:, 2])

    def change_nodes(self, nodes: tuple[NodeSpec, ...]) -> None:
        """Go on with other nodes: those with known names keep their pods, pods of the others are gone."""
        old, there = self.catalog, dict(zip((node.name for node in self.catalog.nodes), self._shapes, strict=True))
        self._settle(old.with_nodes(nodes))
        for plan in old.plans:
            self.catalog.plan(plan.shape)
        for i, node in enumerate(nodes):
            for s, pods in there.get(node.name, Counter()).items():
                for _ in range(pods):
                    self.place(old.plans[s].shape, i)

    def _change(self, shape: PodShape, node: int, sign: int) -> None:
        plan = self._plan(shape).plan
        for resource, amount in plan.requests:
            self._used[resource][node] += sign * amount
        self._assumed_cpu[node] += sign * shape.assumed_cpu
        self._assumed_memory[node] += sign * shape.assumed_memory
        self.pods[node] += sign
        self._shapes[node][plan.index] += sign
        for port in plan.ports:
            self._ports[node][port] += sign
        for tally, count in plan.changes:
            self._count(tally, node, sign * count)

    def _plan(self, shape: PodShape) -> _Lists:
        plan = self.catalog.plan(shape)
        known = self._plans.get(plan.index)
        if known is None or known.plan is not plan:
            known = self._plans[plan.index] = _Lists(plan)
        for name in range(len(self._used), len(self.catalog.allocatable)):
            self._capacity.append(self.catalog.allocatable[name].tolist())
            self._used.append([0] * len(self._order))
        for tally in range(len(self._counts), len(self.catalog.tallies)):
            self._recount(tally)
        return known

    def _recount(self, tally: int) -> None:
        """Count a new tally's pods among those that are there already."""
        topology = self.catalog.topologies[self.catalog.tallies[tally].topology]
        self._counts.append([0] * len(topology.values))
        matcher = self.catalog.tallies[tally].matcher
        for node, shapes in enumerate(self._shapes):
            for index, pods in shapes.items():
                shape = self.catalog.plans[index].shape
                count = matcher.counts(shape, dict(shape.labels))
                if count and pods:
                    self._count(tally, node, count * pods)

    def _count(self, tally: int, node: int, amount: int) -> None:
        what = self.catalog.tallies[tally]
        value = self.catalog.topologies[what.topology].value[node]
        if value >= 0 and self.catalog.node_sets[what.nodes][node]:
            self._counts[tally][value] += amount

    # -- filters --

    def _is_curable(self, plan: ShapePlan, node: int, plugin: str) -> bool:
        """Tell whether the end of other pods could admit a pod that a filter rejects."""
        match plugin:
            case "NodePorts":
                return True
            case "NodeResourcesFit":
                return all(amount <= self._capacity[resource][node] for resource, amount in plan.requests)
            case "PodTopologySpread":
                # The first constraint that fails tells: a missing label stays missing.
                floors = [self._floor(spread) for spread in plan.hard_spreads]
                return self._spread_text(plan.hard_spreads, floors, node) == SPREAD
            case "InterPodAffinity":
                return not plan.near or self._near_met(plan, node)
            case _:
                return False

    def _search(
        self, plan: _Lists, barred: Mapping[int, Rejection]
    ) -> tuple[list[int], int, dict[int, str], Counter[str]]:
        """Return feasible nodes, how many were looked at, who rejected the others, and why."""
        total = len(self._order)
        wanted = rules.nodes_to_find(total, self.profile.percentage)
        found: list[int] = []
        rejected: dict[int, str] = {}
        reasons: Counter[str] = Counter()
        floors = [self._floor(spread) for spread in plan.plan.hard_spreads]
        for step in range(total):
            node = self._order[(self.start + step) % total]
            if node in barred:
                plugin = barred[node].plugin
                reasons.update(barred[node].reasons)
            else:
                plugin = self._reject(plan, node, floors, reasons)
            if plugin:
                rejected[node] = plugin
            elif len(found) == wanted:
                break  # one more than wanted ends the search and is not kept
            else:
                found.append(node)
        return found, len(found) + len(rejected), rejected, reasons

    def _reject(self, lists: _Lists, node: int, floors: Sequence[int], reasons: Counter[str]) -> str:
        """Return the filter that rejects a node, "" when none does."""
        plan = lists.plan
        verdict = lists.verdict[node]
        if verdict:
            plugin = _STATIC[verdict]
            reasons[TEXT.get(plugin) or taint_text(plan.shape, self.catalog.nodes[node])] += 1
            return plugin
        if plan.ports and self._port_taken(plan, node):
            reasons[TEXT["NodePorts"]] += 1
            return "NodePorts"
        short = self._short_of(plan, node)
        if short:
            reasons.update(short)
            return "NodeResourcesFit"
        if plan.hard_spreads:
            text = self._spread_text(plan.hard_spreads, floors, node)
            if text:
                reasons[text] += 1
                return "PodTopologySpread"
        text = self._affinity_text(plan, node)
        if text:
            reasons[text] += 1
            return "InterPodAffinity"
        return ""

    def _port_taken(self, plan: ShapePlan, node: int) -> bool:
        taken = [port for port, count in self._ports[node].items() if count]
        return any(
            protocol == other_protocol and port == other_port and (host == other or "0.0.0.0" in (host, other))  # noqa: S104
            for host, protocol, port in plan.ports
            for other, other_protocol, other_port in taken
        )

    def _short_of(self, plan: ShapePlan, node: int) -> list[str]:
        short = []
        if self.pods[node] + 1 > self._allowed[node]:
            short.append("Too many pods")
        for resource, amount in plan.requests:
            if amount > self._capacity[resource][node] - self._used[resource][node]:
                short.append(f"Insufficient {self.catalog.resources[resource]}")
        return short

    def _floor(self, spread: SpreadPlan) -> int:
        """Return the least count of a hard constraint over the values of admitted nodes."""
        tally = self.catalog.tallies[spread.tally]
        values = self.catalog.topologies[spread.topology].value[self.catalog.node_sets[tally.nodes]]
        present: set[int] = set(values.tolist()) - {-1}
        if len(present) < spread.min_domains or not present:
            return 0
        return min(self._counts[spread.tally][value] for value in present)

    def _spread_text(self, spreads: Sequence[SpreadPlan], floors: Sequence[int], node: int) -> str:
        for spread, floor in zip(spreads, floors, strict=True):
            value = self._value(spread.topology, node)
            if value < 0:
                return f"{SPREAD} (missing required label)"
            if self._counts[spread.tally][value] + spread.matches_itself - floor > spread.max_skew:
                return SPREAD
        return ""

    def _affinity_text(self, plan: ShapePlan, node: int) -> str:
        if plan.near and not self._near_met(plan, node):
            return AFFINITY
        if any(self._read(rule, node) > 0 for rule in plan.away):
            return ANTI_AFFINITY
        if any(self._read(rule, node) > 0 for rule in plan.kept_out):
            return KEPT_OUT
        return ""

    def _near_met(self, plan: ShapePlan, node: int) -> bool:
        if any(self._value(rule.topology, node) < 0 for rule in plan.near):
            return False
        if all(self._read(rule, node) > 0 for rule in plan.near):
            return True
        nobody = not any(any(self._counts[rule.tally]) for rule in plan.near)
        return nobody and plan.near_itself

    def _value(self, topology: int, node: int) -> int:
        return int(self.catalog.topologies[topology].value[node])

    def _read(self, rule: TermPlan, node: int) -> int:
        value = self._value(rule.topology, node)
        return self._counts[rule.tally][value] if value >= 0 else 0

    # -- scores --

    def _scores(self, lists: _Lists, found: list[int]) -> _Columns:
        plan = lists.plan
        taints = [lists.taint_raw[node] for node in found]
        most = max(taints)
        columns: _Columns = {
            "ImageLocality": [lists.image[node] for node in found],
            "TaintToleration": [rules.reversed_normalised(raw, most) for raw in taints],
            "NodeResourcesFit": [self._fit_score(plan, node) for node in found],
        }
        if any(self.catalog.resources[resource] in self.profile.balanced for resource, _ in plan.requests):
            columns["NodeResourcesBalancedAllocation"] = [self._balanced(plan, node) for node in found]
        if plan.shape.preferred_nodes:
            raws = [lists.affinity_raw[node] for node in found]
            most = max(raws)
            columns["NodeAffinity"] = [rules.normalised(raw, most) for raw in raws]
        if plan.soft_spreads:
            columns["PodTopologySpread"] = self._spread_scores(plan, found)
        drawn = self._attraction(plan, found)
        if drawn is not None:
            columns["InterPodAffinity"] = drawn
        weights = self.profile.weights
        return {name: [weights[name] * score for score in columns[name]] for name in sorted(columns) if name in weights}

    def _fit_score(self, plan: ShapePlan, node: int) -> int:
        strategy = self.profile.strategy
        total = weights = 0
        for name, weight in strategy.resources:
            used, capacity = self._use_for_fit(plan, name, node)
            if capacity == 0:
                continue
            if strategy.kind == "RequestedToCapacityRatio":
                score = rules.ratio_score(used, capacity, strategy.utilizations, strategy.scores)
                if score == 0:
                    continue
            elif strategy.kind == "MostAllocated":
                score = rules.most_allocated(used, capacity)
            else:
                score = rules.least_allocated(used, capacity)
            total += score * weight
            weights += weight
        if weights == 0:
            return 0
        if strategy.kind == "RequestedToCapacityRatio":
            return rules.rounded_half_up(total, weights)
        return total // weights

    def _use_for_fit(self, plan: ShapePlan, name: str, node: int) -> tuple[int, int]:
        """Return use with the pod, and capacity; capacity 0 leaves the resource out."""
        if name == "cpu":
            return self._assumed_cpu[node] + plan.shape.assumed_cpu, self._capacity[CPU][node]
        if name == "memory":
            return self._assumed_memory[node] + plan.shape.assumed_memory, self._capacity[MEMORY][node]
        asked = dict(plan.shape.requests).get(name, 0)
        if not asked:
            return 0, 0
        resource = self.catalog.resource(name)
        return self._used[resource][node] + asked, self._capacity[resource][node]

    def _balanced(self, plan: ShapePlan, node: int) -> int:
        asked = dict(plan.requests)
        shares = []
        for name in self.profile.balanced:
            resource = self.catalog.resource(name)
            capacity = self._capacity[resource][node]
            if capacity == 0 or (resource > MEMORY and resource not in asked):
                continue
            shares.append(min(1.0, (self._used[resource][node] + asked.get(resource, 0)) / capacity))
        return rules.balanced_many(shares)

    def _spread_scores(self, plan: ShapePlan, found: list[int]) -> list[int]:
        keyed = [node for node in found if plan.spread_keyed[node]]
        weights = []
        for spread in plan.soft_spreads:
            # The default constraints score nodes without the key too: for those it is one more value.
            values = {self._value(spread.topology, node) for node in keyed}
            weights.append(rules.spread_weight(len(keyed) if spread.is_hostname else len(values)))
        raws = {node: self._spread_raw(plan, node, weights) for node in keyed}
        least, most = (min(raws.values()), max(raws.values())) if raws else (0, 0)
        return [rules.spread_score(raws[node], least, most) if node in raws else 0 for node in found]

    def _spread_raw(self, plan: ShapePlan, node: int, weights: Sequence[float]) -> int:
        counts, used, skews = [], [], []
        for spread, weight in zip(plan.soft_spreads, weights, strict=True):
            value = self._value(spread.topology, node)
            if value >= 0:
                counts.append(self._counts[spread.tally][value])
                used.append(weight)
                skews.append(spread.max_skew)
        return rules.spread_raw(counts, used, skews)

    def _attraction(self, plan: ShapePlan, found: list[int]) -> list[int] | None:
        """Return InterPodAffinity, None when no term of anyone hits any node."""
        if not any(any(self._counts[rule.tally]) for rule in plan.attraction):
            return None
        raws = [sum(rule.weight * self._read(rule, node) for rule in plan.attraction) for node in found]
        least, most = min(raws), max(raws)
        return [rules.interpod_score(raw, least, most) for raw in raws]


class _Lists:
    """Hold a plan's columns as lists: an array's element costs three times as much to read."""

    __slots__ = ("affinity_raw", "image", "plan", "taint_raw", "verdict")

    def __init__(self, plan: ShapePlan) -> None:
        self.plan = plan
        self.verdict: list[int] = plan.verdict.tolist()
        self.taint_raw: list[int] = plan.taint_raw.tolist()
        self.affinity_raw: list[int] = plan.affinity_raw.tolist()
        self.image: list[int] = plan.image.tolist()
