"""A real server process for each model; everything here goes over a socket.

CONFORMANCE_SERVER names another command that serves, such as one that runs an image: it gets the same options, writes
what the server writes, and ends at SIGTERM.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
START_S = 60.0
SERVER = shlex.split(os.environ.get("CONFORMANCE_SERVER", "")) or [sys.executable, "-m", "mlfn_runtime"]


@dataclass(frozen=True)
class Served:
    """One running server."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """What the server wrote to its standard output so far."""
        return (self.folder / "stdout").read_text()

    @property
    def errors(self) -> str:
        """What the server wrote to its standard error so far."""
        return (self.folder / "stderr").read_text()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def stop(self) -> int:
        """Ask the server to stop and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def serving(model: Path, name: str, folder: Path, port: int, **env: str) -> Iterator[Served]:
    """Run the function server and wait until it is ready."""
    argv = (*SERVER, "--model", str(model), "--name", name, "--port", str(port))
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(("__OW_", "MLFN_"))}
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(argv, stdout=out, stderr=err, env={**surroundings, **env}, cwd=folder)
    served = Served(name, port, process, folder)
    try:
        _wait_until_ready(served)
        yield served
    finally:
        served.stop()


def _wait_until_ready(served: Served) -> None:
    give_up = time.monotonic() + START_S
    with served.client() as client:
        while time.monotonic() < give_up and served.process.poll() is None:
            try:
                if client.get("/v2/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                with suppress(subprocess.TimeoutExpired):
                    served.process.wait(0.05)  # until it listens, or is gone
    raise AssertionError(f"the server did not start:\n{served.output}\n{served.errors}")


@pytest.fixture(scope="session")
def serve_model(
    tmp_path_factory: pytest.TempPathFactory, lasting_port: Callable[[], int]
) -> Callable[..., AbstractContextManager[Served]]:
    """Return ``serving`` with a folder of its own for each call."""

    def start(model: Path, name: str, **env: str) -> AbstractContextManager[Served]:
        return serving(model, name, tmp_path_factory.mktemp(name), lasting_port(), **env)

    return start


# -- models -----------------------------------------------------------------------------------------------------------


def _write(path: Path, nodes: list[object], inputs: list[object], outputs: list[object], weights: list[object]) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def iris_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier of iris's shape: X [N, 4] to label [N] and probabilities [N, 3]."""
    rng = np.random.default_rng(7)
    weights = numpy_helper.from_array(rng.normal(size=(4, 3)).astype(np.float32), "weights")
    return _write(
        tmp_path_factory.mktemp("models") / "iris.onnx",
        [
            helper.make_node("MatMul", ["X", "weights"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=-1, keepdims=0),
        ],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
        ],
        [weights],
    )


@pytest.fixture(scope="session")
def every_datatype_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with one input and one equal output of every datatype, [N, 2], and a scalar."""
    inputs = [helper.make_tensor_value_info(f"in_{name}", code, ["N", 2]) for name, code in DATATYPES.items()]
    outputs = [helper.make_tensor_value_info(f"out_{name}", code, ["N", 2]) for name, code in DATATYPES.items()]
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in DATATYPES]
    scalar = helper.make_tensor_value_info("scalar", TensorProto.FLOAT, [])
    result = helper.make_tensor_value_info("negated", TensorProto.FLOAT, [])
    nodes.append(helper.make_node("Neg", ["scalar"], ["negated"]))
    path = tmp_path_factory.mktemp("models") / "datatypes.onnx"
    return _write(path, nodes, [*inputs, scalar], [*outputs, result], [])


@pytest.fixture(scope="session")
def tokens_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that ONNX Runtime itself refuses to run when a token is 16 or more."""
    table = numpy_helper.from_array(np.arange(16, dtype=np.float32), "table")
    return _write(
        tmp_path_factory.mktemp("models") / "tokens.onnx",
        [helper.make_node("Gather", ["table", "token"], ["value"])],
        [helper.make_tensor_value_info("token", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N"])],
        [table],
    )


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that takes about a microsecond for each of its ``steps``, and 2 ms besides."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["go_on"]), helper.make_node("Add", ["value", "one"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, []),
        ],
        [numpy_helper.from_array(np.array(1, np.float32), "one")],
    )
    nodes = [
        helper.make_node("Add", ["steps", "least"], ["all"]),
        helper.make_node("Loop", ["all", "", "zero"], ["reached"], body=body),
    ]
    weights = [
        numpy_helper.from_array(np.array(2000, np.int64), "least"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
    ]
    inputs = [helper.make_tensor_value_info("steps", TensorProto.INT64, [])]
    outputs = [helper.make_tensor_value_info("reached", TensorProto.FLOAT, [])]
    return _write(tmp_path_factory.mktemp("models") / "slow.onnx", nodes, inputs, outputs, weights)


@pytest.fixture(scope="session")
def iris(iris_model: Path, serve_model: Any) -> Iterator[Served]:
    with serve_model(iris_model, "iris") as served:
        yield served


@pytest.fixture(scope="session")
def datatypes(every_datatype_model: Path, serve_model: Any) -> Iterator[Served]:
    with serve_model(every_datatype_model, "datatypes") as served:
        yield served


@pytest.fixture(scope="session")
def whisk(tokens_model: Path, serve_model: Any) -> Iterator[Served]:
    """Return a server that believes to be an OpenWhisk action container."""
    with serve_model(tokens_model, "tokens", __OW_API_HOST="http://127.0.0.1:3233") as served:
        yield served
