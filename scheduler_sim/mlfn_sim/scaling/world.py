"""Make the cluster and the pods of a point: the same for every design, whatever the rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mlfn_sim.cluster.generators import generate
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.scaling.constraints import DEVICE, KIND, constrained
from mlfn_sim.streams import Streams

__all__ = ["FUNCTIONS", "functions", "nodes_of", "sequence"]

FUNCTIONS = 20
_CPU, _MEMORY = 100, 500 << 20
"""The pod of the measurements that the service-time model rests on."""
_FULLEST = 0.9
_IMAGE_BYTES = 600 << 20
_HAVE_IMAGE = 0.1
"""Share of the nodes that have a function's image from before."""


def nodes_of(count: int, streams: Streams) -> tuple[NodeSpec, ...]:
    """Return nodes in three zones of which other work holds none to nine tenths, each with some of the images."""
    bare = generate("zones", count, streams).nodes
    held = streams.stream("scale held").random(count) * _FULLEST
    pulled = streams.stream("scale images").random((count, FUNCTIONS)) < _HAVE_IMAGE
    made = []
    for i, node in enumerate(bare):
        free = 1.0 - held[i]
        room = {name: int(amount * free) for name, amount in node.allocatable.items()}
        room |= {"cpu": room["cpu"] // _CPU * _CPU, "pods": 110, DEVICE: 110}
        images = {_image(f): _IMAGE_BYTES for f in np.flatnonzero(pulled[i]).tolist()}
        made.append(replace(node, allocatable=room, labels={**node.labels, KIND: "abcd"[i // 3 % 4]}, images=images))
    return tuple(made)


def _image(function: int) -> str:
    return f"registry.example/function-{function}:1"


def functions(constraints: int) -> tuple[PodShape, ...]:
    """Return the pods of the functions, each with so many constraints."""
    return tuple(
        constrained(
            PodShape(
                namespace=f"team-{f % 4}",
                labels=(("app", f"function-{f}"),),
                requests=(("cpu", _CPU), ("memory", _MEMORY)),
                assumed_cpu=_CPU,
                assumed_memory=_MEMORY,
                images=(_image(f),),
            ),
            constraints,
        )
        for f in range(FUNCTIONS)
    )


def sequence(pods: int, streams: Streams) -> npt.NDArray[np.int64]:
    """Return which function each pod is of, by Zipf's law."""
    shares = 1.0 / np.arange(1, FUNCTIONS + 1)
    return streams.stream("scale functions").choice(FUNCTIONS, pods, p=shares / shares.sum())
