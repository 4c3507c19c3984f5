"""Measure how good placements are: how even, how much room they leave in usable pieces, how many find their image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlfn_sim.kube.catalog import ZONE
from mlfn_sim.kube.objects import NodeSpec, PodShape

__all__ = ["Quality", "quality"]

_Ints = npt.NDArray[np.int64]
_LARGE_CPU = 2000
"""Thousandths of a core of a large function: half of a node."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Hold the measures."""

    zone_skew_percent: float
    """Of a function's pods, how many more are in its fullest zone than in its emptiest; mean over pods."""
    most_on_a_node: int
    """Pods of one function on one node."""
    fragmentation_percent: float
    """Of the free cores, those in pieces too small for a function of two cores."""
    image_hit_percent: float
    """Of the pods, those whose node has the image: from before, or from an earlier pod of the function."""


def quality(
    nodes: Sequence[NodeSpec],
    shapes: Sequence[PodShape],
    function: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
) -> Quality:
    """Return the measures of placements in their order; pods with no node (-1) are left out."""
    there = chosen >= 0
    function, chosen = function[there], chosen[there]
    if not len(chosen):
        return Quality(0.0, 0, 0.0, 0.0)
    zones = {name: i for i, name in enumerate(sorted({node.labels[ZONE] for node in nodes}))}
    zone = np.array([zones[node.labels[ZONE]] for node in nodes])
    counts = np.zeros((len(shapes), len(zones)), np.int64)
    np.add.at(counts, (function, zone[chosen]), 1)
    pairs, most = np.unique(function * len(nodes) + chosen, return_counts=True)
    pulled = sum(shapes[pair // len(nodes)].images[0] not in nodes[pair % len(nodes)].images for pair in pairs.tolist())
    free = np.array([node.allocatable["cpu"] for node in nodes])
    cpu = np.array([dict(shape.requests)["cpu"] for shape in shapes])
    np.subtract.at(free, chosen, cpu[function])
    return Quality(
        zone_skew_percent=round(100.0 * float((counts.max(1) - counts.min(1)).sum()) / len(chosen), 2),
        most_on_a_node=int(most.max()),
        fragmentation_percent=round(100.0 * float((free % _LARGE_CPU).sum()) / max(1.0, float(free.sum())), 2),
        image_hit_percent=round(100.0 * (1.0 - pulled / len(chosen)), 2),
    )
