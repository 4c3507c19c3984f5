"""Models made for the tests, and servers of them in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

Value = tuple[str, int, list[Any]]


def save_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[Any]]],
    outputs: list[tuple[str, int, list[Any]]],
) -> str:
    """Save a graph; inputs and outputs are (name, TensorProto type, shape with names for free axes)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@dataclass
class Answer:
    """One HTTP answer as it came off the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Client:
    """A socket that sends exactly what it is given and reads whole answers."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, *, head: bool = False) -> Answer:
        """Read one answer; ``head`` for one that has no body by its request's method."""
        line = self._file.readline()
        assert line, "the server closed the connection"
        headers: dict[str, str] = {}
        while (header := self._file.readline().strip()) != b"":
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        status = int(line.split()[1])
        length = 0 if head or status == 100 else int(headers["content-length"])
        return Answer(status, headers, self._file.read(length))

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        return self.read()

    def at_end(self) -> bool:
        """Wait until the server closes; return whether it sent nothing before."""
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@dataclass
class Server:
    """A server process that tells its events as lines on its standard output."""

    process: subprocess.Popen[bytes]
    name: str
    log: Path
    port: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    _clients: list[Client] = field(default_factory=list)

    def connect(self) -> Client:
        client = Client(self.port)
        self._clients.append(client)
        return client

    def post(self, body: object, path: str | None = None, headers: str = "") -> Answer:
        """Send a JSON body on a connection of its own."""
        return self.connect().ask(request(path or f"/v2/models/{self.name}/infer", json.dumps(body).encode(), headers))

    def get(self, path: str) -> Answer:
        return self.connect().ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def settle(self) -> None:
        """Wait until what was logged before is in the file: lines are written in order, some milliseconds later."""
        mark = f"settle-{time.monotonic_ns()}"
        self.connect().ask(request("/v2/health/live", headers=f"X-Request-Id: {mark}\r\n", method="GET"))
        pause, deadline = threading.Event(), time.monotonic() + 5
        while mark not in self.log.read_text():
            assert time.monotonic() < deadline, "the log has not been written for 5 s"
            pause.wait(0.002)

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def request(path: str, body: bytes = b"", headers: str = "", method: str = "POST") -> bytes:
    """Write one request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def float_tensor(rows: list[list[float]], name: str = "X") -> dict[str, Any]:
    """Write one FP32 tensor of an Open Inference request."""
    return {
        "name": name,
        "datatype": "FP32",
        "shape": [len(rows), len(rows[0])],
        "data": [v for row in rows for v in row],
    }


PROGRAM = """
import json, os, sys
from mlfn_runtime.server import ServerSettings, serve
def tell(event, facts): print(json.dumps([event, facts]), flush=True)
code = serve(ServerSettings.from_environment(os.environ, port=0), notify=tell)
sys.stdout.flush()
os._exit(code)
"""


@contextlib.contextmanager
def serving(model: str, log: Path, **settings: object) -> Iterator[Server]:
    """Run a server of ``model`` until the block ends; ``settings`` become ``MLFN_*`` variables."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFN_")}
    env |= {f"MLFN_{key.upper()}": str(value) for key, value in settings.items()}
    env |= {"MLFN_MODEL_PATH": model, "MLFN_LOG_PATH": str(log)}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE)
    server = Server(process, Path(model).stem, log)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            event, facts = json.loads(line)
            server.port = facts.get("port", 0)
            if event == "ready":
                server.facts = facts
                break
            assert event == "listening", facts
        yield server
    finally:
        server.stop()
        watchdog.cancel()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models that several tests use."""
    folder = tmp_path_factory.mktemp("models")
    pair = ["N", 2]
    add = [helper.make_node("Add", ["X", "X"], ["Y"])]
    save_model(folder / "double.onnx", add, [("X", FLOAT, pair)], [("Y", FLOAT, pair)])
    table = helper.make_node("Constant", [], ["table"], value_floats=[10.0, 20.0, 30.0])
    take = [table, helper.make_node("Gather", ["table", "I"], ["Y"])]
    save_model(folder / "lookup.onnx", take, [("I", INT64, ["N"])], [("Y", FLOAT, ["N"])])
    return folder


@pytest.fixture(scope="session")
def double(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a model that doubles [N, 2] floats, run on the loop and merged."""
    with serving(str(models / "double.onnx"), tmp_path_factory.mktemp("double") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def lookup(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a model that looks up [N] indexes in a table of three, and fails on others."""
    with serving(str(models / "lookup.onnx"), tmp_path_factory.mktemp("lookup") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def house() -> Any:
    """This module, for tests that start servers of their own."""
    return sys.modules[__name__]
