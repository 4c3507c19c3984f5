"""ONNX files: read without being run, and without the weights being held.

The signature equals what the runtime gets from a session of the same file, but for one thing: ONNX Runtime infers
shapes, so that an axis which the file leaves free can be fixed in the session (silero-vad's sequence variant:
``LSTMhn_dim_1`` is 1).
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from mlfn.errors import InvalidInput
from mlfn.function import Finding, ModelPackage, Severity
from mlfn.models.external_data import locate
from mlfn.models.findings import finding
from mlfn.models.foreign import explain
from mlfn.models.onnx_graph import Buffer, MalformedError, OnnxGraph, OnnxType, OnnxValue, looks_like_onnx, read_graph
from mlfn.models.onnx_operators import FLOOR_IR, FLOOR_OPSETS, OF_RUNTIME, OLDEST_OPSET, STANDARD, WITHOUT_KERNEL
from mlfn.models.onnx_support import check_operators, check_versions
from mlfn_runtime.signature import DATATYPE_OF_ONNX, DATATYPE_OF_ORT, ModelSignature, TensorSpec

__all__ = ["FORMAT", "OnnxFormat", "read_onnx", "signature_of"]

WHOLE_BYTES = 64 * 2**20
"""Files up to this are read at once; larger ones are mapped, so that their weights take no memory."""

HEAD_BYTES = 64 * 2**10

MAX_FILE_BYTES = 2**31 - 1
"""protobuf's bound on one message, and so on one ONNX file."""

_TENSORS_WORTH = "a tensor of " + ", ".join(sorted(DATATYPE_OF_ORT))

_OTHER_ELEMENTS = {14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
                   19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1"}  # fmt: skip
_ELEMENTS = {
    **{number: next(ort for ort, word in DATATYPE_OF_ORT.items() if word == datatype)
       for number, datatype in DATATYPE_OF_ONNX.items()},
    **_OTHER_ELEMENTS,
}  # fmt: skip
"""TensorProto.DataType to ONNX Runtime's words."""

OPENWHISK_BYTES = 1_048_576
"""What OpenWhisk passes in parameters, and in a result, at most."""

_JSON_WIDTH = {
    "FP16": 7, "FP32": 11, "FP64": 19, "BOOL": 6, "INT8": 4, "UINT8": 4, "INT16": 5, "UINT16": 5,
    "INT32": 6, "UINT32": 6, "INT64": 6, "UINT64": 6, "BYTES": 3,
}  # fmt: skip
"""Characters of one element in JSON, comma included: typical for floats, low for integers and strings."""


@dataclass(frozen=True, slots=True)
class OnnxFormat:
    """A single ONNX file, with its external data beside it."""

    name: str = "onnx"

    def detect(self, path: Path) -> bool:
        """Tell whether the file starts as an ONNX model, whatever it is called."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return looks_like_onnx(file.read(HEAD_BYTES))

    def read(self, path: Path) -> ModelPackage:
        """Read the file."""
        return read_onnx(path.absolute().parent, path.name, self.name)


FORMAT = OnnxFormat()


def read_onnx(root: Path, entry: str, name: str) -> ModelPackage:
    """Read the ONNX file ``root/entry`` as a package of the format ``name``. Raises InvalidInput."""
    path = root / entry
    _check_size(path)
    data = _contents(path)
    try:
        graph = read_graph(data)
    except MalformedError as error:
        raise (_damaged(path, error, len(data)) if looks_like_onnx(data) else explain(path)) from error
    if not graph.opsets:
        # Every exporter writes the opsets, and behind the graph: the file ends exactly where the graph does.
        raise _damaged(path, MalformedError("it names no opset", truncated=True), len(data))
    signature, findings = signature_of(graph)
    data_files, missing = locate(root, entry, graph.external) if graph.external else ((), [])
    findings += missing
    if _is_newer_than_floor(graph):
        findings += check_versions(graph)
    suspects = _suspects(graph)
    if suspects or graph.opsets.get("ai.onnx", OLDEST_OPSET) < OLDEST_OPSET:
        complete = not any(each.severity is Severity.ERROR for each in findings)
        findings += check_operators(graph, suspects, path, complete=complete)
    findings += [*_check_batch(signature), *_check_volume(signature)]
    digests = {entry: hashlib.sha256(data).hexdigest()} | {each: _digest(root / each) for each in data_files}
    return ModelPackage(
        root=root,
        entry=entry,
        files=tuple(sorted(digests)),
        format=name,
        signature=signature,
        digest=_joined(digests),
        size_bytes=len(data) + sum((root / each).stat().st_size for each in data_files),
        opsets=dict(sorted(graph.opsets.items())),
        findings=_by_severity(findings),
    )


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InvalidInput(
            f"{path} has {size} bytes; one ONNX file holds {MAX_FILE_BYTES} at most (the bound of protobuf)",
            hints=('save the weights beside it: onnx.save(model, path, save_as_external_data=True, location="w.bin")',),
        )


def _is_newer_than_floor(graph: OnnxGraph) -> bool:
    newer = (version > FLOOR_OPSETS.get(domain, version) for domain, version in graph.opsets.items())
    return graph.ir_version > FLOOR_IR or any(newer)


def _suspects(graph: OnnxGraph) -> list[tuple[str, str]]:
    """Return the operators that neither the standard, at the model's opset, nor ONNX Runtime nor the file defines."""
    return sorted(
        (domain, name)
        for domain, name in graph.operators
        if domain not in OF_RUNTIME
        and (domain, name) not in graph.functions
        and not (name not in WITHOUT_KERNEL and _is_standard(domain, name, graph.opsets.get(domain, 1)))
    )


def _is_standard(domain: str, name: str, opset: int) -> bool:
    first, until = STANDARD.get(domain, {}).get(name, (0, 0))
    return 0 < first <= opset and not 0 < until <= opset


def _contents(path: Path) -> Buffer:
    with path.open("rb") as file:
        if path.stat().st_size <= WHOLE_BYTES:
            return file.read()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _damaged(path: Path, error: MalformedError, size: int) -> InvalidInput:
    if error.truncated:
        return InvalidInput(
            f"{path} is cut off: after {size} bytes, {error}",
            hints=("copy or download the file again, and compare its size with the original",),
        )
    return InvalidInput(
        f"{path} is damaged: {error}",
        hints=("copy, download or export the file again; sha256sum tells whether two copies are equal",),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joined(digests: dict[str, str]) -> str:
    """Return the digest of a package: of its file, or of the ``sha256sum`` listing of its files."""
    if len(digests) == 1:
        return "sha256:" + next(iter(digests.values()))
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()


def _by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    order = list(Severity)
    return tuple(sorted(findings, key=lambda each: (order.index(each.severity), each.what)))


# -- the signature -----------------------------------------------------------------------------------------------------


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
        findings.append(_unsupported(value, "input", _TENSORS_WORTH))
        return TensorSpec(value.name, describe(value.type), ())
    if value.type.axes is None:
        findings.append(
            finding(
                "unknown-rank",
                f'the input "{value.name}" does not say how many axes it has',
                seen="no shape",
                expected="a shape; free axes are allowed",
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
        findings.append(_unsupported(value, "output", expected))
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
        )
    )
    return TensorSpec(name, DATATYPE_OF_ONNX[inner.element], (-1,), ("",))


def _unsupported(value: OnnxValue, role: str, expected: str) -> Finding:
    seen = describe(value.type)
    message = f'the {role} "{value.name}" is a {seen}, which the Open Inference Protocol cannot carry'
    return finding("unsupported-type", message, seen=seen, expected=expected)


def _listed(keys: tuple[int | str, ...]) -> str:
    shown = ", ".join(str(key) for key in keys[:8])
    return shown if len(keys) <= 8 else f"{shown}, … ({len(keys)} in all)"


# -- what the signature means for serving -----------------------------------------------------------------------------


def _check_batch(signature: ModelSignature) -> list[Finding]:
    """Tell when every request must have the same number of rows, or requests cannot be merged for want of a name."""
    firsts = {spec.shape[0] for spec in signature.inputs if spec.shape}
    if firsts == {-1}:
        return _unnamed_batch(signature)
    if len(firsts) != 1:
        return []
    rows = firsts.pop()
    named = ", ".join(f'"{spec.name}" {_shape(spec)}' for spec in signature.inputs if spec.shape)
    return [
        finding(
            "fixed-batch",
            f"the first axis is fixed at {rows}: every request must have it, and requests are never merged",
            seen=named,
            expected="a free first axis, of one name in all inputs and outputs",
        )
    ]


def _unnamed_batch(signature: ModelSignature) -> list[Finding]:
    tensors = (*signature.inputs, *signature.outputs)
    if signature.batch_axis == 0 or not all(spec.shape[:1] == (-1,) for spec in tensors):
        return []
    names = sorted({spec.symbols[0] for spec in tensors})
    return [
        finding(
            "unnamed-batch",
            "the first axes are free but not of one name: it cannot be told that they are one batch, so requests are "
            "never merged",
            seen=", ".join(repr(name) for name in names),
            expected="one name for the first axis of all inputs and outputs",
        )
    ]


def _check_volume(signature: ModelSignature) -> list[Finding]:
    """Estimate what one request and one answer take at least, free axes counted as 1."""
    findings = []
    for what, specs, word in (
        ("input-too-large", signature.inputs, "request"),
        ("output-too-large", signature.outputs, "answer"),
    ):
        total = sum(_json_bytes(spec) for spec in specs)
        if total > OPENWHISK_BYTES:
            largest = max(specs, key=_json_bytes)
            findings.append(
                finding(
                    what,
                    f"one {word} is about {total / 1e6:.1f} MB of JSON: too much for OpenWhisk, not for others",
                    seen=f'"{largest.name}" {largest.datatype} {_shape(largest)}',
                    expected=f"at most {OPENWHISK_BYTES} bytes",
                )
            )
    return findings


def _json_bytes(spec: TensorSpec) -> int:
    return prod(max(axis, 1) if axis else 0 for axis in spec.shape) * _JSON_WIDTH.get(spec.datatype, 0)


def _shape(spec: TensorSpec) -> str:
    return "[" + ",".join(str(axis) for axis in spec.shape) + "]"
