"""Tell which functions fit nowhere, however empty the cluster is: a scenario of nothing else is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlfn_sim.experiments.problems import Problem
from mlfn_sim.experiments.reading import refuse_at
from mlfn_sim.experiments.scenario import Scenario
from mlfn_sim.experiments.world import Kind, World
from mlfn_sim.kube.catalog import Catalog, meets_affinity, untolerated
from mlfn_sim.kube.decisions import unschedulable_text
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.reference import ReferenceEngine

__all__ = ["misfits"]


def misfits(scenario: Scenario, source: Path, world: World) -> tuple[str, ...]:
    """Return a sentence for each function that fits nowhere. Raises ScenarioError when none fits anywhere."""
    nodes = (*world.nodes, *world.more)
    unfit = [kind for kind in world.kinds if not any(_could_take(node, kind.shape) for node in nodes)]
    told = tuple(
        f"{kind.name} fits no node, even an empty one: {_why(nodes, kind, world.profile)}" for kind in unfit[:5]
    )
    if len(unfit) == len(world.kinds):
        refuse_at(source, Problem(("workload",), f"cannot place anything: {told[0]}"))
    return told if len(unfit) <= len(told) else (*told, f"{len(unfit) - len(told)} more functions fit no node")


def _could_take(node: NodeSpec, shape: PodShape) -> bool:
    """Tell whether an empty node, uncordoned if need be, takes a pod."""
    has = node.allocatable
    if has.get("pods", 0) < 1 or any(amount > has.get(name, 0) for name, amount in shape.requests):
        return False
    return meets_affinity(shape, node) and untolerated(shape, node) is None


def _why(nodes: Sequence[NodeSpec], kind: Kind, profile: Profile) -> str:
    engine = ReferenceEngine(Catalog.of(tuple(nodes), profile), profile)
    return unschedulable_text(engine.decide(kind.shape), len(nodes))
