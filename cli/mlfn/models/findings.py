"""What can be wrong with a model, or worth knowing: every code, how much it matters, what it means, how to fix it.

The table is the single list of codes; docs/reference/findings.md is generated from it.
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
    fix: str
    """For any model; a finding that knows more says more."""


FINDINGS: dict[str, FindingKind] = {
    "custom-operator": FindingKind(
        Severity.ERROR,
        "the graph uses operators that neither ONNX, nor ONNX Runtime, nor the file defines",
        "export with standard operators, or with the operator as an ONNX function",
    ),
    "does-not-load": FindingKind(
        Severity.ERROR,
        "the installed ONNX Runtime refuses the model",
        "export the model again, for another opset or datatype; onnx.checker.check_model tells more",
    ),
    "empty-external-data": FindingKind(
        Severity.ERROR,
        "a tensor kept outside the model file does not say where",
        "save the model again: onnx.save(model, path, save_as_external_data=True)",
    ),
    "external-data-escapes": FindingKind(
        Severity.ERROR,
        "the model asks for data outside its own folder, by an absolute path, '..' or a link",
        "keep the data beside the model (a link: cp -L it) and save the model again with that name",
    ),
    "fixed-batch": FindingKind(
        Severity.WARNING,
        "the first axis has a fixed length: every request must have it, and none can be merged",
        'export with dynamic_axes={"INPUT": {0: "batch"}} (PyTorch), [None, …] (skl2onnx, tf2onnx)',
    ),
    "input-too-large": FindingKind(
        Severity.INFO,
        "one request is larger than OpenWhisk's parameters may be",
        "use another platform, or let the model take less (decode and scale inside it)",
    ),
    "missing-external-data": FindingKind(
        Severity.ERROR,
        "a file with weights that the model refers to is not there",
        "copy it beside the model that it was saved with",
    ),
    "output-too-large": FindingKind(
        Severity.INFO,
        "one answer is larger than OpenWhisk's result may be",
        "use another platform, or let the model give less (pool, take the top k inside it)",
    ),
    "sequence-output": FindingKind(
        Severity.WARNING,
        "an output is a sequence of tensors: it is stacked, and must be of one shape",
        "stack or concatenate inside the model (ConcatFromSequence)",
    ),
    "short-external-data": FindingKind(
        Severity.ERROR,
        "a file with weights is shorter than the model says",
        "copy or download it again",
    ),
    "unknown-rank": FindingKind(
        Severity.ERROR,
        "an input does not say how many axes it has",
        "declare its shape when exporting, or with the onnx package in model.graph.input; free axes are fine",
    ),
    "unnamed-batch": FindingKind(
        Severity.INFO,
        "the first axes are free but not of one name, so requests are never merged into one run",
        "name it when exporting, or with onnx: value.type.tensor_type.shape.dim[0].dim_param = 'batch' for each of "
        "graph.input and graph.output",
    ),
    "unsupported-ir-version": FindingKind(
        Severity.ERROR,
        "the file is of an ONNX format (IR) newer than the installed ONNX Runtime reads",
        "lower model.ir_version with the onnx package, or: pip install -U onnxruntime",
    ),
    "unsupported-operator": FindingKind(
        Severity.ERROR,
        "the installed ONNX Runtime does not have an operator at the opset that the model names",
        "export the model for another opset (target_opset=, opset_version=) or with other operators",
    ),
    "unsupported-opset": FindingKind(
        Severity.ERROR,
        "the model was exported for an opset that the installed ONNX Runtime does not have, or no more",
        "export it for another opset, convert it with onnx.version_converter, or: pip install -U onnxruntime",
    ),
    "unsupported-type": FindingKind(
        Severity.ERROR,
        "an input or output is not a tensor, or of an element type that the protocol does not have",
        "export the model with plain tensors as inputs and outputs, in FP16 in place of bfloat16 or 8-bit floats",
    ),
    "zipmap-output": FindingKind(
        Severity.WARNING,
        "an output is a sequence of maps (ZipMap): it is served as an array, one column per key",
        'export without it, which is faster too: options={"zipmap": False} (skl2onnx), zipmap=False (onnxmltools)',
    ),
}


def finding(what: str, message: str, *, seen: str = "", expected: str = "", fix: str = "") -> Finding:
    """Make a finding of a code of the table, with the table's severity, and its fix where none is given."""
    kind = FINDINGS[what]
    return Finding(kind.severity, what, message, seen, expected, fix or kind.fix)
