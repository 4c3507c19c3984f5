"""What the installed ONNX Runtime says to a model that is out of the ordinary, and what can be done about it.

Asked only on a suspicion (mlfn.models.onnx_format): importing ONNX Runtime takes 0.2 s. There is no table of versions
to go stale: ONNX Runtime is given a 40-byte model of an opset that no release has, and its refusal names the newest
that it takes; an operator that the standard does not have is confirmed by loading the model itself, so that nothing is
refused that would run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlfn.function import Finding
from mlfn.models.findings import finding
from mlfn.models.onnx_graph import OnnxGraph
from mlfn.models.onnx_operators import FLOOR_IR, FLOOR_OPSETS, OLDEST_OPSET, STANDARD
from mlfn_runtime.errors import RequestError, StartError

if TYPE_CHECKING:
    from mlfn_runtime.onnx_backend import OnnxBackend
    from mlfn_runtime.synthesis import Lengths

__all__ = ["check_operators", "check_versions", "first_taken", "load_error", "newest_ir", "newest_opset"]

_T = TypeVar("_T")

_NO_RELEASE = 9999
_OPSET = re.compile(r"is till opset (\d+)")
_IR = re.compile(r"max supported IR version: (\d+)")


def check_versions(graph: OnnxGraph) -> list[Finding]:
    """Compare the opsets and the IR version with what the installed ONNX Runtime takes."""
    findings = []
    for domain, version in sorted(graph.opsets.items()):
        floor = FLOOR_OPSETS.get(domain)
        if floor is None or version <= floor:
            continue
        newest = newest_opset(domain)
        if newest is not None and version > newest:
            findings.append(_too_new("unsupported-opset", f"opset {version} of {domain}", version, newest, domain))
    if graph.ir_version > FLOOR_IR:
        newest = newest_ir()
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


def check_operators(
    graph: OnnxGraph, suspects: Sequence[tuple[str, str]], path: Path, *, complete: bool
) -> list[Finding]:
    """Find out whether ONNX Runtime has the operators that the standard does not have at the model's opset.

    Loading the model confirms or clears them all, and the suspicion of an old opset with them. A model that is not
    ``complete`` (weights are missing, say) cannot be loaded: then the suspicion of an operator stands.
    """
    refusal = load_error(path) if complete else ""
    if refusal is None:
        return []
    if not suspects:
        return [_too_old(graph.opsets["ai.onnx"], refusal)] if complete else []
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


def newest_opset(domain: str) -> int | None:
    """Return the newest opset of a domain that ONNX Runtime takes; None where it sets no bound."""
    found = _OPSET.search(_refusal(_model(FLOOR_IR, domain, _NO_RELEASE)))
    return int(found[1]) if found else None


def newest_ir() -> int | None:
    """Return the newest IR version that ONNX Runtime reads; None where it sets no bound."""
    found = _IR.search(_refusal(_model(_NO_RELEASE, "", FLOOR_OPSETS["ai.onnx"])))
    return int(found[1]) if found else None


def load_error(path: Path) -> str | None:
    """Load a model as the function server does, and return why it does not load; None when it does."""
    try:
        _interruptible(partial(_load, path))
    except StartError as error:
        return str(error)
    return None


def first_taken(path: Path, candidates: Iterable[Lengths]) -> Lengths | None:
    """Return the first lengths of free axes that the model runs on; None where it does not load or takes none."""
    try:
        return _interruptible(lambda: _first_taken(_load(path), candidates))
    except StartError:
        return None


def _load(path: Path) -> OnnxBackend:
    from mlfn_runtime.onnx_backend import OnnxBackend

    return OnnxBackend(str(path))


def _first_taken(backend: OnnxBackend, candidates: Iterable[Lengths]) -> Lengths | None:
    from mlfn_runtime.synthesis import synthesise

    for lengths in candidates:
        try:
            backend.predict(synthesise(backend.signature, lengths=lengths))
        except RequestError:
            continue
        return lengths
    return None


def _interruptible(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, and hear Ctrl-C meanwhile, which waits until ONNX Runtime is back otherwise."""
    from concurrent.futures import Future
    from threading import Thread

    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again by who waits
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future.result()


def _refusal(model: bytes) -> str:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as ort

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the refusal is what we are after; it need not stand on stderr too
    try:
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except (ort.Fail, ort.InvalidArgument, ort.InvalidGraph, ort.InvalidProtobuf, ort.NotImplemented) as error:
        return str(error)
    return ""


def _model(ir_version: int, domain: str, opset: int) -> bytes:
    """Encode a ModelProto of one empty graph: ir_version = 1, graph = 7 {name = 2}, opset_import = 8 {1, 2}."""
    name = "" if domain == "ai.onnx" else domain
    imports = [_message(8, _text(1, name) + b"\x10" + _number(opset))]
    if name:
        imports.append(_message(8, b"\x10" + _number(FLOOR_OPSETS["ai.onnx"])))
    return b"\x08" + _number(ir_version) + _message(7, _text(2, "probe")) + b"".join(imports)


def _message(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _number(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _number(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
