"""The fast engine: flat arrays and compiled loops over the same rules as the reference engine.

It interns pod shapes, keeps nodes in the snapshot's order and counts tallies in flat arrays. When a new shape comes,
the tables are packed again; the state of the nodes stays.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mlfn_policies.kube_scores import nodes_to_find
from mlfn_sim.kube.catalog import Catalog, ShapePlan
from mlfn_sim.kube.decisions import Decision, Rejection
from mlfn_sim.kube.engine import Batch, Outcome
from mlfn_sim.kube.grouping import no_lanes, pack_lanes
from mlfn_sim.kube.lanes import Lanes
from mlfn_sim.kube.loop import Work, change, work
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.packing import (
    PLUGINS,
    Nodes,
    empty_nodes,
    pack_nodes,
    pack_settings,
    pack_shapes,
    pack_tallies,
    widened,
)
from mlfn_sim.kube.profile import Profile
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
from mlfn_sim.kube.scanning import Cluster, Room, filter_all, find_floors, make_room, search
from mlfn_sim.kube.scoring import choose, score
from mlfn_sim.kube.ties import Draws

__all__ = ["FastEngine"]

_BARRED = 9
_RULES = {
    4: ("NodePorts", TEXT["NodePorts"], True),
    6: ("PodTopologySpread", f"{SPREAD} (missing required label)", False),
    7: ("PodTopologySpread", SPREAD, True),
    8: ("InterPodAffinity", AFFINITY, False),
    10: ("InterPodAffinity", ANTI_AFFINITY, True),
    11: ("InterPodAffinity", KEPT_OUT, True),
}
"""Code of a rejection -> filter, words, whether the end of other pods could admit the pod."""


class FastEngine:
    """Hold the state of a cluster and decide for one pod after another."""

    def __init__(self, catalog: Catalog, profile: Profile, draws: Draws | None = None) -> None:
        self.catalog = catalog
        self.profile = profile
        self.start = 0
        self._draws = draws
        self._pods: dict[tuple[int, int], int] = {}
        """(shape, node) -> pods there, but those of the ledger."""
        self._ledger: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = []
        """(shapes, positions) of batches' pods that stay."""
        self._settings = pack_settings(catalog, self.profile)
        self._settle(empty_nodes(0), np.full(len(catalog.nodes), -1))

    def _settle(self, before: Nodes, came: npt.NDArray[np.int64]) -> None:
        """Lay the nodes out; those that ``came`` from a position keep what is on them."""
        catalog, order = self.catalog, self.catalog.order
        self._position = np.empty(len(order), np.int64)
        self._position[order] = np.arange(len(order))
        self._packed: tuple[ShapePlan, ...] = ()
        self._lanes: Lanes | None = None
        self._nodes = pack_nodes(catalog, before, came[order])

    # -- state --

    def _shape(self, shape: PodShape) -> int:
        """Return a shape's index, with tables that know it."""
        index = self.catalog.plan(shape).index
        self._pack()
        return index

    def _pack(self) -> None:
        plans = tuple(self.catalog.plans)
        if len(plans) == len(self._packed) and all(map(operator.is_, plans, self._packed)):
            return
        shapes, ports = pack_shapes(self.catalog, self.profile)
        resident = self._residents()
        tallies = pack_tallies(self.catalog, lambda tally: self._counted(tally, resident))
        order, names = self.catalog.order, self.catalog.resources
        self._nodes = widened(self._nodes, self.catalog, ports)
        self._cluster = Cluster(self._nodes, shapes, tallies, self._settings)
        most = int((shapes.span[:, :, 1] - shapes.span[:, :, 0]).max())
        self._room: Room = make_room(len(order), int(tallies.values.max()), max(most, len(names)))
        self._packed = plans
        self._lanes = None

    def _kept_lanes(self) -> Lanes:
        """Return lanes where all nodes are looked at for every pod; the scan needs none."""
        count = len(self.catalog.nodes)
        if nodes_to_find(count, self.profile.percentage) < count:
            return no_lanes()
        if self._lanes is None:
            self._lanes = pack_lanes(self._cluster)
        return self._lanes

    def _residents(self) -> dict[tuple[int, int], int]:
        """Return (shape, node) -> pods."""
        for shapes, positions in self._ledger:
            keys = shapes.astype(np.int64) * len(self.catalog.nodes) + self.catalog.order[positions]
            for key, pods in zip(*np.unique(keys, return_counts=True), strict=True):
                s, node = divmod(int(key), len(self.catalog.nodes))
                self._pods[s, node] = self._pods.get((s, node), 0) + int(pods)
        self._ledger = []
        return self._pods

    def _counted(self, tally: int, resident: Mapping[tuple[int, int], int]) -> npt.NDArray[np.int64]:
        counts = np.zeros(len(self.catalog.nodes), np.int64)
        matcher = self.catalog.tallies[tally].matcher
        each = [matcher.counts(plan.shape, dict(plan.shape.labels)) for plan in self.catalog.plans]
        for (s, node), pods in resident.items():
            counts[node] += each[s] * pods
        return counts

    def place(self, shape: PodShape, node: int) -> None:
        """Put a pod onto a node, fitting or not."""
        self._change(shape, node, 1)

    def remove(self, shape: PodShape, node: int) -> None:
        """Take a pod off a node."""
        self._change(shape, node, -1)

    def _change(self, shape: PodShape, node: int, sign: int) -> None:
        s = self._shape(shape)
        self._pods[s, node] = self._pods.get((s, node), 0) + sign
        change(self._cluster, s, int(self._position[node]), sign)

    def change_nodes(self, nodes: tuple[NodeSpec, ...]) -> None:
        """Go on with other nodes: those with known names keep their pods, pods of the others are gone."""
        resident, position, before = self._residents(), self._position, self._nodes
        came = self.catalog.change_nodes(nodes)
        known = np.flatnonzero(came >= 0)
        now = dict(zip(came[known].tolist(), known.tolist(), strict=True))
        self._pods = {(s, now[node]): pods for (s, node), pods in resident.items() if node in now}
        from_position = np.full(len(nodes), -1)
        from_position[known] = position[came[known]]
        self._settle(before, from_position)

    # -- decisions --

    def decide(self, shape: PodShape, barred: Mapping[int, Rejection] | None = None) -> Decision:
        """Return what the scheduler would do with a pod now; places nothing, but moves the start of the next search."""
        s, barred = self._shape(shape), barred or {}
        plan, order, room = self.catalog.plans[s], self.catalog.order, self._room
        if plan.conflicting:
            return Decision(-1, (), 0, refusal=CONFLICT)
        for node in barred:
            self._nodes.barred[self._position[node]] = True
        n, evaluated = search(self._cluster, room, s, self.start)
        self._nodes.barred[:] = False
        if len(order):
            self.start = (self.start + evaluated) % len(order)
        rejected, reasons = self._rejections(plan, evaluated, barred)
        if n == 0:
            if plan.named is not None and len(plan.named) < len(order):
                reasons[NOT_NAMED] = len(order) - len(rejected)
            return Decision(-1, (), evaluated, rejected, reasons)
        score(self._cluster, room, s, n)
        draw = float(self._draws.peek(1)[0]) if self._draws else -1.0
        chosen, _ = choose(self._cluster, room, n, draw)
        if self._draws:
            self._draws.skip(1)
        found = order[room.found[:n]].tolist()
        totals = room.totals[:n].tolist()
        best = max(totals)
        ties = tuple(node for node, value in zip(found, totals, strict=True) if value == best)
        scores = {name: room.columns[i, :n].tolist() for i, name in enumerate(PLUGINS) if room.used[i]}
        return Decision(int(order[chosen]), tuple(found), evaluated, rejected, reasons, scores, totals, ties)

    def rejection(self, shape: PodShape, node: int) -> Rejection | None:
        """Return why a pod cannot go onto one node now, None when it can."""
        s, room = self._shape(shape), self._room
        room.looked[0] = self._position[node]
        find_floors(self._cluster, s, room.floors)
        filter_all(self._cluster, room, s, 0, 1)
        code = int(room.code[0])
        return self._words(self.catalog.plans[s], int(room.looked[0]), code) if code else None

    def _rejections(
        self, plan: ShapePlan, evaluated: int, barred: Mapping[int, Rejection]
    ) -> tuple[dict[int, str], Counter[str]]:
        rejected: dict[int, str] = {}
        reasons: Counter[str] = Counter()
        codes, looked = self._room.code[:evaluated], self._room.looked
        for i in np.flatnonzero(codes).tolist():
            node, code = int(self.catalog.order[looked[i]]), int(codes[i])
            why = barred[node] if code == _BARRED else self._words(plan, int(looked[i]), code)
            rejected[node] = why.plugin
            reasons.update(why.reasons)
        return rejected, reasons

    def _words(self, plan: ShapePlan, p: int, code: int) -> Rejection:
        """Return what a code means on a position."""
        if code in _RULES:
            plugin, words, curable = _RULES[code]
            return Rejection(plugin, (words,), curable)
        if code in STATIC:
            said = static_words(code, plan.shape, self.catalog.nodes[self.catalog.order[p]])
            return Rejection(STATIC[code][0], (said,), curable=False)
        node, nodes = self._nodes.basic[p], self._nodes
        short, curable = ["Too many pods"] if node[6] + 1 > node[7] else [], True
        for resource, amount in plan.requests:
            used = node[2 + resource] if resource < 2 else nodes.used[p, resource]
            if amount > nodes.capacity[p, resource] - used:
                short.append(f"Insufficient {self.catalog.resources[resource]}")
                curable = curable and bool(amount <= nodes.capacity[p, resource])
        return Rejection("NodeResourcesFit", tuple(short), curable)

    def run(self, batch: Batch) -> Outcome:
        """Decide and place one pod after another."""
        index = np.array([self.catalog.plan(shape).index for shape in batch.shapes], np.int32)
        self._pack()
        coming = batch.steps >= 0
        steps = np.where(coming, index[np.maximum(batch.steps, 0)], batch.steps).astype(np.int32)
        pods = int(coming.sum())
        draws = self._draws.peek(pods).copy() if self._draws else np.empty(0)
        columns = [np.zeros(pods, np.int32) for _ in range(4)]
        task = Work(steps, draws, columns[0], columns[1], columns[2], columns[3], np.zeros(pods, np.bool_))
        task.chosen[:] = -1
        self.start, drawn = work(self._cluster, self._room, self._kept_lanes(), task, self.start)
        if self._draws:
            self._draws.skip(drawn)
        stay = (task.chosen >= 0) & ~task.gone
        self._ledger.append((task.shape[stay], task.chosen[stay]))
        order = self.catalog.order
        chosen = np.where(task.chosen >= 0, order[np.maximum(task.chosen, 0)], -1) if len(order) else task.chosen
        return Outcome(chosen.astype(np.int32), task.ties, task.starts)
