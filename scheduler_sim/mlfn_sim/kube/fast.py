"""The fast engine: flat arrays and compiled loops over the same rules as the reference engine.

It interns pod shapes, keeps nodes in the snapshot's order and counts tallies in flat arrays. When a new shape comes,
the tables are packed again; the state of the nodes stays.
"""

from __future__ import annotations

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
from mlfn_sim.kube.packing import PLUGINS, Nodes, pack_settings, pack_shapes, pack_tallies
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reasons import AFFINITY, ANTI_AFFINITY, KEPT_OUT, SPREAD, TEXT, taint_text
from mlfn_sim.kube.scanning import Cluster, Room, make_room, search
from mlfn_sim.kube.scoring import choose, score
from mlfn_sim.kube.ties import Draws

__all__ = ["FastEngine"]

_PLUGIN = {
    1: "NodeUnschedulable",
    2: "TaintToleration",
    3: "NodeAffinity",
    4: "NodePorts",
    5: "NodeResourcesFit",
    6: "PodTopologySpread",
    7: "PodTopologySpread",
    8: "InterPodAffinity",
    10: "InterPodAffinity",
    11: "InterPodAffinity",
}
_WORDS = {6: f"{SPREAD} (missing required label)", 7: SPREAD, 8: AFFINITY, 10: ANTI_AFFINITY, 11: KEPT_OUT}
_BARRED = 9


class FastEngine:
    """Hold the state of a cluster and decide for one pod after another."""

    def __init__(self, catalog: Catalog, profile: Profile, draws: Draws | None = None) -> None:
        self.profile = profile
        self.start = 0
        self._draws = draws
        self._settle(catalog)

    def _settle(self, catalog: Catalog) -> None:
        self.catalog = catalog
        count = len(catalog.nodes)
        self._position = np.empty(count, np.int64)
        self._position[catalog.order] = np.arange(count)
        self._packed: tuple[object, ...] = ()
        self._lanes: Lanes | None = None
        self._pods: dict[tuple[int, int], int] = {}
        """(shape, node) -> pods there, but those of the ledger."""
        self._ledger: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = []
        """(shapes, positions) of batches' pods that stay."""
        self._settings = pack_settings(catalog, self.profile)
        basic = np.zeros((count, 8), np.int64)
        basic[:, 0], basic[:, 1] = catalog.allocatable[0][catalog.order], catalog.allocatable[1][catalog.order]
        basic[:, 7] = catalog.allowed_pods[catalog.order]
        none = np.zeros((count, 0), np.int64)
        ports = np.zeros((count, 1), np.int32)
        barred = np.zeros(count, np.bool_)
        log = np.zeros(max(1, count), np.int32)
        self._nodes = Nodes(
            basic, none, none, ports, barred, catalog.order.astype(np.int64), log, np.zeros(1, np.int64)
        )

    # -- state --

    def _shape(self, shape: PodShape) -> int:
        """Return a shape's index, with tables that know it."""
        index = self.catalog.plan(shape).index
        self._pack()
        return index

    def _pack(self) -> None:
        plans = tuple(map(id, self.catalog.plans))
        if plans == self._packed:
            return
        shapes, ports = pack_shapes(self.catalog, self.profile)
        resident = self._residents()
        tallies = pack_tallies(self.catalog, lambda tally: self._counted(tally, resident))
        order, names = self.catalog.order, self.catalog.resources
        capacity = np.ascontiguousarray(np.stack([row[order] for row in self.catalog.allocatable], axis=1))
        used = np.zeros((len(order), len(names)), np.int64)
        used[:, : self._nodes.used.shape[1]] = self._nodes.used
        held = np.zeros((len(order), max(1, ports)), np.int32)
        held[:, : self._nodes.ports.shape[1]] = self._nodes.ports
        self._nodes = self._nodes._replace(capacity=capacity, used=used, ports=held)
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
        old, resident = self.catalog, dict(self._residents())
        self._settle(old.with_nodes(nodes))
        place = {node.name: i for i, node in enumerate(nodes)}
        for plan in old.plans:
            self.catalog.plan(plan.shape)
        for (s, node), pods in resident.items():
            target = place.get(old.nodes[node].name, -1)
            for _ in range(pods if target >= 0 else 0):
                self.place(old.plans[s].shape, target)

    # -- decisions --

    def decide(self, shape: PodShape, barred: Mapping[int, Rejection] | None = None) -> Decision:
        """Return what the scheduler would do with a pod now; places nothing, but moves the start of the next search."""
        s, barred = self._shape(shape), barred or {}
        order, room = self.catalog.order, self._room
        total = len(order)
        if not total:
            return Decision(-1, (), 0)
        begin = self.start % total
        for node in barred:
            self._nodes.barred[self._position[node]] = True
        n, evaluated = search(self._cluster, room, s, begin)
        self._nodes.barred[:] = False
        self.start = (begin + evaluated) % total
        rejected, reasons = self._rejections(self.catalog.plans[s], (begin, evaluated), barred)
        if n == 0:
            return Decision(-1, (), evaluated, rejected, reasons)
        score(self._cluster, room, s, n)
        draw = float(self._draws.peek(1)[0]) if self._draws else -1.0
        chosen, _ = choose(self._cluster, room, n, begin, draw)
        if self._draws:
            self._draws.skip(1)
        found = order[room.found[:n]].tolist()
        totals = room.totals[:n].tolist()
        best = max(totals)
        ties = tuple(node for node, value in zip(found, totals, strict=True) if value == best)
        scores = {name: room.columns[i, :n].tolist() for i, name in enumerate(PLUGINS) if room.used[i]}
        return Decision(int(order[chosen]), tuple(found), evaluated, rejected, reasons, scores, totals, ties)

    def _rejections(
        self, plan: ShapePlan, searched: tuple[int, int], barred: Mapping[int, Rejection]
    ) -> tuple[dict[int, str], Counter[str]]:
        rejected: dict[int, str] = {}
        reasons: Counter[str] = Counter()
        total = len(self.catalog.order)
        for step in range(searched[1]):
            p = (searched[0] + step) % total
            node, code = int(self.catalog.order[p]), int(self._room.code[step])
            if code == _BARRED:
                rejected[node] = barred[node].plugin
                reasons.update(barred[node].reasons)
            elif code:
                rejected[node] = _PLUGIN[code]
                reasons.update(self._words(plan, p, code))
        return rejected, reasons

    def _words(self, plan: ShapePlan, p: int, code: int) -> list[str]:
        if code in _WORDS:
            return [_WORDS[code]]
        if _PLUGIN[code] in TEXT:
            return [TEXT[_PLUGIN[code]]]
        if _PLUGIN[code] == "TaintToleration":
            return [taint_text(plan.shape, self.catalog.nodes[self.catalog.order[p]])]
        node, nodes = self._nodes.basic[p], self._nodes
        short = ["Too many pods"] if node[6] + 1 > node[7] else []
        for resource, amount in plan.requests:
            used = node[2 + resource] if resource < 2 else nodes.used[p, resource]
            if amount > nodes.capacity[p, resource] - used:
                short.append(f"Insufficient {self.catalog.resources[resource]}")
        return short

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
        begin = self.start % max(1, len(self.catalog.nodes))
        self.start, drawn = work(self._cluster, self._room, self._kept_lanes(), task, begin)
        if self._draws:
            self._draws.skip(drawn)
        stay = (task.chosen >= 0) & ~task.gone
        self._ledger.append((task.shape[stay], task.chosen[stay]))
        order = self.catalog.order
        chosen = np.where(task.chosen >= 0, order[np.maximum(task.chosen, 0)], -1) if len(order) else task.chosen
        return Outcome(chosen.astype(np.int32), task.ties, task.starts)
