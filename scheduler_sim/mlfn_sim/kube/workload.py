"""The fixed workload that placements per second are measured with.

Eight kinds of nodes with images and taints in three zones; 200 pod shapes, asked for by Zipf's law; after every second
pod that comes, one of those present, drawn at random, goes. A longer workload begins as a shorter one does.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from mlfn_sim.kube.catalog import ZONE
from mlfn_sim.kube.engine import Batch
from mlfn_sim.kube.objects import (
    HOSTNAME,
    Effect,
    NodeSpec,
    NodeTerm,
    PodShape,
    Requirement,
    Selector,
    Taint,
    Toleration,
)
from mlfn_sim.streams import Streams

__all__ = ["SHAPES", "fixed_batch", "fixed_nodes", "fixed_shapes"]

SHAPES = 200
_GIB, _MIB = 1 << 30, 1 << 20
_CORES = (16, 32, 64, 96)
_IMAGES = 40
_DEDICATED = Taint("dedicated", "ml", Effect.NO_SCHEDULE)
_SPOT = Taint("spot", "true", Effect.PREFER_NO_SCHEDULE)
_TOLERATES = (Toleration("dedicated", "Equal", "ml", ""),)


def fixed_nodes(count: int) -> tuple[NodeSpec, ...]:
    """Return the nodes: four sizes, the larger two kinds of each eight tainted, every third image on each kind."""
    return tuple(_node(i) for i in range(count))


def _node(i: int) -> NodeSpec:
    kind, cores = i % 8, _CORES[i % 4]
    taints = {6: (_DEDICATED,), 7: (_SPOT,)}.get(kind, ())
    name = f"node-{i:06}"
    return NodeSpec(
        name,
        {"cpu": cores * 1000, "memory": cores * 4 * _GIB, "pods": 250},
        {HOSTNAME: name, ZONE: f"zone-{i // 8 % 3}", "kind": f"k{kind}"},
        taints,
        images=_images_of(kind),
    )


@cache
def _images_of(kind: int) -> dict[str, int]:
    """Return the images of a kind of nodes: one mapping for all of them."""
    return {f"fn/{k}:1": (60 + 20 * k) * _MIB for k in range(_IMAGES) if k % 8 == kind or k % 3 == kind % 3}


def fixed_shapes(seed: int, *, services: bool = False) -> tuple[PodShape, ...]:
    """Return the 200 shapes; with ``services``, each is of a Service and prefers a kind of nodes."""
    draw = Streams(seed).stream("shapes")
    return tuple(_shape(i, draw, services=services) for i in range(SHAPES))


def _shape(i: int, draw: np.random.Generator, *, services: bool) -> PodShape:
    cpu, memory = 50 * (1 + int(draw.random() * 20)), 64 * _MIB * (1 + int(draw.random() * 32))
    tolerates = draw.random() < 0.2
    kind, weight = f"k{int(draw.random() * 8)}", 1 + int(draw.random() * 100)
    preferred = (NodeTerm((Requirement("kind", "In", (kind,)),), weight=weight),) if services else ()
    app = f"f{i}"
    return PodShape(
        labels=(("app", app),),
        requests=(("cpu", cpu), ("memory", memory)),
        assumed_cpu=cpu,
        assumed_memory=memory,
        preferred_nodes=preferred,
        tolerations=_TOLERATES if tolerates else (),
        images=(f"fn/{i % _IMAGES}:1",),
        owned_by=Selector((Requirement("app", "In", (app,)),)) if services else None,
    )


def fixed_batch(shapes: tuple[PodShape, ...], pods: int, seed: int) -> Batch:
    """Return the pods that come, and after every second of them one that goes."""
    streams = Streams(seed)
    popularity = 1.0 / np.arange(1, len(shapes) + 1)
    cumulative = np.cumsum(popularity / popularity.sum())
    asked = np.searchsorted(cumulative, streams.stream("arrivals").random(pods)).clip(0, len(shapes) - 1)
    leaving = streams.stream("departures").random(pods // 2)
    steps: list[int] = []
    present: list[int] = []
    for pod, shape in enumerate(asked.tolist()):
        steps.append(shape)
        present.append(pod)
        if pod % 2:
            k = int(leaving[pod // 2] * len(present))
            present[k], present[-1] = present[-1], present[k]
            steps.append(-1 - present.pop())
    return Batch(shapes, np.array(steps, np.int32))
