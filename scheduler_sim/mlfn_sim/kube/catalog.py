"""What is fixed while pods come and go: nodes, and what each pod shape means for each node.

Both engines work on a :class:`Catalog`. It interns resources, topology values and pod shapes, and gives every shape a
:class:`ShapePlan`: static verdicts and raw scores for all nodes, and which *tallies* its rules read and its placement
changes. A *tally* counts pods by the value of a topology key: pods that a selector matches, or pods that carry an
affinity term. All counting rules of the scheduler (spread, pod affinity, both ways) read nothing else. Engines keep the
counts; the catalog only says which there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from mlfn_policies.kube_scores import image_score
from mlfn_sim.kube.objects import HOSTNAME, Effect, NodeSpec, NodeTerm, PodShape, PodTerm, Spread, Taint
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
    "own_rules",
    "snapshot_order",
    "untolerated",
]

CPU, MEMORY = 0, 1
"""Rows of the resources that every node has."""
ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


_ROLES = ("anti_required", "required", "preferred", "anti_preferred")


class Verdict:
    """Number the filters that depend on the shape and the node alone, in their order; 0 = none rejects."""

    PASS, UNSCHEDULABLE, TAINT, NODE_AFFINITY = range(4)


@dataclass(frozen=True, slots=True)
class Topology:
    """Hold which value of a label key each node has."""

    key: str
    value: Ints
    """By node: a number per distinct value, -1 where the label is missing."""
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matcher:
    """Select the pods that a tally counts.

    ``terms``: all of them have to match the pod (namespaces and labels). ``carries``: instead, the pod itself has this
    term, of this role.
    """

    terms: tuple[PodTerm, ...] = ()
    carries: PodTerm | None = None
    role: str = ""
    """``required``, ``preferred``, ``anti_required`` or ``anti_preferred`` of a carried term."""

    def counts(self, shape: PodShape, labels: Mapping[str, str]) -> int:
        """Return how often a pod of ``shape`` is counted."""
        if self.carries is not None:
            carried: tuple[PodTerm, ...] = getattr(shape.affinity, self.role)
            return carried.count(self.carries)
        return int(all(term.matches(shape.namespace, labels) for term in self.terms))


@dataclass(frozen=True, slots=True)
class Tally:
    """Count matched pods by the value of a topology key, on the nodes that ``nodes`` admits."""

    matcher: Matcher
    topology: int
    """Index of the key in ``Catalog.topologies``."""
    nodes: int
    """Index in ``Catalog.node_sets``."""


@dataclass(frozen=True, slots=True)
class SpreadPlan:
    """Hold one spread constraint of a shape."""

    topology: int
    tally: int
    max_skew: int
    matches_itself: int
    min_domains: int
    is_hostname: bool


@dataclass(frozen=True, slots=True)
class TermPlan:
    """Hold one pod affinity rule of a shape: a tally to read, with a weight."""

    topology: int
    tally: int
    weight: int = 0


@dataclass(frozen=True, slots=True)
class ShapePlan:
    """Say what a pod shape means for every node, and which tallies it reads and changes."""

    index: int
    shape: PodShape
    requests: tuple[tuple[int, int], ...]
    """(resource, amount), in the order of their names."""
    verdict: npt.NDArray[np.int8]
    """By node: the first static filter that rejects."""
    taint_raw: Ints
    affinity_raw: Ints
    image: Ints
    """By node: the ImageLocality score, 0 to 100."""
    hard_spreads: tuple[SpreadPlan, ...]
    soft_spreads: tuple[SpreadPlan, ...]
    spread_keyed: Bools
    """By node: it has all keys of the soft constraints (always, for the default ones)."""
    default_spread: bool
    near: tuple[TermPlan, ...]
    """Required affinity. All terms read tallies of the pods that match all of them."""
    near_itself: bool
    """The pod matches its own required affinity terms, so it may be the first of its group."""
    away: tuple[TermPlan, ...]
    """Required anti-affinity of the pod."""
    kept_out: tuple[TermPlan, ...]
    """Required anti-affinity of other pods that matches this one."""
    attraction: tuple[TermPlan, ...]
    """Everything that InterPodAffinity scores, both ways."""
    changes: tuple[tuple[int, int], ...]
    """(tally, count): what one placement adds."""
    ports: tuple[tuple[str, str, int], ...]


@dataclass(slots=True)
class Catalog:
    """Intern nodes and shapes. ``hard_affinity_weight`` and the default spread are the profile's."""

    nodes: tuple[NodeSpec, ...]
    hard_affinity_weight: int = 1
    default_spreads: tuple[tuple[str, int], ...] = ((HOSTNAME, 3), (ZONE, 5))
    """(key, max skew) of the constraints for pods that have none."""
    filters: frozenset[str] = frozenset(FILTERS)
    """Those that are enabled; the rules of the others are in no plan."""
    added_terms: tuple[NodeTerm, ...] | None = None
    """Required node affinity of the profile, for every pod; None = none."""
    resources: list[str] = field(default_factory=lambda: ["cpu", "memory"])
    allocatable: list[Ints] = field(init=False)
    """By resource, then node; 0 where a node has none."""
    allowed_pods: Ints = field(init=False)
    order: Ints = field(init=False)
    """The nodes in the scheduler's order: zones take turns."""
    topologies: list[Topology] = field(default_factory=list)
    node_sets: list[Bools] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    plans: list[ShapePlan] = field(default_factory=list)
    _shapes: dict[PodShape, int] = field(default_factory=dict)
    _carried: dict[tuple[str, PodTerm], None] = field(default_factory=dict)
    """(role, term) of every affinity term of any shape."""
    _keys: dict[str, int] = field(default_factory=dict)
    _sets: dict[bytes, int] = field(default_factory=dict)
    _tally_of: dict[Tally, int] = field(default_factory=dict)
    _image_spread: dict[str, int] = field(default_factory=dict)
    """Image -> the nodes that have it."""

    def __post_init__(self) -> None:
        names = sorted({name for node in self.nodes for name in node.allocatable} - {"pods", "cpu", "memory"})
        self.resources = ["cpu", "memory", *names]
        self.allocatable = [self._capacity(name) for name in self.resources]
        self.allowed_pods = self._capacity("pods")
        self.order = np.array(snapshot_order(self.nodes), np.int64)
        for node in self.nodes:
            for image in node.images:
                self._image_spread[image] = self._image_spread.get(image, 0) + 1

    @classmethod
    def of(cls, nodes: Iterable[NodeSpec], profile: Profile) -> Catalog:
        """Return the catalog for a scheduler's profile."""
        return cls(
            tuple(nodes),
            profile.hard_affinity_weight,
            profile.default_spreads,
            filters=profile.filters,
            added_terms=profile.added_terms,
        )

    def with_nodes(self, nodes: Iterable[NodeSpec]) -> Catalog:
        """Return an empty catalog of other nodes for the same profile."""
        return Catalog(
            tuple(nodes),
            self.hard_affinity_weight,
            self.default_spreads,
            filters=self.filters,
            added_terms=self.added_terms,
        )

    def plan(self, shape: PodShape) -> ShapePlan:
        """Return what a shape means; worked out once.

        A new shape can add tallies, and rules to other shapes' plans: engines count into new tallies the pods that are
        already there, and take plans from here each time.
        """
        if shape not in self._shapes:
            self._intern(shape)
        return self.plans[self._shapes[shape]]

    def _intern(self, shape: PodShape) -> None:
        known = len(self.tallies)
        fresh = [each for each in _carried_terms(shape) if each not in self._carried]
        self._carried.update(dict.fromkeys(fresh))
        for i, plan in enumerate(self.plans):
            self.plans[i] = _with_rules(plan, _rules_of_others(self, plan.shape, fresh))
        blank = own_rules(self, len(self.plans), shape)
        self._shapes[shape] = len(self.plans)
        self.plans.append(_with_rules(blank, _rules_of_others(self, shape, self._carried)))
        added = list(enumerate(self.tallies))[known:]
        for i, plan in enumerate(self.plans):
            counted = list(enumerate(self.tallies)) if i == self._shapes[shape] else added
            self.plans[i] = replace(plan, changes=plan.changes + _changes(plan.shape, counted))

    def topology(self, key: str) -> int:
        """Return the index of a topology key."""
        if key not in self._keys:
            seen: dict[str, int] = {}
            value = [seen.setdefault(node.labels[key], len(seen)) if key in node.labels else -1 for node in self.nodes]
            self._keys[key] = len(self.topologies)
            self.topologies.append(Topology(key, np.array(value, np.int64), tuple(seen)))
        return self._keys[key]

    def node_set(self, admitted: Bools) -> int:
        """Return the index of a set of nodes."""
        key = admitted.tobytes()
        if key not in self._sets:
            self._sets[key] = len(self.node_sets)
            self.node_sets.append(admitted)
        return self._sets[key]

    def tally(self, matcher: Matcher, topology: int, admitted: Bools) -> int:
        """Return the index of a tally."""
        wanted = Tally(matcher, topology, self.node_set(admitted))
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

    def image_bytes(self, image: str) -> Callable[[NodeSpec], int]:
        """Return what ImageLocality counts for an image on a node: its size, scaled by how many nodes have it."""
        having, total = self._image_spread.get(image, 0), len(self.nodes)
        return lambda node: int(float(node.images[image]) * (having / total)) if image in node.images else 0

    def _capacity(self, name: str) -> Ints:
        return np.array([node.allocatable.get(name, 0) for node in self.nodes], np.int64)


def snapshot_order(nodes: Sequence[NodeSpec]) -> list[int]:
    """Return the nodes in the order in which the scheduler walks them: one of each zone in turn, in order of addition.

    Source: ``backend/cache/node_tree.go``.
    """
    zones: dict[tuple[str, str], list[int]] = {}
    for i, node in enumerate(nodes):
        zones.setdefault((node.labels.get(REGION, ""), node.labels.get(ZONE, "")), []).append(i)
    longest = max(map(len, zones.values()), default=0)
    return [members[turn] for turn in range(longest) for members in zones.values() if turn < len(members)]


def own_rules(catalog: Catalog, index: int, shape: PodShape) -> ShapePlan:
    """Return what a shape asks by itself, before other shapes' terms."""
    nodes = catalog.nodes
    fits = np.array([meets_affinity(shape, node) for node in nodes], np.bool_)
    everywhere = np.ones(len(nodes), np.bool_)
    soft, keyed, by_default = _soft_spreads(catalog, shape, fits)
    together = Matcher(tuple(_unweighted(term) for term in shape.affinity.required))
    labels = dict(shape.labels)
    neighbours = "InterPodAffinity" in catalog.filters
    return ShapePlan(
        index=index,
        shape=shape,
        requests=tuple((catalog.resource(name), amount) for name, amount in shape.requests),
        verdict=_verdicts(catalog, shape, fits),
        taint_raw=np.array([_untolerated_soft(shape, node) for node in nodes], np.int64),
        affinity_raw=np.array(
            [sum(term.weight for term in shape.preferred_nodes if term.matches(node)) for node in nodes], np.int64
        ),
        image=_image_scores(catalog, shape),
        hard_spreads=_hard_spreads(catalog, shape, fits) if "PodTopologySpread" in catalog.filters else (),
        soft_spreads=soft,
        spread_keyed=keyed,
        default_spread=by_default,
        near=tuple(_read(catalog, together, term.key, everywhere) for term in shape.affinity.required if neighbours),
        near_itself=bool(shape.affinity.required) and bool(together.counts(shape, labels)),
        away=tuple(
            _read(catalog, Matcher((_unweighted(term),)), term.key, everywhere)
            for term in shape.affinity.anti_required
            if neighbours
        ),
        kept_out=(),
        attraction=tuple(
            _read(catalog, Matcher((_unweighted(term),)), term.key, everywhere, sign * term.weight)
            for terms, sign in ((shape.affinity.preferred, 1), (shape.affinity.anti_preferred, -1))
            for term in terms
        ),
        changes=(),
        ports=shape.ports if "NodePorts" in catalog.filters else (),
    )


def _read(catalog: Catalog, matcher: Matcher, key: str, nodes: Bools, weight: int = 0) -> TermPlan:
    topology = catalog.topology(key)
    return TermPlan(topology, catalog.tally(matcher, topology, nodes), weight)


def _carried_terms(shape: PodShape) -> list[tuple[str, PodTerm]]:
    return [(role, term) for role in _ROLES for term in dict.fromkeys(getattr(shape.affinity, role))]


def _rules_of_others(
    catalog: Catalog, shape: PodShape, carried: Iterable[tuple[str, PodTerm]]
) -> tuple[tuple[TermPlan, ...], tuple[TermPlan, ...]]:
    """Return what terms that pods carry mean for a shape: those that keep it out, and those that draw or push it."""
    labels, everywhere = dict(shape.labels), np.ones(len(catalog.nodes), np.bool_)
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
        rule = _read(catalog, Matcher(carries=term, role=role), term.key, everywhere, weight)
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


def meets_affinity(shape: PodShape, node: NodeSpec) -> bool:
    """Tell whether a node meets a shape's node selector and required node affinity."""
    if not all(each.holds(node.labels) for each in shape.node_selector):
        return False
    return shape.node_terms is None or any(term.matches(node) for term in shape.node_terms)


def _verdicts(catalog: Catalog, shape: PodShape, fits: Bools) -> npt.NDArray[np.int8]:
    cordon = Taint("node.kubernetes.io/unschedulable", "", Effect.NO_SCHEDULE)
    enters_cordoned = any(each.tolerates(cordon) for each in shape.tolerations)
    added, on = catalog.added_terms, catalog.filters
    found = np.zeros(len(catalog.nodes), np.int8)
    for i, node in enumerate(catalog.nodes):
        meant = added is None or any(term.matches(node) for term in added)
        if "NodeUnschedulable" in on and node.unschedulable and not enters_cordoned:
            found[i] = Verdict.UNSCHEDULABLE
        elif "TaintToleration" in on and untolerated(shape, node) is not None:
            found[i] = Verdict.TAINT
        elif "NodeAffinity" in on and not (meant and fits[i]):
            found[i] = Verdict.NODE_AFFINITY
    return found


def untolerated(shape: PodShape, node: NodeSpec) -> Taint | None:
    """Return the first taint of a node that keeps a shape away, None when there is none."""
    for taint in node.taints:
        hard = taint.effect is not Effect.PREFER_NO_SCHEDULE
        if hard and not any(each.tolerates(taint) for each in shape.tolerations):
            return taint
    return None


def _untolerated_soft(shape: PodShape, node: NodeSpec) -> int:
    soft = [each for each in shape.tolerations if each.effect in ("", Effect.PREFER_NO_SCHEDULE)]
    return sum(
        taint.effect is Effect.PREFER_NO_SCHEDULE and not any(each.tolerates(taint) for each in soft)
        for taint in node.taints
    )


def _image_scores(catalog: Catalog, shape: PodShape) -> Ints:
    sizes = [catalog.image_bytes(image) for image in shape.images]
    if not sizes:
        return np.zeros(len(catalog.nodes), np.int64)
    return np.array([image_score(sum(size(node) for size in sizes), len(sizes)) for node in catalog.nodes], np.int64)


def _hard_spreads(catalog: Catalog, shape: PodShape, fits: Bools) -> tuple[SpreadPlan, ...]:
    hard = [each for each in shape.spreads if each.hard]
    keyed = _has_all(catalog, [each.key for each in hard])
    return tuple(_spread_plan(catalog, shape, each, keyed & _admitted(catalog, shape, each, fits)) for each in hard)


def _soft_spreads(catalog: Catalog, shape: PodShape, fits: Bools) -> tuple[tuple[SpreadPlan, ...], Bools, bool]:
    """Return the soft constraints, the nodes that have all their keys, and whether they are the default ones."""
    soft = [each for each in shape.spreads if not each.hard]
    everywhere = np.ones(len(catalog.nodes), np.bool_)
    if shape.spreads:
        keyed = _has_all(catalog, [each.key for each in soft])
        plans = [_spread_plan(catalog, shape, each, keyed & _admitted(catalog, shape, each, fits)) for each in soft]
        return tuple(plans), keyed, False
    if shape.owned_by is None:
        return (), everywhere, False
    default = [Spread(key, skew, False, shape.owned_by) for key, skew in catalog.default_spreads]
    return tuple(_spread_plan(catalog, shape, each, fits) for each in default), everywhere, True


def _spread_plan(catalog: Catalog, shape: PodShape, spread: Spread, admitted: Bools) -> SpreadPlan:
    topology = catalog.topology(spread.key)
    term = PodTerm(spread.key, spread.selector, frozenset((shape.namespace,)))
    return SpreadPlan(
        topology=topology,
        tally=catalog.tally(Matcher((term,)), topology, admitted),
        max_skew=spread.max_skew,
        matches_itself=int(spread.selector.matches(dict(shape.labels))),
        min_domains=spread.min_domains,
        is_hostname=spread.key == HOSTNAME,
    )


def _admitted(catalog: Catalog, shape: PodShape, spread: Spread, fits: Bools) -> Bools:
    found = fits.copy() if spread.honor_affinity else np.ones(len(catalog.nodes), np.bool_)
    if spread.honor_taints:
        found &= np.array([untolerated(shape, node) is None for node in catalog.nodes], np.bool_)
    return found


def _has_all(catalog: Catalog, keys: Sequence[str]) -> Bools:
    found = np.ones(len(catalog.nodes), np.bool_)
    for key in keys:
        found &= catalog.topologies[catalog.topology(key)].value >= 0
    return found


def _unweighted(term: PodTerm) -> PodTerm:
    return replace(term, weight=0)
