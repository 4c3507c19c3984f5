"""What would bring a pod onto another node that could take it: single changes, each tried on the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlfn_sim.explaining.fitting import amount
from mlfn_sim.explaining.values import Change
from mlfn_sim.explaining.world import World
from mlfn_sim.kube.decisions import Decision
from mlfn_sim.kube.objects import HOSTNAME, NodeTerm, PodShape, Requirement

__all__ = ["steps_to_win"]

_MOST_WEIGHT = 100


def steps_to_win(world: World, shape: PodShape, decision: Decision, target: int) -> tuple[Change, ...]:
    """Return the changes of which each alone makes a node the only best one."""
    name = world.nodes[target].name
    if target not in decision.feasible:
        return (Change(name, "the search ended before it came to this node", ("percentageOfNodesToScore 100",)),)
    place = decision.feasible.index(target)
    behind = max(decision.totals) - decision.totals[place]
    reason = f"{behind} points behind" if behind else "as good; chance decides among equals"
    found = (_by_free(world, shape, target), _by_images(world, shape, target), _by_preference(world, shape, target))
    return tuple(Change(name, reason, (step,)) for step in found if step)


def _wins(world: World, shape: PodShape, target: int) -> bool:
    return world.decide(shape).ties == (target,)


def _by_preference(world: World, shape: PodShape, target: int) -> str:
    """Find the least weight of a preferred node affinity that is enough."""
    labels = world.nodes[target].labels
    if HOSTNAME not in labels:
        return ""
    asks = (Requirement(HOSTNAME, "In", (labels[HOSTNAME],)),)

    def enough(weight: int) -> bool:
        preferred = (*shape.preferred_nodes, NodeTerm(asks, (), weight))
        return _wins(world, replace(shape, preferred_nodes=preferred), target)

    weight = _least(enough, _MOST_WEIGHT)
    return f"a preferred node affinity of weight {weight} for {HOSTNAME}={labels[HOSTNAME]}" if weight else ""


def _by_free(world: World, shape: PodShape, target: int) -> str:
    """Find the least cpu, then memory, that pods would have to give back on the node."""
    used = world.used(target)
    for name, step in (("cpu", 1), ("memory", 1 << 20)):

        def enough(parts: int, name: str = name, step: int = step) -> bool:
            much = parts * step
            # A pod's worth of use goes, and a pod without any use comes, so that the number of pods stays.
            freed = PodShape(
                namespace="",
                requests=((name, much),),
                assumed_cpu=much if name == "cpu" else 0,
                assumed_memory=much if name == "memory" else 0,
            )
            world.engine.place(PodShape(namespace=""), target)
            try:
                with world.without([(freed, target)]):
                    return _wins(world, shape, target)
            finally:
                world.engine.remove(PodShape(namespace=""), target)

        parts = _least(enough, used.get(name, 0) // step)
        if parts:
            return f"{amount(name, parts * step)} less {name} in use on {world.nodes[target].name}"
    return ""


def _by_images(world: World, shape: PodShape, target: int) -> str:
    """Try the pod's images on the node; their sizes are known from other nodes."""
    spec = world.nodes[target]
    sizes = {image: node.images[image] for node in world.nodes for image in shape.images if image in node.images}
    absent = {image: size for image, size in sizes.items() if image not in spec.images}
    if not absent:
        return ""
    other = world.with_node(target, replace(spec, images={**spec.images, **absent}))
    return f"the image {', '.join(sorted(absent))} on {spec.name}" if _wins(other, shape, target) else ""


def _least(enough: Callable[[int], bool], most: int) -> int:
    """Return the least number that is enough, by halving; 0 when ``most`` is not."""
    if most < 1 or not enough(most):
        return 0
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
