"""What is fixed while pods come and go: nodes, and what each pod shape means for each node.

Both engines work on a :class:`Catalog`. It interns resources, topology values and pod shapes, and gives every shape a
:class:`~mlfn_sim.kube.plans.ShapePlan`: static verdicts and raw scores for all nodes, and which *tallies* its rules
read and its placement changes. A *tally* counts pods by the value of a topology key: pods that a selector matches, or
pods that carry an affinity term. All counting rules of the scheduler (spread, pod affinity, both ways) read nothing
else. Engines keep the counts; the catalog only says which there are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.node_columns import (
    REGION,
    ZONE,
    Bools,
    Ints,
    NodeColumns,
    Topology,
    snapshot_order,
    untolerated_among,
)
from mlfn_sim.kube.objects import HOSTNAME, Effect, NodeSpec, NodeTerm, PodShape, PodTerm, Spread, Taint
from mlfn_sim.kube.plans import ROLES, Matcher, NodeSet, ShapePlan, SpreadPlan, Tally, TermPlan, Verdict
from mlfn_sim.kube.profile import FILTERS, Profile

__all__ = [
    "CPU",
    "MEMORY",
    "REGION",
    "ZONE",
    "Catalog",
    "Matcher",
    "ShapePlan",
    "SpreadPlan",
    "Tally",
    "TermPlan",
    "Topology",
    "Verdict",
    "meets_affinity",
    "untolerated",
]

CPU, MEMORY = 0, 1
"""Rows of the resources that every node has."""
_EVERYWHERE = NodeSet()
_CORDON = Taint("node.kubernetes.io/unschedulable", "", Effect.NO_SCHEDULE)
_MOST_REMEMBERED = 4096


@dataclass(slots=True)
class Catalog:
    """Intern nodes and shapes. ``hard_affinity_weight`` and the default spread are the profile's."""

    nodes: tuple[NodeSpec, ...]
    hard_affinity_weight: int = 1
    default_spreads: tuple[tuple[str, int], ...] = ((HOSTNAME, 3), (ZONE, 5))
    """(key, max skew) of the constraints for pods that have none."""
    system_spread: bool = True
    """The default spread is the system's: nodes without its keys are scored too."""
    filters: frozenset[str] = frozenset(FILTERS)
    """Those that are enabled; the rules of the others are in no plan."""
    added_terms: tuple[NodeTerm, ...] | None = None
    """Required node affinity of the profile, for every pod; None = none."""
    columns: NodeColumns = field(init=False)
    resources: list[str] = field(default_factory=lambda: ["cpu", "memory"])
    allocatable: list[Ints] = field(default_factory=list)
    """By resource, then node; 0 where a node has none."""
    allowed_pods: Ints = field(init=False)
    order: Ints = field(init=False)
    """The nodes in the scheduler's order: zones take turns."""
    topologies: list[Topology] = field(default_factory=list)
    node_sets: list[Bools] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    plans: list[ShapePlan] = field(default_factory=list)
    _shapes: dict[PodShape, int] = field(default_factory=dict)
    _known: dict[int, tuple[PodShape, int]] = field(default_factory=dict)
    """id of a shape that was asked for lately -> itself (so that the id stays its own) and its index."""
    _carried: dict[tuple[str, PodTerm], None] = field(default_factory=dict)
    """(role, term) of every affinity term of any shape."""
    _keys: dict[str, int] = field(default_factory=dict)
    _sets: dict[NodeSet, int] = field(default_factory=dict)
    _tally_of: dict[Tally, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = NodeColumns(self.nodes)
        names = sorted({name for node in self.nodes for name in node.allocatable} - {"pods", "cpu", "memory"})
        self.resources = ["cpu", "memory", *names]
        self._settle()

    @classmethod
    def of(cls, nodes: Iterable[NodeSpec], profile: Profile) -> Catalog:
        """Return the catalog for a scheduler's profile."""
        return cls(
            tuple(nodes),
            profile.hard_affinity_weight,
            profile.default_spreads,
            profile.system_spread,
            filters=profile.filters,
            added_terms=profile.added_terms,
        )

    def change_nodes(self, nodes: tuple[NodeSpec, ...]) -> Ints:
        """Go on with other nodes, and return for each the place it had before, by name (-1: it is new).

        Shapes, resources, topologies, sets of nodes and tallies keep their indices; the plans are new. Only nodes that
        are other objects than before are read.
        """
        came = self.columns.change(nodes)
        self.nodes = nodes
        for node in nodes:
            for name in node.allocatable:
                if name != "pods" and name not in self.resources:
                    self.resources.append(name)
        self._settle()
        self.topologies = [self.columns.topology(key) for key in self._keys]
        self.node_sets = [self._admitted(recipe) for recipe in self._sets]
        self.plans = [replace(plan, **_columns(self, plan.shape)._asdict()) for plan in self.plans]
        return came

    def _settle(self) -> None:
        self.allocatable = [self._capacity(name) for name in self.resources]
        self.allowed_pods = self._capacity("pods")
        self.order = np.array(snapshot_order(self.nodes), np.int64)

    def plan(self, shape: PodShape) -> ShapePlan:
        """Return what a shape means; worked out once.

        A new shape can add tallies, and rules to other shapes' plans: engines count into new tallies the pods that are
        already there, and take plans from here each time. A plan that did not change stays the same object.
        """
        known = self._known.get(id(shape))
        if known is None:
            if shape not in self._shapes:
                self._intern(shape)
            if len(self._known) == _MOST_REMEMBERED:
                self._known.clear()
            known = self._known[id(shape)] = shape, self._shapes[shape]
        return self.plans[known[1]]

    def _intern(self, shape: PodShape) -> None:
        before = len(self.tallies)
        fresh = [each for each in _carried_terms(shape) if each not in self._carried]
        self._carried.update(dict.fromkeys(fresh))
        for i, plan in enumerate(self.plans):
            self.plans[i] = _with_rules(plan, _rules_of_others(self, plan.shape, fresh))
        blank = _own_rules(self, len(self.plans), shape)
        self._shapes[shape] = len(self.plans)
        self.plans.append(_with_rules(blank, _rules_of_others(self, shape, self._carried)))
        added = list(enumerate(self.tallies))[before:]
        for i, plan in enumerate(self.plans):
            counted = list(enumerate(self.tallies)) if i == self._shapes[shape] else added
            changes = _changes(plan.shape, counted)
            if changes:
                self.plans[i] = replace(plan, changes=plan.changes + changes)

    def topology(self, key: str) -> int:
        """Return the index of a topology key."""
        if key not in self._keys:
            self._keys[key] = len(self.topologies)
            self.topologies.append(self.columns.topology(key))
        return self._keys[key]

    def node_set(self, recipe: NodeSet) -> int:
        """Return the index of a set of nodes."""
        if recipe not in self._sets:
            self._sets[recipe] = len(self.node_sets)
            self.node_sets.append(self._admitted(recipe))
        return self._sets[recipe]

    def tally(self, matcher: Matcher, topology: int, nodes: NodeSet = _EVERYWHERE) -> int:
        """Return the index of a tally."""
        wanted = Tally(matcher, topology, self.node_set(nodes))
        if wanted not in self._tally_of:
            self._tally_of[wanted] = len(self.tallies)
            self.tallies.append(wanted)
        return self._tally_of[wanted]

    def resource(self, name: str) -> int:
        """Return the row of a resource; one that no node has gets a row of zeros."""
        if name not in self.resources:
            self.resources.append(name)
            self.allocatable.append(self._capacity(name))
        return self.resources.index(name)

    def _capacity(self, name: str) -> Ints:
        return np.array([node.allocatable.get(name, 0) for node in self.nodes], np.int64)

    def _admitted(self, recipe: NodeSet) -> Bools:
        columns, tolerations = self.columns, recipe.tolerations
        admitted = columns.having(recipe.keys) & columns.meeting(recipe.selector, recipe.terms)
        if tolerations is None:
            return admitted
        tainted = columns.by_taints(
            ("hard", tolerations), lambda taints: untolerated_among(taints, tolerations) is not None
        )
        free: Bools = tainted == 0
        return admitted & free


def meets_affinity(shape: PodShape, node: NodeSpec) -> bool:
    """Tell whether a node meets a shape's node selector and required node affinity."""
    if not all(each.holds(node.labels) for each in shape.node_selector):
        return False
    return shape.node_terms is None or any(term.matches(node) for term in shape.node_terms)


def untolerated(shape: PodShape, node: NodeSpec) -> Taint | None:
    """Return the first taint of a node that keeps a shape away, None when there is none."""
    return untolerated_among(node.taints, shape.tolerations)


class _Columns(NamedTuple):
    """What a plan says of every node, by the names of its fields."""

    verdict: npt.NDArray[np.int8]
    taint_raw: npt.NDArray[np.int32]
    affinity_raw: npt.NDArray[np.int32]
    image: npt.NDArray[np.int8]
    spread_keyed: Bools
    named: Ints | None
    conflicting: bool


def _columns(catalog: Catalog, shape: PodShape) -> _Columns:
    columns, tolerations = catalog.columns, shape.tolerations
    named = _named_nodes(shape) if "NodeAffinity" in catalog.filters else None
    place = {catalog.nodes[i].name: i for i in catalog.order.tolist()} if named else {}
    asked: Hashable = (tolerations, shape.node_selector, shape.node_terms, shape.node_name)
    return _Columns(
        verdict=columns.answer(("verdict", asked), lambda: _verdicts(catalog, shape)),
        taint_raw=columns.by_taints(("soft", tolerations), lambda taints: _soft_taints(shape, taints)),
        affinity_raw=columns.preferred(shape.preferred_nodes),
        image=columns.image_scores(shape.images),
        spread_keyed=columns.answer(("keyed", keys := _required_keys(catalog, shape)), lambda: columns.having(keys)),
        named=None if named is None else np.array([place[name] for name in place if name in named], np.int64),
        conflicting=named is not None and not named,
    )


def _verdicts(catalog: Catalog, shape: PodShape) -> npt.NDArray[np.int8]:
    """Return the first static filter that rejects each node: the later ones are written first."""
    columns, on = catalog.columns, catalog.filters
    found = np.zeros(len(catalog.nodes), np.int8)
    if "NodeAffinity" in on:
        found[~columns.meeting(shape.node_selector, shape.node_terms)] = Verdict.NODE_AFFINITY
        found[~columns.meeting((), catalog.added_terms)] = Verdict.ENFORCED
    if "TaintToleration" in on:
        tolerated = catalog.node_sets[catalog.node_set(NodeSet(tolerations=shape.tolerations))]
        found[~tolerated] = Verdict.TAINT
    if "NodeName" in on and shape.node_name:
        found[~columns.named(shape.node_name)] = Verdict.NODE_NAME
    if "NodeUnschedulable" in on and not any(each.tolerates(_CORDON) for each in shape.tolerations):
        found[columns.unschedulable()] = Verdict.UNSCHEDULABLE
    return found


def _soft_taints(shape: PodShape, taints: Sequence[Taint]) -> int:
    soft = [each for each in shape.tolerations if each.effect in ("", Effect.PREFER_NO_SCHEDULE)]
    return sum(not taint.keeps_away and not any(each.tolerates(taint) for each in soft) for taint in taints)


def _named_nodes(shape: PodShape) -> frozenset[str] | None:
    """Return the names that required affinity asks for, None when any name might do.

    Source: ``nodeaffinity.PreFilter``. Terms are alternatives; requirements of a term hold together.
    """
    if not shape.node_terms:
        return None
    names: set[str] = set()
    for term in shape.node_terms:
        asked = [set(each.values) for each in term.fields if each.key == "metadata.name" and each.operator == "In"]
        if not asked:
            return None
        names |= set.intersection(*asked)
    return frozenset(names)


def _required_keys(catalog: Catalog, shape: PodShape) -> tuple[str, ...]:
    """Return the labels without which a node gets no points for soft spread constraints."""
    if shape.spreads:
        return tuple(each.key for each in shape.spreads if not each.hard)
    if shape.owned_by is None or catalog.system_spread:
        return ()
    return tuple(key for key, _ in catalog.default_spreads)


def _own_rules(catalog: Catalog, index: int, shape: PodShape) -> ShapePlan:
    """Return what a shape asks by itself, before other shapes' terms."""
    together = Matcher(tuple(_unweighted(term) for term in shape.affinity.required))
    neighbours = "InterPodAffinity" in catalog.filters
    return ShapePlan(
        index=index,
        shape=shape,
        requests=tuple((catalog.resource(name), amount) for name, amount in shape.requests),
        **_columns(catalog, shape)._asdict(),
        hard_spreads=_hard_spreads(catalog, shape) if "PodTopologySpread" in catalog.filters else (),
        soft_spreads=_soft_spreads(catalog, shape),
        near=tuple(_read(catalog, together, term.key) for term in shape.affinity.required if neighbours),
        near_itself=bool(shape.affinity.required) and bool(together.counts(shape, dict(shape.labels))),
        away=tuple(
            _read(catalog, Matcher((_unweighted(term),)), term.key)
            for term in shape.affinity.anti_required
            if neighbours
        ),
        kept_out=(),
        attraction=tuple(
            _read(catalog, Matcher((_unweighted(term),)), term.key, sign * term.weight)
            for terms, sign in ((shape.affinity.preferred, 1), (shape.affinity.anti_preferred, -1))
            for term in terms
        ),
        changes=(),
        ports=shape.ports if "NodePorts" in catalog.filters else (),
    )


def _read(catalog: Catalog, matcher: Matcher, key: str, weight: int = 0) -> TermPlan:
    topology = catalog.topology(key)
    return TermPlan(topology, catalog.tally(matcher, topology), weight)


def _carried_terms(shape: PodShape) -> list[tuple[str, PodTerm]]:
    return [(role, term) for role in ROLES for term in dict.fromkeys(getattr(shape.affinity, role))]


def _rules_of_others(
    catalog: Catalog, shape: PodShape, carried: Iterable[tuple[str, PodTerm]]
) -> tuple[tuple[TermPlan, ...], tuple[TermPlan, ...]]:
    """Return what terms that pods carry mean for a shape: those that keep it out, and those that draw or push it."""
    labels = dict(shape.labels)
    kept_out, attraction = [], []
    for role, term in carried:
        if not term.matches(shape.namespace, labels):
            continue
        weight = {
            "required": catalog.hard_affinity_weight,
            "preferred": term.weight,
            "anti_preferred": -term.weight,
            "anti_required": 0,
        }[role]
        rule = _read(catalog, Matcher(carries=term, role=role), term.key, weight)
        if role == "anti_required":
            kept_out += [rule] if "InterPodAffinity" in catalog.filters else []
        elif weight:
            attraction.append(rule)
    return tuple(kept_out), tuple(attraction)


def _with_rules(plan: ShapePlan, rules: tuple[tuple[TermPlan, ...], tuple[TermPlan, ...]]) -> ShapePlan:
    kept_out, attraction = rules
    if not kept_out and not attraction:
        return plan
    return replace(plan, kept_out=plan.kept_out + kept_out, attraction=plan.attraction + attraction)


def _changes(shape: PodShape, tallies: Iterable[tuple[int, Tally]]) -> tuple[tuple[int, int], ...]:
    labels = dict(shape.labels)
    return tuple((t, count) for t, tally in tallies if (count := tally.matcher.counts(shape, labels)))


def _hard_spreads(catalog: Catalog, shape: PodShape) -> tuple[SpreadPlan, ...]:
    hard = [each for each in shape.spreads if each.hard]
    keys = tuple(each.key for each in hard)
    return tuple(_spread_plan(catalog, shape, each, keys) for each in hard)


def _soft_spreads(catalog: Catalog, shape: PodShape) -> tuple[SpreadPlan, ...]:
    """Return the soft constraints, or the default ones of a pod that has no constraint at all."""
    soft = [each for each in shape.spreads if not each.hard]
    if not shape.spreads and shape.owned_by is not None:
        soft = [Spread(key, skew, False, shape.owned_by) for key, skew in catalog.default_spreads]
    keys = _required_keys(catalog, shape)
    return tuple(_spread_plan(catalog, shape, each, keys) for each in soft)


def _spread_plan(catalog: Catalog, shape: PodShape, spread: Spread, keys: tuple[str, ...]) -> SpreadPlan:
    topology = catalog.topology(spread.key)
    term = PodTerm(spread.key, spread.selector, frozenset((shape.namespace,)))
    honored = (shape.node_selector, shape.node_terms) if spread.honor_affinity else ((), None)
    counted = NodeSet(keys, *honored, shape.tolerations if spread.honor_taints else None)
    return SpreadPlan(
        topology=topology,
        tally=catalog.tally(Matcher((term,), for_spread=True), topology, counted),
        max_skew=spread.max_skew,
        matches_itself=int(spread.selector.matches(dict(shape.labels))),
        min_domains=spread.min_domains,
        is_hostname=spread.key == HOSTNAME,
    )


def _unweighted(term: PodTerm) -> PodTerm:
    return replace(term, weight=0)
