"""What the installed ONNX Runtime can run: opsets, IR versions, and, on a suspicion, a whole model.

There is no table of versions to go stale. Models within FLOOR, which every ONNX Runtime that mlfn installs with can
run, need no question (importing ONNX Runtime takes 0.2 s); for newer ones ONNX Runtime itself is asked: it is given a
40-byte model of an opset that no release has, and its refusal names the newest it takes.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["FLOOR_IR", "FLOOR_OPSETS", "load_error", "newest_ir", "newest_opset"]

FLOOR_OPSETS = {"ai.onnx": 21, "ai.onnx.ml": 5}
"""Of ONNX 1.16 (March 2024), built into ONNX Runtime 1.18; mlfn needs 1.22."""
FLOOR_IR = 10

_NO_RELEASE = 9999
_OPSET = re.compile(r"is till opset (\d+)")
_IR = re.compile(r"max supported IR version: (\d+)")


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
    from mlfn_runtime.errors import StartError
    from mlfn_runtime.onnx_backend import OnnxBackend

    try:
        OnnxBackend(str(path))
    except StartError as error:
        return str(error)
    return None


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
