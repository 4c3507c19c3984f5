"""What a pod shape means for the nodes: values that the catalog works out and both engines read. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.node_columns import Bools, Ints
from mlfn_sim.kube.objects import NodeTerm, PodShape, PodTerm, Requirement, Toleration

__all__ = ["ROLES", "Matcher", "NodeSet", "ShapePlan", "SpreadPlan", "Tally", "TermPlan", "Verdict"]

ROLES = ("anti_required", "required", "preferred", "anti_preferred")
"""Of the terms that pods carry."""


class Verdict:
    """Number the filters that depend on the shape and the node alone, 0 = none rejects."""

    PASS, UNSCHEDULABLE, TAINT, NODE_AFFINITY = range(4)
    NODE_NAME, ENFORCED = 12, 13
    """The pod names another node; the profile's own affinity. (4 to 11 number what depends on other pods.)"""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Select the pods that a tally counts.

    ``terms``: all of them have to match the pod (namespaces and labels). ``carries``: instead, the pod itself has this
    term, of this role.
    """

    terms: tuple[PodTerm, ...] = ()
    for_spread: bool = False
    """As spread constraints count: no pod that ends, and none at all with a selector that asks nothing."""
    carries: PodTerm | None = None
    role: str = ""
    """``required``, ``preferred``, ``anti_required`` or ``anti_preferred`` of a carried term."""

    def counts(self, shape: PodShape, labels: Mapping[str, str]) -> int:
        """Return how often a pod of ``shape`` is counted."""
        if self.carries is not None:
            carried: tuple[PodTerm, ...] = getattr(shape.affinity, self.role)
            return carried.count(self.carries)
        if self.for_spread and (shape.terminating or not all(term.selector.requirements for term in self.terms)):
            return 0
        return int(all(term.matches(shape.namespace, labels) for term in self.terms))


@dataclass(frozen=True, slots=True)
class NodeSet:
    """Say which nodes count for a tally; the same recipe admits other nodes when nodes change."""

    keys: tuple[str, ...] = ()
    """Labels that a node has to have."""
    selector: tuple[Requirement, ...] = ()
    terms: tuple[NodeTerm, ...] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    """Not None: nodes with a taint that these do not tolerate are out."""


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
    """Say what a pod shape means for every node, and which tallies it reads and changes.

    Columns by node are shared between shapes that ask the same: nobody writes into them.
    """

    index: int
    shape: PodShape
    requests: tuple[tuple[int, int], ...]
    """(resource, amount), in the order of their names."""
    verdict: npt.NDArray[np.int8]
    """By node: the first static filter that rejects."""
    taint_raw: npt.NDArray[np.int32]
    affinity_raw: npt.NDArray[np.int32]
    image: npt.NDArray[np.int8]
    """By node: the ImageLocality score, 0 to 100."""
    hard_spreads: tuple[SpreadPlan, ...]
    soft_spreads: tuple[SpreadPlan, ...]
    spread_keyed: Bools
    """By node: it has all keys of the soft constraints (always, for the system's default ones)."""
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
    named: Ints | None = None
    """The only nodes that are looked at, in the scheduler's order: required affinity names them. None = all."""
    conflicting: bool = False
    """Required affinity names nodes in a way that none can meet: no node is looked at."""
