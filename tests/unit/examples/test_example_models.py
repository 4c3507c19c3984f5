"""The examples are what their READMEs say: reproducible, and with answers that ONNX Runtime itself gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from mlfn.models import open_model

DTYPES = {"FP32": np.float32, "INT32": np.int32, "INT64": np.int64}


@pytest.fixture(scope="session")
def model_of(repository: Path, fetched_model: Callable[[str], Path]) -> Callable[[str], Path]:
    """Return a function from an example's name to its model."""

    def model(name: str) -> Path:
        committed = repository / "examples" / name / "model.onnx"
        return committed if committed.exists() else fetched_model(name)

    return model


def arrays(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return Open Inference tensors as arrays."""
    return {each["name"]: np.array(each["data"], DTYPES[each["datatype"]]).reshape(each["shape"]) for each in tensors}


@pytest.mark.parametrize("name", ["iris", "magika", "minilm"])
def test_the_expected_answer_is_what_onnx_runtime_gives(
    name: str, repository: Path, model_of: Callable[[str], Path]
) -> None:
    folder = repository / "examples" / name
    request = json.loads((folder / "request.json").read_bytes())
    expected = json.loads((folder / "expected.json").read_bytes())
    wanted = arrays(expected["outputs"])
    session = onnxruntime.InferenceSession(str(model_of(name)), providers=["CPUExecutionProvider"])
    given = dict(zip(wanted, session.run(list(wanted), arrays(request["inputs"])), strict=True))
    for output, array in wanted.items():
        assert given[output].shape == array.shape
        np.testing.assert_allclose(given[output], array, rtol=0, atol=expected["parameters"]["tolerance"])


@pytest.mark.parametrize("name", ["iris", "magika", "minilm"])
def test_the_request_fits_the_signature(name: str, repository: Path, model_of: Callable[[str], Path]) -> None:
    request = json.loads((repository / "examples" / name / "request.json").read_bytes())
    signature = open_model(model_of(name)).signature
    assert [(each["name"], each["datatype"]) for each in request["inputs"]] == [
        (spec.name, spec.datatype) for spec in signature.inputs
    ]
    for each, spec in zip(request["inputs"], signature.inputs, strict=True):
        assert [length if axis >= 0 else -1 for length, axis in zip(each["shape"], spec.shape, strict=True)] == list(
            spec.shape
        )


def test_training_iris_again_gives_the_same_bytes(repository: Path, tmp_path: Path) -> None:
    script = repository / "examples" / "iris" / "train.py"
    again = tmp_path / "again.onnx"
    subprocess.run([sys.executable, str(script), "--out", str(again)], check=True, capture_output=True, timeout=100)
    assert again.read_bytes() == (repository / "examples" / "iris" / "model.onnx").read_bytes()


def test_iris_is_small_and_can_be_merged(repository: Path) -> None:
    package = open_model(repository / "examples" / "iris" / "model.onnx")
    assert package.size_bytes < 1000
    assert package.signature.batch_axis == 0
    assert package.findings == ()


def test_the_magika_request_is_made_from_the_sample(repository: Path) -> None:
    folder = repository / "examples" / "magika"
    made = subprocess.run(
        [sys.executable, str(folder / "make_request.py"), str(folder / "sample")],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert json.loads(made.stdout) == json.loads((folder / "request.json").read_bytes())
