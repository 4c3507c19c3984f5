"""ONNX models made for one purpose each, with the onnx package (which mlfn itself does not use to read them)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

Axes = Sequence[int | str | None]
Build = Callable[..., Path]


def tensor(name: str, axes: Axes | None, element: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """Describe a tensor input or output."""
    return helper.make_tensor_value_info(name, element, axes)


def model(
    nodes: Sequence[onnx.NodeProto] = (),
    *,
    inputs: Sequence[onnx.ValueInfoProto] = (),
    outputs: Sequence[onnx.ValueInfoProto] = (),
    opsets: dict[str, int] | None = None,
    ir_version: int = 8,
    **graph: Any,
) -> onnx.ModelProto:
    """Make a model; without nodes it is the identity from x to y, [batch,2]."""
    nodes = nodes or [helper.make_node("Identity", ["x"], ["y"], name="only")]
    inputs = inputs or [tensor("x", ["batch", 2])]
    outputs = outputs or [tensor("y", ["batch", 2])]
    imports = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": 17}).items()]
    body = helper.make_graph(list(nodes), "made", list(inputs), list(outputs), **graph)
    return helper.make_model(body, opset_imports=imports, ir_version=ir_version)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a function that writes a made model to tmp_path/NAME.onnx."""

    def built(*arguments: Any, name: str = "made.onnx", **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model(*arguments, **options).SerializeToString())
        return path

    return built


FETCHED = (
    "basic-pitch",
    "logreg-iris",
    "magika",
    "minilm",
    "ocr-cls",
    "ocr-det",
    "ocr-rec",
    "silero-vad",
    "silero-vad-half",
    "silero-vad-ifless",
    "silero-vad-sequence",
)
"""Real models of examples/fetch.py."""

_SHIPPED = Path(onnx.__file__).parent / "backend" / "test" / "data"

SHIPPED = tuple(
    str(path.relative_to(_SHIPPED))
    for path in sorted(_SHIPPED.rglob("*.onnx"))
    if path.parent.name != "light" or "squeezenet" in path.name
)
"""The models that the onnx package tests itself with; of the large ones, one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``real_model`` over every model there is."""
    if "real_model" in metafunc.fixturenames:
        metafunc.parametrize("real_model", ["iris", *FETCHED, *SHIPPED], indirect=True)


@pytest.fixture
def real_model(request: pytest.FixtureRequest, repository: Path, fetched_model: Callable[[str], Path]) -> Path:
    """Return the file of one real model."""
    name = str(request.param)
    if name == "iris":
        return repository / "examples" / "iris" / "model.onnx"
    return fetched_model(name) if name in FETCHED else _SHIPPED / name
