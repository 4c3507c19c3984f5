"""The readable engine: one pod after another, each rule written once, over columns of nodes.

It keeps no more state than the rules name: free resources, pods and ports by node, and the counts of the catalog's
tallies. A cycle asks each filter of a stretch of nodes at once, scores those that pass, and takes the best. The fast
engine is held to it. Nothing here is random but the choice among equals, which is an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlfn_policies import kube_scores as rules
from mlfn_sim.kube.catalog import CPU, MEMORY, Catalog, ShapePlan, SpreadPlan, TermPlan
from mlfn_sim.kube.decisions import Decision, Rejection
from mlfn_sim.kube.engine import Batch, Outcome
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.profile import Profile, Strategy
from mlfn_sim.kube.reasons import (
    AFFINITY,
    ANTI_AFFINITY,
    CONFLICT,
    KEPT_OUT,
    NOT_NAMED,
    SPREAD,
    STATIC,
    TEXT,
    static_words,
)

__all__ = ["ReferenceEngine", "first_of"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_FIT = "NodeResourcesFit"
_column: Any = rules
"""The rules once more: these calls hand them columns instead of numbers."""


class _Objection(NamedTuple):
    """Hold which of some nodes a filter rejects for one reason."""

    plugin: str
    words: str
    """Empty: the node's verdict has them."""
    nodes: Bools
    curable: bool | Bools
    """The end of other pods could lift it."""


class _Found(NamedTuple):
    """Hold the outcome of a search: nodes in the order in which they were looked at."""

    feasible: Ints
    looked_at: Ints


def first_of(ties: Sequence[int]) -> int:
    """Choose the tie that comes first in the order of the nodes' addition, as recorders do."""
    return min(ties)


class ReferenceEngine:
    """Hold the state of a cluster and decide for one pod after another."""

    def __init__(self, catalog: Catalog, profile: Profile, choose: Callable[[Sequence[int]], int] = first_of) -> None:
        count = len(catalog.nodes)
        self.catalog = catalog
        self.profile = profile
        self.start = 0
        """Where the next search begins, in the snapshot's order."""
        self.pods = np.zeros(count, np.int64)
        self._choose = choose
        self._ratios = _ratios(profile.strategy)
        self._used: list[Ints] = []
        """By resource, then node: what the pods there ask."""
        self._assumed = [np.zeros(count, np.int64), np.zeros(count, np.int64)]
        """The same of cpu and memory, with what is assumed of containers that ask none."""
        self._ports: dict[tuple[str, str, int], Ints] = {}
        """Port -> by node: the pods that hold it."""
        self._residents: list[Ints] = []
        """By shape, then node: pods there; what a new tally is counted from."""
        self._counts: list[Ints] = []
        """By tally, then topology value; the last is 0 for nodes without the label, whose value is -1."""
        for name in (*dict(profile.strategy.resources), *profile.balanced):
            catalog.resource(name)  # known from the start, though no node may have it
        self._order()

    def _order(self) -> None:
        order = self.catalog.order
        self._walk = np.concatenate((order, order))
        """The snapshot twice, so that a walk from anywhere is one piece."""
        self._position = np.argsort(order)

    # -- cycles --

    def decide(self, shape: PodShape, barred: Mapping[int, Rejection] | None = None) -> Decision:
        """Return what the scheduler would do with a pod now; places nothing, but moves the start of the next search.

        ``barred`` nodes are rejected as given: on them, pods that wait for a node of their own count as there.
        """
        plan = self._plan(shape)
        if plan.conflicting:
            return Decision(-1, (), 0, refusal=CONFLICT)
        found = self._search(plan, barred or {})
        rejected, reasons = self._explain(plan, found, barred or {})
        evaluated = len(found.looked_at)
        if not len(found.feasible):
            return Decision(-1, (), evaluated, rejected, reasons)
        scores = self._scores(plan, found.feasible)
        totals = _total(scores, len(found.feasible))
        chosen, ties = self._best(found.feasible, totals)
        listed = {name: np.broadcast_to(column, len(totals)).tolist() for name, column in scores.items()}
        feasible = tuple(found.feasible.tolist())
        return Decision(chosen, feasible, evaluated, rejected, reasons, listed, totals.tolist(), ties)

    def rejection(self, shape: PodShape, node: int) -> Rejection | None:
        """Return why a pod cannot go onto one node now, None when it can."""
        plan = self._plan(shape)
        return self._rejections(plan, np.array([node])).get(node)

    def run(self, batch: Batch) -> Outcome:
        """Decide and place one pod after another; nothing is explained."""
        placed: list[tuple[PodShape, int]] = []
        columns: list[tuple[int, int, int]] = []
        for step in batch.steps.tolist():
            if step >= 0:
                shape = batch.shapes[step]
                plan, chosen, ties = self._plan(shape), -1, 0
                found = self._search(plan, {}) if not plan.conflicting else None
                if found is not None and len(found.feasible):
                    totals = _total(self._scores(plan, found.feasible), len(found.feasible))
                    chosen, equal = self._best(found.feasible, totals)
                    ties = len(equal)
                    self.place(shape, chosen)
                placed.append((shape, chosen))
                columns.append((chosen, ties, self.start))
            elif placed[-1 - step][1] >= 0:
                self.remove(*placed[-1 - step])
                placed[-1 - step] = placed[-1 - step][0], -1
        table = np.array(columns, np.int32).reshape(-1, 3)
        return Outcome(table[:, 0], table[:, 1], table[:, 2])

    def _search(self, plan: ShapePlan, barred: Mapping[int, Rejection]) -> _Found:
        """Walk from where the last search ended until enough nodes are feasible, and move the start.

        One feasible node more than wanted ends the walk and is not kept.
        """
        everything = len(self.catalog.order)
        ring = self._walk if plan.named is None else np.concatenate((plan.named, plan.named))
        total = len(ring) // 2
        if not total:
            return _Found(ring, ring)
        begin, wanted = self.start % total, rules.nodes_to_find(total, self.profile.percentage)
        closed = np.fromiter(barred, np.int64, len(barred))
        passing, seen, kept = [], 0, 0
        stretch = wanted + wanted // 4 + 8
        while seen < total and kept <= wanted:
            nodes = ring[begin + seen : begin + min(total, seen + stretch)]
            passes = ~np.isin(nodes, closed) if barred else np.ones(len(nodes), np.bool_)
            for objection in self._objections(plan, nodes):
                passes &= ~objection.nodes
            passing.append(np.flatnonzero(passes) + seen)
            seen += len(nodes)
            kept += len(passing[-1])
        at = np.concatenate(passing)
        ended = int(at[wanted]) if kept > wanted else total
        self.start = (self.start + ended) % everything
        return _Found(ring[begin + at[:wanted]], ring[begin : begin + ended])

    def _best(self, feasible: Ints, totals: Ints) -> tuple[int, tuple[int, ...]]:
        """Return the chosen node, and those with the highest total."""
        ties = feasible[totals == totals.max()]
        if len(ties) == 1:
            equal = (int(ties[0]),)
            return self._choose(equal), equal
        in_order = ties[np.argsort(self._position[ties])]
        return self._choose(in_order.tolist()), tuple(ties.tolist())

    # -- state --

    def place(self, shape: PodShape, node: int) -> None:
        """Put a pod onto a node, fitting or not."""
        self._change(shape, node, 1)

    def remove(self, shape: PodShape, node: int) -> None:
        """Take a pod off a node."""
        self._change(shape, node, -1)

    def _change(self, shape: PodShape, node: int, sign: int) -> None:
        plan = self._plan(shape)
        for resource, amount in plan.requests:
            self._used[resource][node] += sign * amount
        self._assumed[CPU][node] += sign * shape.assumed_cpu
        self._assumed[MEMORY][node] += sign * shape.assumed_memory
        self.pods[node] += sign
        self._residents[plan.index][node] += sign
        for port in plan.ports:
            if port not in self._ports:
                self._ports[port] = np.zeros(len(self.catalog.nodes), np.int64)
            self._ports[port][node] += sign
        for tally, count in plan.changes:
            what = self.catalog.tallies[tally]
            if self.catalog.node_sets[what.nodes][node]:
                value = self.catalog.topologies[what.topology].value[node]
                if value >= 0:
                    self._counts[tally][value] += sign * count

    def change_nodes(self, nodes: tuple[NodeSpec, ...]) -> None:
        """Go on with other nodes: those with known names keep their pods, pods of the others are gone."""
        came = self.catalog.change_nodes(nodes)
        known = came >= 0

        def carried(column: Ints) -> Ints:
            moved = np.zeros(len(nodes), np.int64)
            moved[known] = column[came[known]]
            return moved

        self.pods = carried(self.pods)
        self._used = [carried(column) for column in self._used]
        self._assumed = [carried(column) for column in self._assumed]
        self._ports = {port: carried(column) for port, column in self._ports.items()}
        self._residents = [carried(column) for column in self._residents]
        self._counts = [self._counted(tally) for tally in range(len(self._counts))]
        self._order()

    def _plan(self, shape: PodShape) -> ShapePlan:
        plan = self.catalog.plan(shape)
        for _ in range(len(self._residents), len(self.catalog.plans)):
            self._residents.append(np.zeros(len(self.catalog.nodes), np.int64))
        for _ in range(len(self._used), len(self.catalog.resources)):
            self._used.append(np.zeros(len(self.catalog.nodes), np.int64))
        for tally in range(len(self._counts), len(self.catalog.tallies)):
            self._counts.append(self._counted(tally))
        return plan

    def _counted(self, tally: int) -> Ints:
        """Count a tally's pods among those that are there."""
        what = self.catalog.tallies[tally]
        topology = self.catalog.topologies[what.topology]
        pods = np.zeros(len(self.catalog.nodes), np.int64)
        for plan, there in zip(self.catalog.plans, self._residents, strict=False):
            count = what.matcher.counts(plan.shape, dict(plan.shape.labels))
            if count:
                pods += count * there
        counts = np.zeros(len(topology.values) + 1, np.int64)
        admitted = self.catalog.node_sets[what.nodes] & (topology.value >= 0)
        np.add.at(counts, topology.value[admitted], pods[admitted])
        return counts

    # -- filters --

    def _explain(
        self, plan: ShapePlan, found: _Found, barred: Mapping[int, Rejection]
    ) -> tuple[dict[int, str], Counter[str]]:
        """Return who rejected each node that was looked at, and how often each reason was given."""
        refused = np.setdiff1d(found.looked_at, found.feasible, assume_unique=True)
        why = {**self._rejections(plan, refused), **barred}
        rejected = {node: why[node].plugin for node in refused.tolist()}
        reasons = Counter(words for node in rejected for words in why[node].reasons)
        if plan.named is not None and not len(found.feasible) and len(plan.named) < len(self.catalog.order):
            reasons[NOT_NAMED] = len(self.catalog.order) - len(rejected)
        return rejected, reasons

    def _rejections(self, plan: ShapePlan, nodes: Ints) -> dict[int, Rejection]:
        """Return why each node is rejected: the first filter that objects counts; only NodeResourcesFit tells all."""
        found: dict[int, Rejection] = {}
        for plugin, words, rejecting, curable in self._objections(plan, nodes):
            for i in np.flatnonzero(rejecting).tolist():
                node = int(nodes[i])
                said = words or static_words(int(plan.verdict[node]), plan.shape, self.catalog.nodes[node])
                lifts = bool(np.broadcast_to(curable, len(nodes))[i])
                known = found.get(node)
                if known is None:
                    found[node] = Rejection(plugin, (said,), lifts)
                elif known.plugin == plugin == _FIT:
                    found[node] = Rejection(plugin, (*known.reasons, said), known.curable and lifts)
        return found

    def _objections(self, plan: ShapePlan, nodes: Ints) -> Iterator[_Objection]:
        """Yield what the filters have against the nodes, in the order of the filters."""
        verdict = plan.verdict[nodes]
        if verdict.any():
            for code, (plugin, words) in STATIC.items():
                if (said := verdict == code).any():
                    yield _Objection(plugin, words, said, False)
        if plan.ports:
            yield _Objection("NodePorts", TEXT["NodePorts"], self._port_taken(plan, nodes), True)
        yield _Objection(_FIT, "Too many pods", self.pods[nodes] >= self.catalog.allowed_pods[nodes], True)
        for resource, amount in plan.requests:
            capacity = self.catalog.allocatable[resource][nodes]
            words = f"Insufficient {self.catalog.resources[resource]}"
            short = amount > capacity - self._used[resource][nodes]
            yield _Objection(_FIT, words, short, amount <= capacity)
        for spread in plan.hard_spreads:
            value = self.catalog.topologies[spread.topology].value[nodes]
            yield _Objection("PodTopologySpread", f"{SPREAD} (missing required label)", value < 0, False)
            skew = self._counts[spread.tally][value] + spread.matches_itself - self._floor(spread)
            yield _Objection("PodTopologySpread", SPREAD, skew > spread.max_skew, True)
        if plan.near:
            yield _Objection("InterPodAffinity", AFFINITY, ~self._near_met(plan, nodes), False)
        for terms, words in ((plan.away, ANTI_AFFINITY), (plan.kept_out, KEPT_OUT)):
            for term in terms:
                yield _Objection("InterPodAffinity", words, self._read(term, nodes) > 0, True)

    def _port_taken(self, plan: ShapePlan, nodes: Ints) -> Bools:
        taken = np.zeros(len(nodes), np.bool_)
        for host, protocol, port in plan.ports:
            for (other, other_protocol, other_port), pods in self._ports.items():
                same_host = host == other or "0.0.0.0" in (host, other)  # noqa: S104
                if same_host and (protocol, port) == (other_protocol, other_port):
                    taken |= pods[nodes] > 0
        return taken

    def _floor(self, spread: SpreadPlan) -> int:
        """Return the least count of a hard constraint over the values of admitted nodes."""
        tally = self.catalog.tallies[spread.tally]
        values = self.catalog.topologies[spread.topology].value[self.catalog.node_sets[tally.nodes]]
        present = np.unique(values[values >= 0])
        if len(present) < spread.min_domains or not len(present):
            return 0
        return int(self._counts[spread.tally][present].min())

    def _near_met(self, plan: ShapePlan, nodes: Ints) -> Bools:
        """Tell where a required affinity is met: by pods there, or because the pod is the first of its group."""
        first = plan.near_itself and not any(self._counts[term.tally].any() for term in plan.near)
        met = np.ones(len(nodes), np.bool_)
        for term in plan.near:
            met &= (
                self._read(term, nodes) > 0 if not first else self.catalog.topologies[term.topology].value[nodes] >= 0
            )
        return met

    def _read(self, rule: TermPlan | SpreadPlan, nodes: Ints) -> Ints:
        """Return what a tally counts in the topology value of each node."""
        return self._counts[rule.tally][self.catalog.topologies[rule.topology].value[nodes]]

    # -- scores --

    def _scores(self, plan: ShapePlan, nodes: Ints) -> dict[str, Any]:
        """Return the weighted score of each node by plugin: a column, or one number for all."""
        taints = plan.taint_raw[nodes]
        scores: dict[str, Any] = {
            "ImageLocality": plan.image[nodes].astype(np.int64),
            "TaintToleration": _column.reversed_normalised(taints, int(taints.max())),
            _FIT: self._fit_scores(plan, nodes),
        }
        if any(self.catalog.resources[resource] in self.profile.balanced for resource, _ in plan.requests):
            scores["NodeResourcesBalancedAllocation"] = self._balanced(plan, nodes)
        if plan.shape.preferred_nodes:
            raws = plan.affinity_raw[nodes]
            scores["NodeAffinity"] = _column.normalised(raws, int(raws.max()))
        if plan.soft_spreads:
            scores["PodTopologySpread"] = self._spread_scores(plan, nodes)
        # Left out when no term of anyone hits any node.
        if any(self._counts[rule.tally].any() for rule in plan.attraction):
            scores["InterPodAffinity"] = self._attraction(plan, nodes)
        weights = self.profile.weights
        return {name: weights[name] * scores[name] for name in sorted(scores) if name in weights}

    def _fit_scores(self, plan: ShapePlan, nodes: Ints) -> Any:
        strategy = self.profile.strategy
        total: Any = 0
        weights: Any = 0
        for name, weight in strategy.resources:
            use = self._use_for_fit(plan, name, nodes)
            if use is None:
                continue
            used, capacity = use
            counts = capacity > 0
            if strategy.kind == "LeastAllocated":
                score = _column.least_allocated(used, capacity)
            else:
                score = _column.most_allocated(used, capacity)
            if strategy.kind == "RequestedToCapacityRatio":
                # The used share is a whole number of percent; a resource without points does not count.
                score = self._ratios[score] * counts
                counts = score > 0
            total = total + weight * score
            weights = weights + weight * counts
        weights = np.maximum(weights, 1)
        if strategy.kind == "RequestedToCapacityRatio":
            return np.floor(total / weights + 0.5).astype(np.int64)
        return total // weights

    def _use_for_fit(self, plan: ShapePlan, name: str, nodes: Ints) -> tuple[Ints, Ints] | None:
        """Return use with the pod, and capacity; None leaves the resource out."""
        resource = self.catalog.resource(name)
        capacity = self.catalog.allocatable[resource][nodes]
        if resource in (CPU, MEMORY):
            own = plan.shape.assumed_memory if resource == MEMORY else plan.shape.assumed_cpu
            return self._assumed[resource][nodes] + own, capacity
        asked = dict(plan.requests).get(resource, 0)
        if not asked and name != "ephemeral-storage":
            return None
        return self._used[resource][nodes] + asked, capacity

    def _balanced(self, plan: ShapePlan, nodes: Ints) -> Any:
        asked, shares, whole = dict(plan.requests), [], True
        for name in self.profile.balanced:
            resource = self.catalog.resource(name)
            if resource > MEMORY and resource not in asked and name != "ephemeral-storage":
                continue
            capacity = self.catalog.allocatable[resource][nodes]
            there = capacity > 0
            used = self._used[resource][nodes] + asked.get(resource, 0)
            shares.append(np.where(there, np.minimum(1.0, used / np.maximum(capacity, 1)), -1.0))
            whole = whole and bool(there.all())
        if whole and len(shares) == 2:
            return _column.balance(*shares).astype(np.int64)
        rows = np.stack(shares, axis=1).tolist()  # a resource that a node does not have does not count there
        return np.array([rules.balanced_many([share for share in row if share >= 0]) for row in rows], np.int64)

    def _spread_scores(self, plan: ShapePlan, nodes: Ints) -> Any:
        keyed = plan.spread_keyed[nodes]
        there = nodes[keyed]
        scores = np.zeros(len(nodes), np.int64)
        if not len(there):
            return scores
        columns: list[tuple[Ints, float, int]] = []
        for spread in plan.soft_spreads:
            # The default constraints score nodes without the key too: for those it is one more value.
            value = self.catalog.topologies[spread.topology].value[there]
            weight = rules.spread_weight(len(there) if spread.is_hostname else len(np.unique(value)))
            columns.append((np.where(value >= 0, self._counts[spread.tally][value], -1), weight, spread.max_skew))
        known: dict[tuple[int, ...], int] = {}
        raws = []
        for counts in zip(*(counts.tolist() for counts, _, _ in columns), strict=True):
            if counts not in known:
                met = [i for i, count in enumerate(counts) if count >= 0]  # constraints whose key the node has
                known[counts] = rules.spread_raw(
                    [counts[i] for i in met], [columns[i][1] for i in met], [columns[i][2] for i in met]
                )
            raws.append(known[counts])
        scores[keyed] = _column.spread_score(np.array(raws), min(raws), max(raws))
        return scores

    def _attraction(self, plan: ShapePlan, nodes: Ints) -> Any:
        raws = sum(rule.weight * self._read(rule, nodes) for rule in plan.attraction)
        different, which = np.unique(raws, return_inverse=True)
        least, most = int(different[0]), int(different[-1])
        return np.array([rules.interpod_score(raw, least, most) for raw in different.tolist()])[which]


def _ratios(strategy: Strategy) -> Ints:
    """Return the score of each used share from 0 to 100 percent."""
    shape = strategy.utilizations or (0,), strategy.scores or (0,)
    return np.array([rules.ratio_score(percent, 100, *shape) for percent in range(101)], np.int64)


def _total(scores: Mapping[str, Any], nodes: int) -> Ints:
    return sum(scores.values(), start=np.zeros(nodes, np.int64))
