"""Which keys Kubernetes has in those parts of a pod that a scenario takes as they are.

The reader refuses other keys by this table, and the JSON Schema is made of it. What the values mean, and which of them
Kubernetes takes, is :mod:`mlfn_sim.kube.reading`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["CONSTRAINTS", "Form", "Mark"]


class Mark:
    """Stand for a plain value."""

    TEXT = "text"
    NUMBER = "number"
    TEXTS = "texts"
    """A mapping of texts to texts."""


Form: TypeAlias = "str | list[Form] | Mapping[str, Form]"
"""A mark, a list of one form, or an object of named forms."""

_EXPRESSIONS: Form = [{"key": Mark.TEXT, "operator": Mark.TEXT, "values": [Mark.TEXT]}]
_SELECTOR: Form = {"matchLabels": Mark.TEXTS, "matchExpressions": _EXPRESSIONS}
_NODE_TERM: Form = {"matchExpressions": _EXPRESSIONS, "matchFields": _EXPRESSIONS}
_POD_TERM: Form = {
    "topologyKey": Mark.TEXT,
    "labelSelector": _SELECTOR,
    "namespaces": [Mark.TEXT],
    "namespaceSelector": _SELECTOR,
    "matchLabelKeys": [Mark.TEXT],
    "mismatchLabelKeys": [Mark.TEXT],
}
_REQUIRED, _PREFERRED = (f"{word}DuringSchedulingIgnoredDuringExecution" for word in ("required", "preferred"))
_AMONG_PODS: Form = {_REQUIRED: [_POD_TERM], _PREFERRED: [{"weight": Mark.NUMBER, "podAffinityTerm": _POD_TERM}]}

CONSTRAINTS: Mapping[str, Form] = {
    "nodeSelector": Mark.TEXTS,
    "tolerations": [
        {
            "key": Mark.TEXT,
            "operator": Mark.TEXT,
            "value": Mark.TEXT,
            "effect": Mark.TEXT,
            "tolerationSeconds": Mark.NUMBER,
        }
    ],
    "topologySpreadConstraints": [
        {
            "maxSkew": Mark.NUMBER,
            "topologyKey": Mark.TEXT,
            "whenUnsatisfiable": Mark.TEXT,
            "labelSelector": _SELECTOR,
            "matchLabelKeys": [Mark.TEXT],
            "minDomains": Mark.NUMBER,
            "nodeAffinityPolicy": Mark.TEXT,
            "nodeTaintsPolicy": Mark.TEXT,
        }
    ],
    "affinity": {
        "nodeAffinity": {
            _REQUIRED: {"nodeSelectorTerms": [_NODE_TERM]},
            _PREFERRED: [{"weight": Mark.NUMBER, "preference": _NODE_TERM}],
        },
        "podAffinity": _AMONG_PODS,
        "podAntiAffinity": _AMONG_PODS,
    },
    "preemptionPolicy": Mark.TEXT,
}
"""The parts of a PodSpec that decide where a pod may go."""
