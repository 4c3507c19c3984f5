"""The signature of an ONNX file, equal to what the runtime gets from a session of the same file.

One difference is allowed: ONNX Runtime infers shapes, so that an axis which the file leaves free can be fixed in the
session (silero-vad's sequence variant: ``LSTMhn_dim_1`` is 1). Pure: no IO.
"""

from __future__ import annotations

from mlfn.function import Finding
from mlfn.models.findings import finding
from mlfn.models.onnx_graph import OnnxGraph, OnnxType, OnnxValue
from mlfn_runtime.signature import DATATYPE_OF_ONNX, DATATYPE_OF_ORT, ModelSignature, TensorSpec

__all__ = ["describe", "signature_of"]

_TENSORS_WORTH = "a tensor of " + ", ".join(sorted(DATATYPE_OF_ORT))

_OTHER_ELEMENTS = {14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
                   19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1"}  # fmt: skip
_ELEMENTS = {
    **{number: next(ort for ort, word in DATATYPE_OF_ORT.items() if word == datatype)
       for number, datatype in DATATYPE_OF_ONNX.items()},
    **_OTHER_ELEMENTS,
}  # fmt: skip
"""TensorProto.DataType to ONNX Runtime's words."""


def signature_of(graph: OnnxGraph) -> tuple[ModelSignature, list[Finding]]:
    """Return the signature, and what of it cannot be served or is served in another form."""
    findings: list[Finding] = []
    inputs = tuple(_input(value, findings) for value in graph.inputs)
    outputs = tuple(_output(value, graph, findings) for value in graph.outputs)
    return ModelSignature(inputs, outputs), findings


def describe(kind: OnnxType) -> str:
    """Return a type in ONNX Runtime's words: ``tensor(float)``, ``seq(map(int64,tensor(float)))``."""
    element = _ELEMENTS.get(kind.element, f"type {kind.element}")
    inner = describe(kind.inner) if kind.inner else ""
    match kind.kind:
        case "tensor" | "sparse_tensor":
            return f"{kind.kind}({element})"
        case "sequence":
            return f"seq({inner})"
        case "map":
            return f"map({element},{inner})"
        case "optional":
            return f"optional({inner})"
        case other:
            return other or "no type"


def _input(value: OnnxValue, findings: list[Finding]) -> TensorSpec:
    spec = _tensor(value.name, value.type)
    if spec is None:
        fix = "export the model with plain tensors as inputs"
        findings.append(_unsupported(value, "input", _TENSORS_WORTH, fix))
        return TensorSpec(value.name, describe(value.type), ())
    if value.type.axes is None:
        findings.append(
            finding(
                "unknown-rank",
                f'the input "{value.name}" does not say how many axes it has',
                seen="no shape",
                expected="a shape; free axes are allowed",
                fix=f'declare it when exporting, or with the onnx package: model.graph.input["{value.name}"] needs '
                "type.tensor_type.shape",
            )
        )
    return spec


def _output(value: OnnxValue, graph: OnnxGraph, findings: list[Finding]) -> TensorSpec:
    spec = _tensor(value.name, value.type)
    if spec is not None:
        return spec
    kind, inner = value.type.kind, value.type.inner
    if kind == "sequence" and inner is not None:
        spec = _maps(value.name, inner, graph, findings) or _tensors(value.name, inner, findings)
    if spec is None:
        expected = f"{_TENSORS_WORTH}; a sequence of maps or of tensors"
        findings.append(_unsupported(value, "output", expected, "export the model with plain tensors as outputs"))
    return spec or TensorSpec(value.name, describe(value.type), ())


def _tensor(name: str, kind: OnnxType) -> TensorSpec | None:
    if kind.kind != "tensor" or kind.element not in DATATYPE_OF_ONNX:
        return None
    axes = kind.axes or ()
    shape = tuple(axis if isinstance(axis, int) else -1 for axis in axes)
    symbols = tuple(axis if isinstance(axis, str) else "" for axis in axes)
    return TensorSpec(name, DATATYPE_OF_ONNX[kind.element], shape, symbols)


def _maps(name: str, inner: OnnxType, graph: OnnxGraph, findings: list[Finding]) -> TensorSpec | None:
    """Return a ZipMap output as the array that it is served as."""
    if inner.kind != "map" or inner.inner is None or inner.inner.element not in DATATYPE_OF_ONNX:
        return None
    integers = DATATYPE_OF_ONNX[inner.inner.element].startswith(("INT", "UINT"))
    keys = graph.map_keys.get(name, ())
    findings.append(
        finding(
            "zipmap-output",
            f'the output "{name}" is a sequence of maps; it is served as an array with one column per key',
            seen=f"seq({describe(inner)})" + (f" with the keys {_listed(keys)}" if keys else ""),
            expected="a tensor",
            fix='skl2onnx: to_onnx(model, X, options={"zipmap": False}), which is faster too',
        )
    )
    return TensorSpec(name, "INT64" if integers else "FP32", (-1, len(keys) or -1), ("", ""), keys)


def _tensors(name: str, inner: OnnxType, findings: list[Finding]) -> TensorSpec | None:
    if inner.kind != "tensor" or inner.element not in DATATYPE_OF_ONNX:
        return None
    findings.append(
        finding(
            "sequence-output",
            f'the output "{name}" is a sequence of tensors; it is stacked, which works while all have one shape',
            seen=f"seq({describe(inner)})",
            expected="a tensor",
            fix="stack or concatenate inside the model (ConcatFromSequence)",
        )
    )
    return TensorSpec(name, DATATYPE_OF_ONNX[inner.element], (-1,), ("",))


def _unsupported(value: OnnxValue, role: str, expected: str, fix: str) -> Finding:
    seen = describe(value.type)
    message = f'the {role} "{value.name}" is a {seen}, which the Open Inference Protocol cannot carry'
    return finding("unsupported-type", message, seen=seen, expected=expected, fix=fix)


def _listed(keys: tuple[int | str, ...]) -> str:
    shown = ", ".join(str(key) for key in keys[:8])
    return shown if len(keys) <= 8 else f"{shown}, … ({len(keys)} in all)"
