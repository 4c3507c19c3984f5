"""Our reading of ONNX files against the onnx package's, and against what ONNX Runtime makes of the same files."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, defs, helper

from mlfn.errors import InvalidInput
from mlfn.models import check_loads, open_model
from mlfn.models.onnx_format import WHOLE_BYTES, signature_of
from mlfn.models.onnx_graph import MalformedError, read_graph
from mlfn.models.onnx_operators import STANDARD
from mlfn_runtime.errors import StartError
from mlfn_runtime.onnx_backend import OnnxBackend
from mlfn_runtime.signature import DATATYPE_OF_ONNX, ModelSignature, TensorSpec
from mlfn_runtime.synthesis import synthesise


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of all graphs in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from nodes_of(inner)


def test_it_is_what_the_onnx_package_reads(real_model: Path) -> None:
    theirs = onnx.load(real_model, load_external_data=False)
    ours = read_graph(real_model.read_bytes())
    assert ours.ir_version == theirs.ir_version
    assert ours.opsets == {each.domain or "ai.onnx": each.version for each in theirs.opset_import}
    initialized = {each.name for each in theirs.graph.initializer}
    assert [each.name for each in ours.inputs] == [x.name for x in theirs.graph.input if x.name not in initialized]
    assert [each.name for each in ours.outputs] == [each.name for each in theirs.graph.output]
    every = [*nodes_of(theirs.graph), *(node for function in theirs.functions for node in function.node)]
    assert set(ours.operators) == {(node.domain or "ai.onnx", node.op_type) for node in every}
    assert ours.functions == {(each.domain or "ai.onnx", each.name) for each in theirs.functions}


def agree(file: TensorSpec, session: TensorSpec) -> bool:
    """Tell whether the two are equal, but for axes free in the file that ONNX Runtime found to be fixed."""
    if len(file.shape) != len(session.shape):
        return False
    inferred = [axis for axis, length in enumerate(file.shape) if length == -1 and session.shape[axis] != -1]
    shape = tuple(session.shape[axis] if axis in inferred else length for axis, length in enumerate(file.shape))
    symbols = tuple("" if axis in inferred else symbol for axis, symbol in enumerate(file.symbols))
    return replace(file, shape=shape, symbols=symbols) == session


def test_the_signature_is_the_one_of_the_session(real_model: Path) -> None:
    package = open_model(real_model)
    try:
        backend = OnnxBackend(str(real_model))
    except StartError:
        # The onnx package tests itself with models that ONNX Runtime has given up: they must not pass for good ones.
        assert package.errors or check_loads(package)
        return
    assert package.errors == ()
    if any(spec.keys is not None for spec in package.signature.outputs):
        backend.predict(synthesise(package.signature))  # the session learns a map's keys from its first run
    assert package.signature.inputs == backend.signature.inputs
    for file, session in zip(package.signature.outputs, backend.signature.outputs, strict=True):
        assert agree(file, session)


def test_little_is_inferred_beyond_the_file(repository: Path) -> None:
    iris = repository / "examples" / "iris" / "model.onnx"
    assert open_model(iris).signature == OnnxBackend(str(iris)).signature


def test_the_operator_table_is_the_one_of_the_installed_onnx() -> None:
    theirs: dict[str, dict[str, tuple[int, int]]] = {domain: {} for domain in STANDARD}
    history: dict[tuple[str, str], list[defs.OpSchema]] = {}
    for schema in defs.get_all_schemas_with_history():
        history.setdefault((schema.domain or "ai.onnx", schema.name), []).append(schema)
    for (domain, name), schemas in history.items():
        if domain in theirs:
            newest = max(schemas, key=lambda each: each.since_version)
            first = min(each.since_version for each in schemas)
            theirs[domain][name] = (first, newest.since_version if newest.deprecated else 0)
    assert theirs == STANDARD


def test_types_without_a_datatype_are_the_only_ones_left_out() -> None:
    for number, datatype in DATATYPE_OF_ONNX.items():
        name = onnx.TensorProto.DataType.Name(number)
        spelled = {"BYTES": "STRING", "FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE"}.get(datatype, datatype)
        assert name == spelled


def test_reading_imports_neither_onnx_nor_onnxruntime_nor_numpy(repository: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlfn.models import open_model\n"
        f"open_model(Path({str(repository / 'examples/iris/model.onnx')!r}))\n"
        "print(sorted({'onnx', 'onnxruntime', 'numpy', 'google', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_one_file_has_the_digest_of_sha256sum(repository: Path) -> None:
    iris = repository / "examples" / "iris" / "model.onnx"
    assert open_model(iris).digest == "sha256:" + hashlib.sha256(iris.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def iris_bytes(repository: Path) -> bytes:
    """Return a small real model."""
    return (repository / "examples" / "iris" / "model.onnx").read_bytes()


def test_every_truncation_is_one_clear_error(iris_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    opsets = {"ai.onnx": 17, "ai.onnx.ml": 1}
    whole_but_one_opset = (
        len(iris_bytes) - len(onnx.OperatorSetIdProto(domain="ai.onnx.ml", version=1).SerializeToString()) - 2
    )
    for length in range(1, len(iris_bytes)):
        path.write_bytes(iris_bytes[:length])
        if length == whole_but_one_opset:
            assert open_model(path).opsets != opsets  # an import of an opset fewer: no longer the same model
            continue
        with pytest.raises(InvalidInput, match=re.escape(str(path))):
            open_model(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_damage_is_an_error_or_another_model(data: st.DataObject, iris_bytes: bytes) -> None:
    damaged = bytearray(iris_bytes)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        signature, _ = signature_of(read_graph(bytes(damaged)))
    except MalformedError:
        return
    assert isinstance(signature, ModelSignature)


def test_a_large_file_is_mapped_and_not_held(build: Callable[..., Path]) -> None:
    weights = TensorProto(name="w", dims=[WHOLE_BYTES // 4], data_type=TensorProto.FLOAT, raw_data=bytes(WHOLE_BYTES))
    nodes = [helper.make_node("Gather", ["w", "x"], ["y"])]
    path = build(nodes, inputs=[helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])], initializer=[weights])
    del weights
    assert path.stat().st_size > WHOLE_BYTES
    tracemalloc.start()
    package = open_model(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < WHOLE_BYTES // 16
    assert package.signature.inputs == (TensorSpec("x", "INT64", (-1,), ("n",)),)
    with path.open("rb") as file:
        assert package.digest == "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def test_a_large_file_that_is_cut_off(build: Callable[..., Path]) -> None:
    path = build(initializer=[TensorProto(name="w", data_type=TensorProto.UINT8, raw_data=bytes(WHOLE_BYTES + 4096))])
    with path.open("r+b") as file:
        file.truncate(WHOLE_BYTES + 1024)
    with pytest.raises(InvalidInput, match="cut off"):
        open_model(path)
