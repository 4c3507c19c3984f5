"""What can be wrong with a model, or worth knowing: every code, how much it matters, and what it means.

The table is the single list of codes; docs/reference/findings.md is checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlfn.function import Finding, Severity

__all__ = ["FINDINGS", "FindingKind", "finding"]


@dataclass(frozen=True, slots=True)
class FindingKind:
    """Describe one code."""

    severity: Severity
    meaning: str


FINDINGS: dict[str, FindingKind] = {
    "custom-operator": FindingKind(
        Severity.ERROR,
        "the graph uses operators that neither ONNX, nor ONNX Runtime, nor the file defines",
    ),
    "does-not-load": FindingKind(Severity.ERROR, "the installed ONNX Runtime refuses the model"),
    "empty-external-data": FindingKind(Severity.ERROR, "a tensor kept outside the model file does not say where"),
    "external-data-escapes": FindingKind(
        Severity.ERROR, "the model asks for data outside its own folder, by an absolute path, '..' or a link"
    ),
    "fixed-batch": FindingKind(
        Severity.WARNING, "the first axis has a fixed length: every request must have it, and none can be merged"
    ),
    "input-too-large": FindingKind(Severity.INFO, "one request is larger than OpenWhisk's parameters may be"),
    "missing-external-data": FindingKind(Severity.ERROR, "a file with weights that the model refers to is not there"),
    "output-too-large": FindingKind(Severity.INFO, "one answer is larger than OpenWhisk's result may be"),
    "sequence-output": FindingKind(
        Severity.WARNING, "an output is a sequence of tensors: it is stacked, and must be of one shape"
    ),
    "short-external-data": FindingKind(Severity.ERROR, "a file with weights is shorter than the model says"),
    "unknown-rank": FindingKind(Severity.ERROR, "an input does not say how many axes it has"),
    "unnamed-batch": FindingKind(
        Severity.INFO, "the first axes are free but not of one name, so requests are never merged into one run"
    ),
    "unsupported-ir-version": FindingKind(
        Severity.ERROR, "the file is of an ONNX format (IR) newer than the installed ONNX Runtime reads"
    ),
    "unsupported-operator": FindingKind(
        Severity.ERROR, "the installed ONNX Runtime does not have an operator at the opset that the model names"
    ),
    "unsupported-opset": FindingKind(
        Severity.ERROR,
        "the model was exported for an opset that the installed ONNX Runtime does not have, or no more",
    ),
    "unsupported-type": FindingKind(
        Severity.ERROR, "an input or output is not a tensor, or of an element type that the protocol does not have"
    ),
    "zipmap-output": FindingKind(
        Severity.WARNING, "an output is a sequence of maps (ZipMap): it is served as an array, one column per key"
    ),
}


def finding(what: str, message: str, *, seen: str = "", expected: str = "", fix: str = "") -> Finding:
    """Make a finding of a code of the table, with the table's severity."""
    return Finding(FINDINGS[what].severity, what, message, seen, expected, fix)
