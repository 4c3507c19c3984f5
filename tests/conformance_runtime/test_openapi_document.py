"""The OpenAPI document is valid, says what the signature says, and the server keeps what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from mlfn_runtime.openapi import Description, document
from mlfn_runtime.signature import ModelSignature, TensorSpec
from mlfn_runtime.synthesis import example_body

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def describe(*inputs: TensorSpec, name: str = "m", openwhisk: bool = False) -> dict[str, Any]:
    outputs = (TensorSpec("y", "FP32", (-1, 3), ("N", "")), TensorSpec("z", "BYTES", (-1,), ("N",)))
    signature = ModelSignature(inputs, outputs)
    return document(Description(signature, name, "1", example_body(signature), openwhisk=openwhisk))


def rows_described(described: dict[str, Any]) -> list[list[list[int]]]:
    """Return, for each alternative of a request, the shapes of its inputs."""
    alternatives = described["components"]["schemas"]["InferenceRequest"]["anyOf"]
    return [
        [tensor["properties"]["shape"]["const"] for tensor in alternative["properties"]["inputs"]["prefixItems"]]
        for alternative in alternatives
    ]


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        ([TensorSpec("x", "FP32", (-1, 4), ("N", ""))], [[[1, 4]], [[2, 4]], [[3, 4]], [[4, 4]]]),
        ([TensorSpec("x", "FP64", (2, 2), ("", ""))], [[[2, 2]]]),
        ([TensorSpec("x", "INT8", (), ())], [[[]]]),
        (
            [TensorSpec("a", "BYTES", (-1,), ("N",)), TensorSpec("b", "BOOL", (-1, 2), ("N", ""))],
            [[[1], [1, 2]], [[2], [2, 2]], [[3], [3, 2]], [[4], [4, 2]]],
        ),
        ([TensorSpec("x", "UINT64", (-1, 0), ("M", ""))], [[[1, 0]]]),
    ],
    ids=["rows", "fixed", "scalar", "several", "empty-axis"],
)
def test_requests_are_typed_from_the_signature(inputs: list[TensorSpec], shapes: list[list[list[int]]]) -> None:
    described = describe(*inputs)
    OpenAPIV31SpecValidator(described).validate()
    assert rows_described(described) == shapes
    first = described["components"]["schemas"]["InferenceRequest"]["anyOf"][0]["properties"]["inputs"]["prefixItems"]
    assert [tensor["properties"]["name"]["const"] for tensor in first] == [spec.name for spec in inputs]
    assert [tensor["properties"]["datatype"]["const"] for tensor in first] == [spec.datatype for spec in inputs]


def test_a_name_that_needs_quoting_and_openwhisk() -> None:
    described = describe(TensorSpec("x", "FP32", (-1, 4)), name="a {b}/c", openwhisk=True)
    OpenAPIV31SpecValidator(described).validate()
    assert "/v2/models/a%20%7Bb%7D%2Fc/infer" in described["paths"]
    assert {"/init", "/run"} <= described["paths"].keys()


def test_the_served_document_is_valid_and_complete(iris: Any) -> None:
    with iris.client() as client:
        described = client.get("/openapi.json").json()
        OpenAPIV31SpecValidator(described).validate()
        assert "/init" not in described["paths"]
        for path, methods in described["paths"].items():
            answer = client.request("OPTIONS", path)
            allowed = {method.strip().lower() for method in answer.headers["allow"].split(",")}
            assert allowed - {"head", "options"} == methods.keys(), path


def test_every_operation_says_how_it_can_fail(iris: Any) -> None:
    with iris.client() as client:
        described = client.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            codes = {"200", "400", "408", "413", "414", "417", "431", "503", "504"} | (
                {"415"} if method == "post" else set()
            )
            assert codes <= operation["responses"].keys(), path


@pytest.mark.timeout(120)
def test_schemathesis_finds_no_failure(iris: Any, tmp_path: Path) -> None:
    argv = (
        *(SCHEMATHESIS, "run", f"{iris.url}/openapi.json", "--phases", "examples,coverage,fuzzing"),
        *("--seed", "1", "--max-examples", "5", "--workers", "1", "--no-color"),
    )
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
