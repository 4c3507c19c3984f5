"""Everything that can be said of a model before it runs, all at once.

Reading the file raises suspicions; where ONNX Runtime alone can tell, it is asked (mlfn.models.onnx_support), so that
nothing is refused that would run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import prod
from pathlib import Path

from mlfn.function import Finding
from mlfn.models import onnx_support
from mlfn.models.findings import finding
from mlfn.models.onnx_graph import OnnxGraph
from mlfn.models.onnx_operators import STANDARD
from mlfn_runtime.signature import ModelSignature, TensorSpec

__all__ = ["check_batch", "check_operators", "check_versions", "check_volume"]

OPENWHISK_BYTES = 1_048_576
"""What OpenWhisk passes in parameters, and in a result, at most."""

_JSON_WIDTH = {
    "FP16": 7, "FP32": 11, "FP64": 19, "BOOL": 6, "INT8": 4, "UINT8": 4, "INT16": 5, "UINT16": 5,
    "INT32": 6, "UINT32": 6, "INT64": 6, "UINT64": 6, "BYTES": 3,
}  # fmt: skip
"""Characters of one element in JSON, comma included: typical for floats, low for integers and strings."""

_OPERATORS_OF_RUNTIME = ("com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental")
"""Domains that ONNX Runtime itself defines."""

OLDEST_OPSET = 7
"""ONNX Runtime promises this opset of ai.onnx and later; some models of an older one run all the same."""

_WITHOUT_KERNEL = {"ImageDecoder"}
"""In the standard at FLOOR, yet not built into ONNX Runtime for the CPU (measured with 1.32)."""


def check_versions(graph: OnnxGraph) -> list[Finding]:
    """Compare the opsets and the IR version with what the installed ONNX Runtime takes."""
    findings = []
    for domain, version in sorted(graph.opsets.items()):
        floor = onnx_support.FLOOR_OPSETS.get(domain)
        if floor is None or version <= floor:
            continue
        newest = onnx_support.newest_opset(domain)
        if newest is not None and version > newest:
            findings.append(_too_new("unsupported-opset", f"opset {version} of {domain}", version, newest, domain))
    if graph.ir_version > onnx_support.FLOOR_IR:
        newest = onnx_support.newest_ir()
        if newest is not None and graph.ir_version > newest:
            seen = f"IR version {graph.ir_version}"
            findings.append(_too_new("unsupported-ir-version", seen, graph.ir_version, newest, ""))
    return findings


def _too_new(what: str, subject: str, version: int, newest: int, domain: str) -> Finding:
    if what == "unsupported-opset":
        option = f'target_opset={{"{"" if domain == "ai.onnx" else domain}": {newest}}} or opset_version={newest}'
        fix = f"export with {option}, convert it with onnx.version_converter, or: pip install -U onnxruntime"
    else:
        fix = f"onnx.load, model.ir_version = {newest}, onnx.save; or: pip install -U onnxruntime"
    return finding(
        what,
        f"the model needs {subject}; the installed ONNX Runtime takes {newest} at most",
        seen=str(version),
        expected=f"at most {newest}",
        fix=fix,
    )


def check_operators(graph: OnnxGraph, path: Path, *, complete: bool) -> list[Finding]:
    """Find operators that ONNX Runtime does not have.

    What neither the standard nor the file defines is a suspicion, and so is an opset older than ONNX Runtime promises;
    loading the model confirms or clears it. Where the model is not ``complete`` (weights are missing, say) it cannot be
    loaded, and the suspicion of an operator stands.
    """
    suspects = sorted(operator for operator in graph.operators if _is_suspect(operator, graph))
    old = graph.opsets.get("ai.onnx", OLDEST_OPSET) < OLDEST_OPSET
    if not suspects and not (old and complete):
        return []
    refusal = onnx_support.load_error(path) if complete else ""
    if refusal is None:
        return []
    if not suspects:
        return [_too_old(graph.opsets["ai.onnx"], refusal)]
    custom = [suspect for suspect in suspects if not _is_standard_domain(suspect[0])]
    unknown = [suspect for suspect in suspects if _is_standard_domain(suspect[0])]
    findings = [_custom(domain, names, graph) for domain, names in _by_domain(custom)]
    findings += [_unknown(domain, names, graph, refusal) for domain, names in _by_domain(unknown)]
    return findings


def _too_old(opset: int, refusal: str) -> Finding:
    return finding(
        "unsupported-opset",
        f"the model was exported for opset {opset} of ai.onnx, which ONNX Runtime only runs in part: {refusal}",
        seen=str(opset),
        expected=f"at least {OLDEST_OPSET}",
        fix="export it again, or: onnx.save(onnx.version_converter.convert_version(onnx.load(path), 17), path)",
    )


def _is_suspect(operator: tuple[str, str], graph: OnnxGraph) -> bool:
    domain, name = operator
    if operator in graph.functions or domain in _OPERATORS_OF_RUNTIME:
        return False
    if domain not in STANDARD or name in _WITHOUT_KERNEL:
        return True
    first, until = STANDARD[domain].get(name, (0, 0))
    opset = graph.opsets.get(domain, 1)
    return not 0 < first <= opset or 0 < until <= opset


def _is_standard_domain(domain: str) -> bool:
    return re.fullmatch(r"ai\.onnx(\.ml|\.training|\.preview.*)?", domain) is not None


def _by_domain(operators: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for domain, name in operators:
        found.setdefault(domain, []).append(name)
    return sorted(found.items())


_CUSTOM_FIXES = {
    "ai.onnx.contrib": "they are of onnxruntime-extensions, which mlfn does not carry: export the model without the "
    "pre- and post-processing, and do that in the client",
    "org.pytorch.aten": "export from PyTorch without the ATen fallback: torch.onnx.export(..., dynamo=True)",
}


def _custom(domain: str, names: list[str], graph: OnnxGraph) -> Finding:
    listed = ", ".join(f"{domain}::{name}" for name in names)
    node = graph.operators[domain, names[0]]
    plural = "s" if len(names) > 1 else ""
    return finding(
        "custom-operator",
        f"the model needs the custom operator{plural} {listed}" + (f' (first in the node "{node}")' if node else ""),
        seen=listed,
        expected="operators of ONNX or ONNX Runtime, or functions that the file carries",
        fix=_CUSTOM_FIXES.get(domain, ""),
    )


def _unknown(domain: str, names: list[str], graph: OnnxGraph, refusal: str) -> Finding:
    opset = graph.opsets.get(domain, 1)
    needs = [f"{name} (since opset {STANDARD[domain][name][0]})" for name in names if name in STANDARD.get(domain, {})]
    listed = ", ".join(names)
    # "Not registered" repeats what we say; anything else (no kernel for the CPU) is news.
    reason = f": {refusal}" if refusal and "registered" not in refusal else ""
    return finding(
        "unsupported-operator",
        f"ONNX Runtime has no {listed} at opset {opset} of {domain}{reason}",
        seen=listed,
        expected=f"operators of {domain} {opset}" + (f"; {', '.join(needs)}" if needs else ""),
    )


def check_batch(signature: ModelSignature) -> list[Finding]:
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


def check_volume(signature: ModelSignature) -> list[Finding]:
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
