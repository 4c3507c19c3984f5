"""The scheduler's own words for why a node was rejected."""

from __future__ import annotations

from collections.abc import Mapping

from mlfn_sim.kube.catalog import Verdict, untolerated
from mlfn_sim.kube.objects import NodeSpec, PodShape

__all__ = [
    "AFFINITY",
    "ANTI_AFFINITY",
    "CONFLICT",
    "KEPT_OUT",
    "NOT_NAMED",
    "SPREAD",
    "STATIC",
    "TEXT",
    "static_words",
    "taint_text",
]

TEXT = {
    "NodeUnschedulable": "node(s) were unschedulable",
    "NodeAffinity": "node(s) didn't match Pod's node affinity/selector",
    "NodePorts": "node(s) didn't have free ports for the requested pod ports",
}
STATIC: Mapping[int, tuple[str, str]] = {
    Verdict.UNSCHEDULABLE: ("NodeUnschedulable", TEXT["NodeUnschedulable"]),
    Verdict.NODE_NAME: ("NodeName", "node(s) didn't match the requested node name"),
    Verdict.TAINT: ("TaintToleration", ""),
    Verdict.NODE_AFFINITY: ("NodeAffinity", TEXT["NodeAffinity"]),
    Verdict.ENFORCED: ("NodeAffinity", "node(s) didn't match scheduler-enforced node affinity"),
}
"""Verdict -> filter and words; a taint's words name the taint."""
NOT_NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
"""Of the nodes that are not looked at, because required affinity names others."""
CONFLICT = "pod affinity terms conflict"
SPREAD = "node(s) didn't match pod topology spread constraints"
AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
KEPT_OUT = "node(s) didn't satisfy existing pods anti-affinity rules"


def taint_text(shape: PodShape, node: NodeSpec) -> str:
    """Name the first taint that keeps a shape away."""
    taint = untolerated(shape, node)
    assert taint is not None
    return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"


def static_words(verdict: int, shape: PodShape, node: NodeSpec) -> str:
    """Say why a verdict rejects a node."""
    return STATIC[verdict][1] or taint_text(shape, node)
