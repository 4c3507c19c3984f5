"""A local platform of its own for each test: own state folder, own port, and nothing left running afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import uvloop
from onnx import TensorProto, helper, numpy_helper

from mlfn.function import Answer, Deployed, FunctionSpec
from mlfn.models import open_model
from mlfn.platforms import DeployRequest, local
from mlfn_local.paths import StatePaths
from mlfn_local.service import Service, ServiceSettings
from mlfn_runtime import __version__

LIMIT_S = 30.0
IRIS_BODY = b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'


def wait_until(holds: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Return what ``holds`` returns as soon as that is true."""
    pause, deadline = threading.Event(), time.monotonic() + limit_s
    while True:
        value = holds()
        if value:
            return value
        assert time.monotonic() < deadline, f"not true within {limit_s:g} s"
        pause.wait(0.01)


@dataclass
class World:
    """Hold one local platform."""

    state_dir: Path
    models: Path
    settings: dict[str, str]
    stages: list[str] = field(default_factory=list)

    @property
    def platform(self) -> local.LocalPlatform:
        return local.connect(self.settings)

    @property
    def service_pid(self) -> int:
        pid = local.service_status(self.settings).pid
        assert pid is not None
        return pid

    def deploy(self, name: str = "iris", model: Path | None = None, *, wait: bool = True, **spec: Any) -> Deployed:
        package = open_model(model or self.models / "iris.onnx")
        request = DeployRequest(FunctionSpec(name, **spec), package, wait=wait)
        return self.platform.deploy(request, progress=self.note)

    def note(self, stage: str) -> None:
        self.stages.append(stage)

    def ask(self, name: str = "iris", body: bytes = IRIS_BODY) -> Answer:
        return self.platform.invoke(name, f"v2/models/{name}/infer", body, {"content-type": "application/json"}, 20)

    def instance_pids(self, name: str = "iris") -> list[int]:
        return [i.pid for i in self.platform.status(name).instances if i.pid is not None]

    def wait_until(self, holds: Callable[[], Any]) -> Any:
        return wait_until(holds)

    def kill_instance(self, pid: int, name: str = "iris") -> None:
        """Kill an instance and wait until the service knows: what was sent to it before that is an honest 502."""
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.instance_pids(name))

    def kill_service(self) -> int:
        """Kill the service and wait until it is gone, which takes the kernel a moment; return its process id."""
        pid = self.service_pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.gone(pid))
        return pid

    @staticmethod
    def gone(pid: int) -> bool:
        """Say whether a process has ended (one that nobody reaps has, too)."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of models: iris as in the examples, and some that misbehave."""
    folder = tmp_path_factory.mktemp("models")
    repository = Path(__file__).resolve().parents[2]
    (folder / "iris.onnx").write_bytes((repository / "examples/iris/model.onnx").read_bytes())
    iris = onnx.load(folder / "iris.onnx")
    iris.doc_string = "another digest, the same answers"
    onnx.save(iris, folder / "iris2.onnx")
    _save(folder / "hungry.onnx", *_hungry(64_000_000))
    _save(folder / "slow.onnx", *_slow(1000, 60))
    _save(folder / "never_warm.onnx", *_never_warm())
    return folder


def _save(path: Path, nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto]) -> None:
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, path.stem, [x], [y], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _hungry(floats: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Need four bytes a float as soon as the session is made: ONNX Runtime folds the constant."""
    return (
        [
            helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
            helper.make_node("Add", ["X", "sum"], ["Y"]),
        ],
        [numpy_helper.from_array(np.array([floats]), "shape")],
    )


def _slow(size: int, products: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Take long to load: a chain of products of constants."""
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", "m0"], [f"m{i + 1}"]) for i in range(products)]
    nodes += [
        helper.make_node("ReduceSum", [f"m{products}"], ["sum"], keepdims=0),
        helper.make_node("Add", ["X", "sum"], ["Y"]),
    ]
    return nodes, [numpy_helper.from_array(np.array([size, size]), "shape")]


def _never_warm() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Load well and fail in every run: no row of four fits into three times five."""
    return (
        [helper.make_node("Reshape", ["X", "shape"], ["Y"])],
        [numpy_helper.from_array(np.array([3, 5]), "shape")],
    )


@pytest.fixture
def world(tmp_path: Path, models: Path, lasting_port: Callable[[], int]) -> Iterator[World]:
    state_dir = tmp_path / "state"
    made = World(state_dir, models, {"local.state_dir": str(state_dir), "local.port": str(lasting_port())})
    yield made
    info = None
    with contextlib.suppress(Exception):
        info = local.service_status(made.settings)
        local.down(made.settings)
    if info is not None and info.pid not in (None, os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(info.pid or 0, signal.SIGKILL)


class RunningService:
    """Run the service in a thread of the test, where its clock and its means can be set."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self.service: Service | None = None
        self._settings = settings
        self._listening = threading.Event()
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self._listening.wait(LIMIT_S)
        if self._error is not None:
            raise self._error

    def beat(self) -> None:
        """Let a second be over."""
        assert self.service is not None
        asyncio.run_coroutine_threadsafe(self.service.beat(), self.loop).result(LIMIT_S)

    def stop(self) -> None:
        """End the service."""
        if self.service is not None:
            self.loop.call_soon_threadsafe(self.service.stop)
        self.thread.join(LIMIT_S)

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001  handed to the test's thread
            self._error = error
        finally:
            self._listening.set()
            self.loop.close()

    async def _serve(self) -> None:
        service = Service(self._settings)
        try:
            await service.start()
            self.service = service
            self._listening.set()
            await service.wait()
        finally:
            await service.close()


@pytest.fixture
def in_process(world: World) -> Iterator[Callable[..., RunningService]]:
    """Return a function that runs the world's service in this process, with settings of the test's choice."""
    started: list[RunningService] = []

    def start(**settings: Any) -> RunningService:
        StatePaths(world.state_dir).prepare()
        StatePaths(world.state_dir).lock.touch()
        port = int(world.settings["local.port"])
        started.append(RunningService(ServiceSettings(world.state_dir, __version__, port, **settings)))
        return started[-1]

    yield start
    for service in started:
        service.stop()
