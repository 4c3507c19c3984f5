"""Explain one decision: every filter's verdict, the scores of the best nodes, and what would change the outcome."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mlfn_sim.cluster.model import ClusterSnapshot
from mlfn_sim.errors import RecordingError
from mlfn_sim.experiments.moment import Moment
from mlfn_sim.explaining.fitting import shortage, steps_to_fit
from mlfn_sim.explaining.values import Change, Explanation, FilterVerdict, NodeScore, Question, Reason
from mlfn_sim.explaining.winning import steps_to_win
from mlfn_sim.explaining.world import World, find
from mlfn_sim.kernel import SECOND_US
from mlfn_sim.kube.decisions import Decision, Rejection, unschedulable_text
from mlfn_sim.kube.objects import Pod, PodShape
from mlfn_sim.kube.profile import FILTERS, Profile

__all__ = ["explain", "explain_moment"]

_EXAMPLES = 3
_TRIED = 3
"""Nodes of each reason on which changes are tried, those that lack least first."""
_Groups = dict[tuple[str, tuple[str, ...]], list[int]]
"""(filter, reasons) -> nodes."""


def explain(snapshot: ClusterSnapshot, profile: Profile, question: Question) -> Explanation:
    """Return why a pod goes where it goes. Raises RecordingError when there is no such pod or node.

    A pod that waits is asked when its turn comes: the pods in front of it are placed first. One that is on a node
    already is taken off it and asked anew.
    """
    pod, bound, rest = find(snapshot, question.pod)
    world = World(rest, profile)
    ahead = 0 if bound >= 0 or question.alone else _place_before(world, rest, snapshot.pending.index(pod))
    explanation = _explained(world, pod, world.decide(pod.shape), question)
    return replace(explanation, bound=world.nodes[bound].name if bound >= 0 else "", ahead=ahead)


def explain_moment(moment: Moment, question: Question) -> Explanation:
    """Return why a pod of a run went where it went. Raises RecordingError when there is no such node."""
    world = World(moment.snapshot, moment.profile)
    world.engine.start = moment.start
    explanation = _explained(world, moment.pod, moment.decision, question)
    return replace(explanation, at_s=moment.time_us / SECOND_US, attempt=moment.attempt, attempts=moment.attempts)


def _explained(world: World, pod: Pod, decision: Decision, question: Question) -> Explanation:
    groups = _groups(world, pod.shape, decision)
    names = [node.name for node in world.nodes]
    return Explanation(
        pod=f"{pod.shape.namespace}/{pod.name}",
        nodes=len(names),
        evaluated=decision.evaluated,
        feasible=len(decision.feasible),
        chosen=names[decision.chosen] if decision.chosen >= 0 else "",
        bound="",
        ahead=0,
        ties=tuple(names[node] for node in decision.ties),
        message="" if decision.feasible else unschedulable_text(decision, len(names)),
        filters=_filters(world, decision, groups),
        scores=_scores(world, decision, question.top),
        to_fit=_to_fit(world, pod.shape, groups, question),
        to_win=_to_win(world, pod.shape, decision, question),
    )


def _place_before(world: World, snapshot: ClusterSnapshot, place: int) -> int:
    """Place the pods that come before one in the queue: higher priority, then age; return how many."""
    mine = snapshot.pending[place]
    placed = 0
    queue = sorted(range(len(snapshot.pending)), key=lambda i: (-snapshot.pending[i].shape.priority, i))
    for i in queue:
        pod = snapshot.pending[i]
        if pod is mine:
            break
        decision = world.engine.decide(pod.shape)
        if decision.chosen >= 0:
            world.place(pod, decision.chosen)
            placed += 1
    return placed


def _groups(world: World, shape: PodShape, decision: Decision) -> _Groups:
    found: _Groups = {}
    for node, plugin in decision.rejected.items():
        why: Rejection | None = world.engine.rejection(shape, node)
        found.setdefault((plugin, why.reasons if why else ()), []).append(node)
    return found


def _filters(world: World, decision: Decision, groups: _Groups) -> tuple[FilterVerdict, ...]:
    verdicts = []
    asked = decision.evaluated
    for name in (each for each in FILTERS if each in world.profile.filters):
        by_text: dict[str, list[int]] = {}
        rejected = 0
        for (plugin, texts), nodes in groups.items():
            if plugin == name:
                rejected += len(nodes)
                for text in texts:
                    by_text.setdefault(text, []).extend(nodes)
        reasons = tuple(
            Reason(text, len(nodes), tuple(world.nodes[node].name for node in sorted(nodes)[:_EXAMPLES]))
            for text, nodes in sorted(by_text.items())
        )
        verdicts.append(FilterVerdict(name, asked, rejected, reasons))
        asked -= rejected
    return tuple(verdicts)


def _scores(world: World, decision: Decision, top: int) -> tuple[NodeScore, ...]:
    best = sorted(range(len(decision.totals)), key=lambda i: (-decision.totals[i], decision.feasible[i]))
    return tuple(
        NodeScore(
            world.nodes[decision.feasible[i]].name,
            decision.totals[i],
            {name: column[i] for name, column in decision.scores.items()},
        )
        for i in best[:top]
    )


def _to_fit(world: World, shape: PodShape, groups: _Groups, question: Question) -> tuple[Change, ...]:
    if question.node:
        node = _named(world, question.node)
        groups = {key: [node] for key, nodes in groups.items() if node in nodes}
    changes = [each for key, nodes in groups.items() if (each := _least(world, shape, key[1], nodes)) is not None]
    return tuple(sorted(changes, key=lambda each: (len(each.steps), each.node)))


def _least(world: World, shape: PodShape, reasons: Iterable[str], nodes: list[int]) -> Change | None:
    """Return the least that lets a shape onto one of the nodes that reject it for the same reasons."""

    def lacks(node: int) -> float:
        has = {**world.nodes[node].allocatable}
        return sum(much / max(has.get(name, 0), 1) for name, much in shortage(world, shape, node).items())

    best: tuple[int, float, int, tuple[str, ...]] | None = None
    costs = {node: lacks(node) for node in nodes}
    for node in sorted(nodes, key=lambda node: (costs[node], node))[:_TRIED]:
        steps = steps_to_fit(world, shape, node)
        if steps and (best is None or (len(steps), costs[node], node) < best[:3]):
            best = (len(steps), costs[node], node, steps)
    return None if best is None else Change(world.nodes[best[2]].name, "; ".join(reasons), best[3])


def _to_win(world: World, shape: PodShape, decision: Decision, question: Question) -> tuple[Change, ...]:
    if question.node:
        target = _named(world, question.node)
        if target in decision.rejected or target == decision.chosen:
            return ()
    else:
        if not decision.totals:
            return ()
        others = [i for i, node in enumerate(decision.feasible) if node != decision.chosen]
        if not others:
            return ()
        target = decision.feasible[max(others, key=lambda i: (decision.totals[i], -decision.feasible[i]))]
    return steps_to_win(world, shape, decision, target)


def _named(world: World, name: str) -> int:
    for i, node in enumerate(world.nodes):
        if node.name == name:
            return i
    raise RecordingError(f"there is no node {name!r}; there are {world.nodes[0].name} and {len(world.nodes) - 1} more")
