"""Train the iris model and write ``model.onnx`` beside this file: the same bytes at every run.

    python examples/iris/train.py [--out FILE]

A logistic regression on the 150 flowers that scikit-learn ships, exported with skl2onnx. What makes the bytes stable:
a solver that converges to the last digits, coefficients rounded to fewer, a fixed opset, and no versions or dates in
the file. Needs the packages of the extra ``convert``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

OPSETS = {"": 17, "ai.onnx.ml": 1}
"""Old enough for every ONNX Runtime in use."""

DECIMALS = 5
"""Of the coefficients: Newton's method leaves 1e-10 to the processor's arithmetic, far below this."""


def train() -> LogisticRegression:
    """Fit the model, and round what it learned."""
    inputs, labels = load_iris(return_X_y=True)
    model = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(inputs, labels)
    model.coef_ = np.round(model.coef_, DECIMALS)
    model.intercept_ = np.round(model.intercept_, DECIMALS)
    return model


def export(model: LogisticRegression) -> bytes:
    """Write the model as ONNX: probabilities as a tensor (no ZipMap), and one name for the batch axis everywhere."""
    document = to_onnx(
        model,
        name="iris",
        initial_types=[("X", FloatTensorType([None, 4]))],
        options={id(model): {"zipmap": False}},
        target_opset=OPSETS,
    )
    document.ir_version = 8
    del document.opset_import[:]
    for domain, version in OPSETS.items():
        document.opset_import.add(domain=domain, version=version)
    document.producer_name = "examples/iris/train.py"
    for field in ("producer_version", "domain", "doc_string", "metadata_props"):
        document.ClearField(field)
    document.graph.ClearField("doc_string")
    for value in (*document.graph.input, *document.graph.output):
        _name_batch(value)
    return bytes(document.SerializeToString(deterministic=True))


def _name_batch(value: Any) -> None:
    # One symbol on the first axes tells mlfn that requests may be merged into one run.
    value.type.tensor_type.shape.dim[0].dim_param = "batch"


def main() -> int:
    """Train, export and write the file."""
    parser = argparse.ArgumentParser(description="Train the iris model and write it as ONNX.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("model.onnx"))
    options = parser.parse_args()
    options.out.write_bytes(export(train()))
    sys.stdout.write(f"{options.out}: {options.out.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
