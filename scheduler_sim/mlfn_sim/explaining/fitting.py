"""What would have to change for a pod to fit onto a node that rejects it: every filter in turn, each step tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mlfn_sim.explaining.world import World
from mlfn_sim.kube.catalog import meets_affinity
from mlfn_sim.kube.decisions import Rejection
from mlfn_sim.kube.objects import Effect, NodeSpec, NodeTerm, Pod, PodShape, PodTerm, Requirement, Toleration

__all__ = ["amount", "shortage", "steps_to_fit"]

_MOST_STEPS = 16
_MOST_SKEW = 64
_CORDON = "node.kubernetes.io/unschedulable"
_UNITS = ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"))


@dataclass(slots=True)
class _Attempt:
    """Hold what has been changed so far, for one node."""

    world: World
    node: int
    shape: PodShape
    steps: list[str] = field(default_factory=list)
    gone: list[tuple[PodShape, int]] = field(default_factory=list)
    left: set[int] = field(default_factory=set)
    """Which of the world's pods are among those gone."""

    @property
    def spec(self) -> NodeSpec:
        return self.world.nodes[self.node]

    def rejection(self, shape: PodShape) -> Rejection | None:
        with self.world.without(self.gone):
            return self.world.engine.rejection(shape, self.node)


def steps_to_fit(world: World, shape: PodShape, node: int) -> tuple[str, ...] | None:
    """Return all that keeps a shape off a node, as steps that together let it in; None when no step helps."""
    attempt = _Attempt(world, node, shape)
    for _ in range(_MOST_STEPS):
        why = attempt.rejection(attempt.shape)
        if why is None:
            return tuple(attempt.steps)
        before = len(attempt.steps)
        _STEPS[why.plugin](attempt, why)
        if len(attempt.steps) == before:
            return None
    return None


def shortage(world: World, shape: PodShape, node: int) -> dict[str, int]:
    """Return what a node lacks of each resource; ``pods``: how many have to go."""
    used, spec = world.used(node), world.nodes[node]
    lacking = {name: asked - (spec.allocatable.get(name, 0) - used.get(name, 0)) for name, asked in shape.requests}
    lacking["pods"] = int(world.engine.pods[node]) + 1 - spec.allocatable.get("pods", 0)
    return {name: much for name, much in lacking.items() if much > 0}


def amount(name: str, much: int) -> str:
    """Return an amount as Kubernetes writes it."""
    if name == "cpu":
        return f"{much}m"
    for unit, letter in _UNITS:
        if much >= unit and much % unit == 0:
            return f"{much // unit}{letter}"
    return str(much)


def _cordon(attempt: _Attempt, why: Rejection) -> None:
    attempt.steps.append(f"uncordon {attempt.spec.name} (or a toleration of {_CORDON})")
    toleration = Toleration(_CORDON, "Exists", "", "")
    attempt.shape = replace(attempt.shape, tolerations=(*attempt.shape.tolerations, toleration))


def _taints(attempt: _Attempt, why: Rejection) -> None:
    added = []
    for taint in attempt.spec.taints:
        hard = taint.effect is not Effect.PREFER_NO_SCHEDULE
        if hard and not any(each.tolerates(taint) for each in attempt.shape.tolerations):
            value = f"={taint.value}" if taint.value else ""
            attempt.steps.append(f"a toleration of {taint.key}{value}:{taint.effect}")
            added.append(Toleration(taint.key, "Equal", taint.value, taint.effect))
    attempt.shape = replace(attempt.shape, tolerations=(*attempt.shape.tolerations, *added))


def _affinity(attempt: _Attempt, why: Rejection) -> None:
    spec, shape = attempt.spec, attempt.shape
    unmet = [each for each in shape.node_selector if not each.holds(spec.labels)]
    if not meets_affinity(replace(shape, node_selector=()), spec):
        terms = sorted((_unmet(term, spec) for term in shape.node_terms or ()), key=len)
        if terms:
            unmet += terms[0]
        else:
            attempt.steps.append("a required node affinity that matches some node (it has no term)")
    attempt.steps += [f"{_wanted(each, spec)}, or the pod not asking {each.key}" for each in unmet]
    attempt.shape = replace(shape, node_selector=(), node_terms=None)


def _unmet(term: NodeTerm, spec: NodeSpec) -> list[Requirement]:
    named = {"metadata.name": spec.name}
    unmet = [each for each in term.labels if not each.holds(spec.labels)]
    unmet += [each for each in term.fields if not each.holds(named)]
    return unmet or [Requirement("anything", "Exists", ())]  # a term that asks nothing matches nothing


def _wanted(each: Requirement, spec: NodeSpec) -> str:
    has = spec.labels.get(each.key)
    now = f"it has {each.key}={has}" if has is not None else "it has none"
    match each.operator:
        case "In" if len(each.values) == 1:
            return f"the label {each.key}={each.values[0]} on {spec.name} ({now})"
        case "In":
            return f"a label {each.key} out of {', '.join(each.values)} on {spec.name} ({now})"
        case "NotIn" | "DoesNotExist":
            return f"no label {each.key}={has} on {spec.name}"
        case "Exists":
            return f"a label {each.key} on {spec.name}"
        case _:
            sign = ">" if each.operator == "Gt" else "<"
            return f"a label {each.key} {sign} {' '.join(each.values)} on {spec.name} ({now})"


def _ports(attempt: _Attempt, why: Rejection) -> None:
    wanted = {(protocol, port) for _, protocol, port in attempt.shape.ports}
    for pod in attempt.world.residents(attempt.node):
        for _, protocol, port in pod.shape.ports:
            if (protocol, port) in wanted:
                attempt.steps.append(f"host port {port}/{protocol} free on {attempt.spec.name} ({pod.name} holds it)")
    attempt.shape = replace(attempt.shape, ports=())


def _fit(attempt: _Attempt, why: Rejection) -> None:
    lacking = shortage(attempt.world, attempt.shape, attempt.node)
    pods = lacking.pop("pods", 0)
    asked = dict(attempt.shape.requests)
    for name, much in sorted(lacking.items()):
        rest = asked[name] - much
        instead = (
            f" (or the pod asking {amount(name, rest)} instead of {amount(name, asked[name])})" if rest > 0 else ""
        )
        attempt.steps.append(f"{amount(name, much)} more {name} on {attempt.spec.name}{instead}")
    if pods:
        attempt.steps.append(f"{pods} {'pod' if pods == 1 else 'pods'} fewer on {attempt.spec.name}")
    freed = PodShape(namespace="", requests=tuple(sorted(lacking.items())))
    empty = PodShape(namespace="")
    attempt.gone += [(freed, attempt.node), *[(empty, attempt.node)] * (pods - 1)]


def _spread(attempt: _Attempt, why: Rejection) -> None:
    spec = attempt.spec
    for i, spread in enumerate(attempt.shape.spreads):
        if not spread.hard:
            continue
        if spread.key not in spec.labels:
            attempt.steps.append(f"a label {spread.key} on {spec.name}")
            attempt.shape = _with_skew(attempt.shape, i, None)
            return
        others = attempt.shape
        for j in reversed(range(len(others.spreads))):
            if j != i and others.spreads[j].hard:
                others = _with_skew(others, j, None)
        place = next(k for k, each in enumerate(others.spreads) if each is spread)
        if not _spreads_wrong(attempt.rejection(others)):
            continue
        for skew in range(spread.max_skew + 1, _MOST_SKEW):
            if not _spreads_wrong(attempt.rejection(_with_skew(others, place, skew))):
                fewer = skew - spread.max_skew
                where = f"{spread.key}={spec.labels[spread.key]}"
                instead = f"maxSkew {skew} instead of {spread.max_skew} for {spread.key}"
                attempt.steps.append(f"{instead} (or {fewer} fewer of its pods in {where})")
                attempt.shape = _with_skew(attempt.shape, i, skew)
                return
        attempt.steps.append(f"no hard spread over {spread.key}")
        attempt.shape = _with_skew(attempt.shape, i, None)
        return


def _spreads_wrong(why: Rejection | None) -> bool:
    return why is not None and why.plugin == "PodTopologySpread"


def _with_skew(shape: PodShape, i: int, skew: int | None) -> PodShape:
    """Return a shape with another skew for its i-th constraint; None: without the constraint."""
    changed = () if skew is None else (replace(shape.spreads[i], max_skew=skew),)
    return replace(shape, spreads=(*shape.spreads[:i], *changed, *shape.spreads[i + 1 :]))


def _neighbours(attempt: _Attempt, why: Rejection) -> None:
    if "pod affinity rules" in " ".join(why.reasons):
        for term in attempt.shape.affinity.required:
            where = attempt.spec.labels.get(term.key)
            at = f"{term.key}={where}" if where else f"the same {term.key} ({attempt.spec.name} has no such label)"
            attempt.steps.append(f"a pod that its affinity asks for ({_said(term)}) in {at}")
        attempt.shape = replace(attempt.shape, affinity=replace(attempt.shape.affinity, required=()))
        return
    for i, (pod, node) in enumerate(attempt.world.placed):
        enemy = _enemies(attempt, pod, node)
        if enemy is not None and i not in attempt.left:
            attempt.left.add(i)
            where = f"{enemy.key}={attempt.spec.labels[enemy.key]}"
            attempt.steps.append(f"{pod.name} gone from {where} (anti-affinity)")
            attempt.gone.append((pod.shape, node))


def _enemies(attempt: _Attempt, pod: Pod, node: int) -> PodTerm | None:
    """Return the required anti-affinity term, of either, that keeps the two apart."""
    mine, own = attempt.shape, attempt.spec.labels
    labels: Mapping[str, str] = attempt.world.nodes[node].labels
    for term in mine.affinity.anti_required:
        if _together(term, own, labels) and term.matches(pod.shape.namespace, dict(pod.shape.labels)):
            return term
    for term in pod.shape.affinity.anti_required:
        if _together(term, own, labels) and term.matches(mine.namespace, dict(mine.labels)):
            return term
    return None


def _together(term: PodTerm, own: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return term.key in own and own[term.key] == other.get(term.key)


def _said(term: PodTerm) -> str:
    return ", ".join(f"{each.key} {each.operator} {'|'.join(each.values)}" for each in term.selector.requirements)


_STEPS = {
    "NodeUnschedulable": _cordon,
    "TaintToleration": _taints,
    "NodeAffinity": _affinity,
    "NodePorts": _ports,
    "NodeResourcesFit": _fit,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _neighbours,
}
