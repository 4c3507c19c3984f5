"""Turn a catalog's plans into flat arrays, in the snapshot's order, that compiled code reads.

A *position* is a node's place in the snapshot's order; everything by node is stored by position. Everything of a shape
is a span of rows in one table, by :class:`Rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.catalog import Catalog, ShapePlan
from mlfn_sim.kube.profile import Profile

__all__ = [
    "PLUGINS",
    "Fact",
    "Nodes",
    "Rule",
    "Settings",
    "Shapes",
    "Tallies",
    "empty_nodes",
    "pack_nodes",
    "pack_settings",
    "pack_shapes",
    "pack_tallies",
    "widened",
]

PLUGINS = (
    "ImageLocality",
    "InterPodAffinity",
    "NodeAffinity",
    "NodeResourcesBalancedAllocation",
    "NodeResourcesFit",
    "PodTopologySpread",
    "TaintToleration",
)
"""The rows of scores, in the order of their names."""
_STORAGE = "ephemeral-storage"
_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


class Rule:
    """Number the kinds of a shape's rows; columns in parentheses."""

    REQUEST, HARD, SOFT, NEAR, AWAY, KEPT_OUT, ATTRACTION, CHANGE, PORT, CONFLICT = range(10)
    COUNT = 10


class Fact:
    """Number the columns of what there is one of for a shape."""

    VERDICT, TAINT, AFFINITY, IMAGE, KEYED = range(5)
    """Rows of the pools."""
    CPU, MEMORY, ASSUMED_CPU, ASSUMED_MEMORY, PREFERS, BALANCED, NEAR_ITSELF = range(5, 12)
    COUNT = 12


class Nodes(NamedTuple):
    """State and capacity by position."""

    basic: npt.NDArray[np.int64]
    """One cache line a node: capacity of cpu, memory; real use of both; assumed use of both; pods; allowed pods."""
    capacity: npt.NDArray[np.int64]
    """[position, resource]: of the other resources; the first two columns are not used."""
    used: npt.NDArray[np.int64]
    ports: npt.NDArray[np.int32]
    """[position, port]: pods that hold it."""
    barred: npt.NDArray[np.bool_]
    order: npt.NDArray[np.int64]
    """Position -> node."""
    log: npt.NDArray[np.int32]
    """Positions whose state changed, the last ones, in a ring."""
    changes: npt.NDArray[np.int64]
    """How many there have been, in one cell."""


class Shapes(NamedTuple):
    """Everything of the shapes."""

    facts: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]
    """[shape, resource]"""
    span: npt.NDArray[np.int64]
    """[shape, rule, 2]: first row and the row after the last."""
    rows: npt.NDArray[np.int64]
    verdict: npt.NDArray[np.int8]
    raw: npt.NDArray[np.int32]
    """Pool of raw taint and affinity scores."""
    image: npt.NDArray[np.int8]
    keyed: npt.NDArray[np.bool_]
    named: npt.NDArray[np.int32]
    """Positions that shapes name as the only ones to look at, in order."""
    named_span: npt.NDArray[np.int64]
    """[shape, 2]: from, to; from -1: any position."""


class Tallies(NamedTuple):
    """Counts by topology value, all tallies in one array."""

    counts: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]
    """By tally: the sum of its counts."""
    topology: npt.NDArray[np.int64]
    nodes: npt.NDArray[np.int64]
    """By tally: the row of ``admitted``."""
    admitted: npt.NDArray[np.bool_]
    value: npt.NDArray[np.int32]
    """[topology, position]"""
    values: npt.NDArray[np.int64]
    """By topology: how many."""
    present: npt.NDArray[np.int32]
    """Of each tally, the values on the nodes that it admits."""
    present_span: npt.NDArray[np.int64]
    single: npt.NDArray[np.bool_]
    """By topology: no value is on two nodes, so that a node's own pods decide its counts."""


class Settings(NamedTuple):
    """The profile."""

    weights: npt.NDArray[np.int64]
    """By plugin; -1 is off."""
    percentage: int
    strategy: int
    fit: npt.NDArray[np.int64]
    """(resource, weight)."""
    utilizations: npt.NDArray[np.int64]
    scores: npt.NDArray[np.int64]
    balanced: npt.NDArray[np.int64]
    storage: int
    """The resource that counts whether it is asked for or not, beside cpu and memory; -1: there is none."""


class _Pool:
    """Keep equal columns once."""

    def __init__(self, order: npt.NDArray[np.int64], kind: type[np.generic]) -> None:
        self._order, self._kind = order, kind
        self._rows: dict[bytes, int] = {}
        self._known: dict[int, int] = {}
        """id of a column -> its row; plans hold the columns, and share them."""
        self._columns: list[npt.NDArray[Any]] = []

    def row(self, column: npt.NDArray[Any]) -> int:
        if id(column) not in self._known:
            self._known[id(column)] = self._row(column)
        return self._known[id(column)]

    def _row(self, column: npt.NDArray[Any]) -> int:
        stored = np.ascontiguousarray(column[self._order], self._kind)
        key = stored.tobytes()
        if key not in self._rows:
            self._rows[key] = len(self._columns)
            self._columns.append(stored)
        return self._rows[key]

    def array(self) -> npt.NDArray[Any]:
        if not self._columns:
            return np.zeros((1, len(self._order)), self._kind)
        return np.stack(self._columns)


def empty_nodes(count: int) -> Nodes:
    """Return nodes without room."""
    none = np.zeros((count, 0), np.int64)
    return Nodes(
        np.zeros((count, 8), np.int64),
        none,
        none,
        np.zeros((count, 1), np.int32),
        np.zeros(count, np.bool_),
        np.zeros(count, np.int64),
        np.zeros(max(1, count), np.int32),
        np.zeros(1, np.int64),
    )


def pack_nodes(catalog: Catalog, before: Nodes, came: npt.NDArray[np.int64]) -> Nodes:
    """Return a catalog's nodes by position; those that ``came`` from a position of ``before`` keep what is there."""
    order, known = catalog.order, came >= 0
    nodes = empty_nodes(len(order))
    nodes.order[:] = order
    nodes.basic[known] = before.basic[came[known]]
    nodes.basic[:, 0], nodes.basic[:, 1] = catalog.allocatable[0][order], catalog.allocatable[1][order]
    nodes.basic[:, 7] = catalog.allowed_pods[order]
    used = np.zeros((len(order), before.used.shape[1]), np.int64)
    used[known] = before.used[came[known]]
    ports = np.zeros((len(order), before.ports.shape[1]), np.int32)
    ports[known] = before.ports[came[known]]
    return nodes._replace(used=used, ports=ports)


def widened(nodes: Nodes, catalog: Catalog, ports: int) -> Nodes:
    """Return nodes with columns for all the resources and ports that there are by now."""
    order, names = catalog.order, catalog.resources
    used = np.zeros((len(order), len(names)), np.int64)
    used[:, : nodes.used.shape[1]] = nodes.used
    held = np.zeros((len(order), max(1, ports)), np.int32)
    held[:, : nodes.ports.shape[1]] = nodes.ports
    capacity = np.ascontiguousarray(np.stack([row[order] for row in catalog.allocatable], axis=1))
    return nodes._replace(capacity=capacity, used=used, ports=held)


def pack_settings(catalog: Catalog, profile: Profile) -> Settings:
    """Return a profile as numbers."""
    strategy = profile.strategy
    fit = [(catalog.resource(name), weight) for name, weight in strategy.resources]
    return Settings(
        np.array([profile.weights.get(name, -1) for name in PLUGINS], np.int64),
        profile.percentage,
        _STRATEGIES.index(strategy.kind),
        np.array(fit, np.int64).reshape(-1, 2),
        np.array(strategy.utilizations or (0,), np.int64),
        np.array(strategy.scores or (0,), np.int64),
        np.array([catalog.resource(name) for name in profile.balanced], np.int64),
        catalog.resources.index(_STORAGE) if _STORAGE in catalog.resources else -1,
    )


def _ports(plans: Sequence[ShapePlan]) -> dict[tuple[str, str, int], int]:
    found: dict[tuple[str, str, int], int] = {}
    for plan in plans:
        for port in plan.ports:
            found.setdefault(port, len(found))
    return found


def _conflicts(port: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return port[1:] == other[1:] and (port[0] == other[0] or "0.0.0.0" in (port[0], other[0]))  # noqa: S104


def _rows(plan: ShapePlan, ports: dict[tuple[str, str, int], int]) -> list[list[tuple[int, ...]]]:
    """Return the rows of a shape, by rule."""
    held = [ports[port] for port in plan.ports]
    taken = {i for other, i in ports.items() if any(_conflicts(port, other) for port in plan.ports)}
    return [
        list(plan.requests),
        [(r.tally, r.topology, r.max_skew, r.matches_itself, r.min_domains) for r in plan.hard_spreads],
        [(r.tally, r.topology, r.max_skew, int(r.is_hostname)) for r in plan.soft_spreads],
        [(r.tally, r.topology) for r in plan.near],
        [(r.tally, r.topology) for r in plan.away],
        [(r.tally, r.topology) for r in plan.kept_out],
        [(r.tally, r.topology, r.weight) for r in plan.attraction],
        list(plan.changes),
        [(port,) for port in held],
        [(port,) for port in sorted(taken)],
    ]


def pack_shapes(catalog: Catalog, profile: Profile) -> tuple[Shapes, int]:
    """Return all shapes that the catalog knows, and how many ports there are."""
    plans, ports = catalog.plans, _ports(catalog.plans)
    verdict, raw = _Pool(catalog.order, np.int8), _Pool(catalog.order, np.int32)
    image, keyed = _Pool(catalog.order, np.int8), _Pool(catalog.order, np.bool_)
    facts = np.zeros((len(plans), Fact.COUNT), np.int64)
    asked = np.zeros((len(plans), len(catalog.resources)), np.int64)
    span = np.zeros((len(plans), Rule.COUNT, 2), np.int64)
    table: list[tuple[int, ...]] = []
    balanced = {catalog.resource(name) for name in profile.balanced}
    for s, plan in enumerate(plans):
        for resource, amount in plan.requests:
            asked[s, resource] = amount
        facts[s] = (
            verdict.row(plan.verdict),
            raw.row(plan.taint_raw),
            raw.row(plan.affinity_raw),
            image.row(plan.image),
            keyed.row(plan.spread_keyed),
            asked[s, 0],
            asked[s, 1],
            plan.shape.assumed_cpu,
            plan.shape.assumed_memory,
            bool(plan.shape.preferred_nodes),
            any(resource in balanced for resource, _ in plan.requests),
            plan.near_itself,
        )
        for rule, rows in enumerate(_rows(plan, ports)):
            span[s, rule] = len(table), len(table) + len(rows)
            table += [row + (0,) * (5 - len(row)) for row in rows]
    flat = np.array(table or [(0,) * 5], np.int64)
    pools = (verdict.array(), raw.array(), image.array(), keyed.array())
    return Shapes(facts, asked, span, flat, *pools, *_named(catalog)), len(ports)


def _named(catalog: Catalog) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the positions that shapes name, and which are whose."""
    position = np.argsort(catalog.order)
    named, span = [np.zeros(0, np.int64)], np.full((len(catalog.plans), 2), -1, np.int64)
    for s, plan in enumerate(catalog.plans):
        if plan.named is not None:
            first = sum(map(len, named))
            named.append(position[plan.named])
            span[s] = first, first + len(plan.named)
    return np.concatenate(named).astype(np.int32), span


def _is_single(value: npt.NDArray[np.int32]) -> bool:
    there = value[value >= 0]
    return len(np.unique(there)) == len(there)


def pack_tallies(catalog: Catalog, recount: Callable[[int], npt.NDArray[np.int64]]) -> Tallies:
    """Return all tallies; ``recount`` tells the counted pods of a tally by node."""
    order, topologies = catalog.order, catalog.topologies
    value = np.array([t.value[order] for t in topologies] or [np.zeros(len(order), np.int64)], np.int32)
    admitted = np.array([each[order] for each in catalog.node_sets] or [np.ones(len(order), np.bool_)], np.bool_)
    sizes = [len(topologies[tally.topology].values) for tally in catalog.tallies]
    offset = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))).astype(np.int64)
    counts = np.zeros(max(1, int(offset[-1])), np.int32)
    total = np.zeros(len(sizes) + 1, np.int64)
    present: list[npt.NDArray[np.int32]] = []
    for t, tally in enumerate(catalog.tallies):
        inside = admitted[tally.nodes] & (value[tally.topology] >= 0)
        here = value[tally.topology][inside]
        np.add.at(counts, offset[t] + here, recount(t)[order][inside].astype(np.int32))
        total[t] = counts[offset[t] : offset[t + 1]].sum()
        present.append(np.unique(here).astype(np.int32))
    ends = np.concatenate(([0], np.cumsum([len(each) for each in present], dtype=np.int64))).astype(np.int64)
    return Tallies(
        counts,
        offset,
        total,
        np.array([tally.topology for tally in catalog.tallies] or [0], np.int64),
        np.array([tally.nodes for tally in catalog.tallies] or [0], np.int64),
        admitted,
        value,
        np.array([len(t.values) for t in topologies] or [0], np.int64),
        np.concatenate(present) if present else np.zeros(1, np.int32),
        ends,
        np.array([_is_single(each) for each in value], np.bool_),
    )
