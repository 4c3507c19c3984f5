"""ONNX Runtime behind three words: load, predict, signature.

Arrays in, arrays out: a sequence of maps (ZipMap) becomes an array with one column per key, a sequence of equal-shaped
tensors is stacked. What ONNX Runtime says of an input it cannot run becomes a ``RequestError`` in one line. Knows
nothing of requests, queues or transports.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from mlfn_runtime.errors import RequestError, StartError
from mlfn_runtime.signature import DATATYPE_OF_ORT, ModelSignature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["OnnxBackend"]

_ORT_ERRORS = (
    ort.EPFail,
    ort.EngineError,
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.ModelLoaded,
    ort.NoModel,
    ort.NoSuchFile,
    ort.NotImplemented,
    ort.RuntimeException,
    RuntimeError,
    ValueError,
    TypeError,
    MemoryError,
    OverflowError,
)
"""ONNX Runtime's exceptions have no common base below Exception; these are the ones that load and run raise."""

_TENSOR = re.compile(r"tensor\((\w+)\)")
_MAPS = re.compile(r"seq\(map\((\w+),tensor\((\w+)\)\)\)")
_TENSORS = re.compile(r"seq\(tensor\((\w+)\)\)")
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")


class OnnxBackend:
    """Run one ONNX model on the CPU."""

    def __init__(self, path: str, threads: int = 1) -> None:
        file = os.path.basename(path)  # noqa: PTH119  # pathlib costs 4 ms of a start
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if threads > 1:
            _keep_apart(options, threads)
        options.log_severity_level = 4  # what goes wrong is raised; the log would only repeat it on stderr
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as error:
            if isinstance(error, MemoryError) or "allocat" in str(error):
                raise StartError("memory", f"{file}: not enough memory to load it") from error
            raise StartError("load", f"{file}: ONNX Runtime cannot load it: {_sentence(error)}") from error
        self.signature = _signature(self._session, file)
        self._names = [spec.name for spec in self.signature.outputs]
        self._plain = all(output.type.startswith("tensor(") for output in self._session.get_outputs())
        # The binding's own session: the wrapper checks again what the codec has checked (1.6 us of 6).
        self._run = partial(getattr(self._session, "_sess", self._session).run, self._names)

    def predict(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model once on all its inputs and return all its outputs."""
        try:
            values = self._run(inputs, None)
        except _ORT_ERRORS as error:
            raise RequestError(400, f"the model cannot run on these inputs: {_sentence(error)}") from error
        if self._plain:
            return dict(zip(self._names, values, strict=True))
        return {name: self._as_array(name, value) for name, value in zip(self._names, values, strict=True)}

    def _as_array(self, name: str, value: Any) -> NDArray[Any]:
        if isinstance(value, np.ndarray):
            return value
        if isinstance(value, dict):
            value = [value]
        if value and isinstance(value[0], dict):
            return self._columns(name, value)
        shapes = {element.shape for element in value}
        if len(shapes) > 1:
            listed = ", ".join(str(list(shape)) for shape in sorted(shapes))
            raise RequestError(400, f'output "{name}": expected a sequence of tensors of one shape, got {listed}')
        return np.stack(value) if value else np.empty((0,), np.float32)

    def _columns(self, name: str, rows: Sequence[dict[int | str, float]]) -> NDArray[Any]:
        keys = tuple(rows[0])
        self._learn_keys(name, keys)
        columns = np.array([[row[key] for key in keys] for row in rows])
        return columns.astype(np.int64 if columns.dtype.kind in "iu" else np.float32)

    def _learn_keys(self, name: str, keys: tuple[int | str, ...]) -> None:
        """Note the keys of a map output at the first run (the one before ready)."""
        specs = self.signature.outputs
        if any(spec.name == name and spec.keys == () for spec in specs):
            outputs = tuple(
                replace(spec, keys=keys, shape=(*spec.shape[:-1], len(keys))) if spec.name == name else spec
                for spec in specs
            )
            self.signature = ModelSignature(self.signature.inputs, outputs)


def _keep_apart(options: onnxruntime.SessionOptions, threads: int) -> None:
    """Give each helper thread a core of its own, and let it sleep between runs.

    Left to the scheduler, a helper is woken on the core of the thread that calls it: on two cores a run then takes
    8.3 ms instead of 3.1 (5.5 with one thread).
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) >= threads:
        helpers = ";".join(str(core + 1) for core in cores[1:threads])  # ONNX Runtime counts from 1
        options.add_session_config_entry("session.intra_op_thread_affinities", helpers)
    options.add_session_config_entry("session.force_spinning_stop", "1")


def _signature(session: onnxruntime.InferenceSession, file: str) -> ModelSignature:
    return ModelSignature(
        inputs=tuple(_input(argument, file) for argument in session.get_inputs()),
        outputs=tuple(_output(argument, file) for argument in session.get_outputs()),
    )


def _input(argument: Any, file: str) -> TensorSpec:
    match = _TENSOR.fullmatch(argument.type)
    if match is None or match[1] not in DATATYPE_OF_ORT:
        known = ", ".join(DATATYPE_OF_ORT)
        message = f'{file}: input "{argument.name}" is a {argument.type}; expected a tensor of one of: {known}'
        raise StartError("load", message)
    return _tensor(argument.name, DATATYPE_OF_ORT[match[1]], argument.shape)


def _output(argument: Any, file: str) -> TensorSpec:
    match = _TENSOR.fullmatch(argument.type)
    if match is not None and match[1] in DATATYPE_OF_ORT:
        return _tensor(argument.name, DATATYPE_OF_ORT[match[1]], argument.shape)
    match = _MAPS.fullmatch(argument.type)
    if match is not None and match[2] in DATATYPE_OF_ORT:
        datatype = "INT64" if match[2].startswith(("int", "uint")) else "FP32"
        return TensorSpec(argument.name, datatype, (-1, -1), ("", ""), ())
    match = _TENSORS.fullmatch(argument.type)
    if match is not None and match[1] in DATATYPE_OF_ORT:
        return TensorSpec(argument.name, DATATYPE_OF_ORT[match[1]], (-1,), ("",))
    expected = "a tensor, or a sequence of maps or tensors"
    raise StartError("load", f'{file}: output "{argument.name}" is a {argument.type}; expected {expected}')


def _tensor(name: str, datatype: str, axes: Sequence[int | str | None]) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in axes)
    symbols = tuple(axis if isinstance(axis, str) else "" for axis in axes)
    return TensorSpec(name, datatype, shape, symbols)


def _sentence(error: BaseException) -> str:
    """Put ONNX Runtime's message on one line, without its own prefix and without an end."""
    text = " ".join(_PREFIX.sub("", str(error)).split())
    return text if len(text) <= 400 else text[:397] + "..."
