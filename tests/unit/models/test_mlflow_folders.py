"""MLflow folders: the onnx flavour is served, any other is named together with the way to ONNX."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlfn.errors import InvalidInput
from mlfn.models import open_model

MLMODEL = """\
artifact_path: model
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_version: 1.17.0
    providers:
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.onnx
    python_version: 3.11.7
mlflow_version: 3.1.0
model_size_bytes: 508
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]'
utc_time_created: '2026-01-02 03:04:05.678901'
"""
"""As mlflow.onnx.save_model writes it."""


@pytest.fixture
def folder(tmp_path: Path, repository: Path) -> Path:
    """Return an MLflow folder of the iris model."""
    (tmp_path / "MLmodel").write_text(MLMODEL)
    shutil.copy(repository / "examples/iris/model.onnx", tmp_path / "model.onnx")
    return tmp_path


def test_the_model_in_the_folder_is_read(folder: Path, repository: Path) -> None:
    package = open_model(folder)
    plain = open_model(repository / "examples/iris/model.onnx")
    assert (package.format, package.root, package.entry) == ("mlflow", folder, "model.onnx")
    assert package.files == ("model.onnx",)
    assert (package.signature, package.digest) == (plain.signature, plain.digest)


def test_its_mlmodel_file_stands_for_the_folder(folder: Path) -> None:
    assert open_model(folder / "MLmodel") == open_model(folder)


def test_a_model_deeper_in_the_folder(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "model.onnx").rename(folder / "data/model.onnx")
    (folder / "MLmodel").write_text(MLMODEL.replace("data: model.onnx", "data: data/model.onnx"))
    package = open_model(folder)
    assert (package.entry, package.files) == ("data/model.onnx", ("data/model.onnx",))


def refused(folder: Path, mlmodel: str) -> InvalidInput:
    """Return the error that an MLmodel file leads to."""
    (folder / "MLmodel").write_text(mlmodel)
    with pytest.raises(InvalidInput) as caught:
        open_model(folder)
    return caught.value


def test_another_flavour_is_named_with_the_way_to_onnx(folder: Path) -> None:
    error = refused(folder, "flavors:\n  sklearn: {}\n  python_function: {}\n")
    assert "the flavour sklearn" in error.message
    assert "skl2onnx" in error.hints[0]
    assert "mlflow.onnx.log_model" in error.hints[-1]


def test_a_python_function_alone(folder: Path) -> None:
    assert "python_function" in refused(folder, "flavors: {python_function: {}}").message


@pytest.mark.parametrize("data", ["../model.onnx", "/etc/hostname", "3", "[a]", "''"])
def test_a_model_outside_the_folder_is_refused(folder: Path, data: str) -> None:
    assert "flavors.onnx.data" in refused(folder, f"flavors: {{onnx: {{data: {data}}}}}").message


def test_a_model_that_is_not_there(folder: Path) -> None:
    assert "that is no file" in refused(folder, "flavors: {onnx: {data: gone.onnx}}").message


@pytest.mark.parametrize("content", ["", "a: [", "- list", "flavors: 3", "\0", "flavors: !!python/object:os.system {}"])
def test_what_is_no_mlmodel(folder: Path, content: str) -> None:
    assert "is no MLmodel file" in refused(folder, content).message


def test_a_damaged_model_in_a_folder(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:100])
    with pytest.raises(InvalidInput, match="cut off"):
        open_model(folder)


@pytest.mark.parametrize(("content", "what"), [(b"<html>", "an HTML page"), (b"", "is empty"), (b"hello", "a text")])
def test_a_model_in_a_folder_that_is_something_else(folder: Path, content: bytes, what: str) -> None:
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(InvalidInput, match=f"model.onnx.*{what}"):
        open_model(folder)
