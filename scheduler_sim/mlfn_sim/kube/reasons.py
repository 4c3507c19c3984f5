"""The scheduler's own words for why a node was rejected."""

from __future__ import annotations

from mlfn_sim.kube.catalog import untolerated
from mlfn_sim.kube.objects import NodeSpec, PodShape

__all__ = ["AFFINITY", "ANTI_AFFINITY", "KEPT_OUT", "SPREAD", "TEXT", "taint_text"]

TEXT = {
    "NodeUnschedulable": "node(s) were unschedulable",
    "NodeAffinity": "node(s) didn't match Pod's node affinity/selector",
    "NodePorts": "node(s) didn't have free ports for the requested pod ports",
}
SPREAD = "node(s) didn't match pod topology spread constraints"
AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
KEPT_OUT = "node(s) didn't satisfy existing pods anti-affinity rules"


def taint_text(shape: PodShape, node: NodeSpec) -> str:
    """Name the first taint that keeps a shape away."""
    taint = untolerated(shape, node)
    assert taint is not None
    return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
