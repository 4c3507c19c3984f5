"""The real `mlfn` executable in processes of its own, each test with its own home, state and temporary folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

LIMIT_S = 60.0


@dataclass(frozen=True)
class CommandLine:
    """Run `mlfn` in one world: one home, one state folder."""

    folder: Path
    env: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """Return the state folder."""
        return self.folder / "state"

    def run(self, *args: object, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end; standard input is no terminal."""
        return subprocess.run(
            [mlfn(), *map(str, args)],
            env={**self.env, **env},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def json(self, *args: object) -> Any:
        """Run a command line that has to succeed, and return its JSON."""
        done = self.run(*args, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *args: object) -> subprocess.Popen[str]:
        """Start a command line and leave it running."""
        process = subprocess.Popen(
            [mlfn(), *map(str, args)],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def left_behind(self) -> list[str]:
        """Return what a command that failed must not leave: functions, models, logs, temporary files."""
        left = [str(path.relative_to(self.folder)) for path in (self.folder / "tmp").rglob("*")]
        for part in ("models", "logs"):
            left += [str(path.relative_to(self.folder)) for path in (self.state / part).rglob("*")]
        left += [str(path.relative_to(self.folder)) for path in self.state.glob("*") if is_temporary(path)]
        if self.json("local", "status")["running"]:
            left += [each["name"] for each in self.json("list")["functions"]]
        return sorted(left)

    def service_pid(self) -> int | None:
        """Return the process of the background service, where it runs."""
        if not self.state.is_dir():
            return None
        told = self.run("local", "status", "-o", "json")
        if told.returncode != 0:
            return None
        pid = json.loads(told.stdout)["pid"]
        assert pid is None or isinstance(pid, int)
        return pid

    @staticmethod
    def wait_for(condition: Callable[[], Any], limit_s: float = 20.0) -> Any:
        """Return what a condition gives as soon as it is true; fail when that takes too long."""
        deadline = time.monotonic() + limit_s
        pause = threading.Event()
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {limit_s} s"
            pause.wait(0.01)
        return found

    @staticmethod
    def is_alive(pid: int) -> bool:
        """Tell whether a process runs; one that is dead and not yet waited for does not."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False


Typed = list[tuple[str, subprocess.CompletedProcess[str]]]


@pytest.fixture
def type_page(cli: CommandLine, repository: Path) -> Callable[..., Typed]:
    """Return a function that types the commands of a page of docs/ in the clone, by a shell, one after another."""
    env = {**cli.env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{cli.env['PATH']}"}

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line], cwd=repository, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    def typed(page: str, left_out: tuple[str, ...] = ()) -> Typed:
        blocks = re.findall(r"```sh\n(.*?)```", (repository / "docs" / page).read_text(), re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines() if line.strip()]
        return [(line, shell(line)) for line in lines if not line.startswith(left_out)]

    return typed


def is_temporary(path: Path) -> bool:
    """Tell a file that nobody would miss from the service's own."""
    return path.name.startswith((".", "tmp")) or path.suffix in (".tmp", ".part")


def mlfn() -> str:
    """Return the installed executable."""
    return str(Path(sys.executable).parent / "mlfn")


@pytest.fixture
def cli(tmp_path: Path, lasting_port: Callable[[], int]) -> Iterator[CommandLine]:
    """Give a command line in a world of its own, and take down whatever it started."""
    for name in ("home", "tmp", ".git"):
        (tmp_path / name).mkdir()
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "PYTHONPATH") if key in os.environ}
    env = kept | {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "MLFN_STATE_DIR": str(tmp_path / "state"),
        "MLFN_LOCAL_PORT": str(lasting_port()),
    }
    command = CommandLine(tmp_path, env)
    try:
        yield command
    finally:
        for process in command.started:
            process.kill()
            process.communicate()
        pid = command.service_pid()
        command.run("local", "down")
        if pid is not None and command.is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def iris(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the example model under the name that its function is to have, its request and answer beside it."""
    example, folder = repository / "examples" / "iris", tmp_path_factory.mktemp("models")
    for name, here in (
        ("model.onnx", "iris.onnx"),
        ("request.json", "request.json"),
        ("expected.json", "expected.json"),
    ):
        (folder / here).write_bytes((example / name).read_bytes())
    return folder / "iris.onnx"


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Give a function that writes a model of float [N, 4] out of nodes that lead from x to y."""

    def write(name: str, *nodes: onnx.NodeProto, opsets: dict[str, int] | None = None, ir_version: int = 8) -> Path:
        tensors = [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["N", 4]) for each in ("x", "y")]
        graph = helper.make_graph(list(nodes), name, tensors[:1], tensors[1:])
        imports = [helper.make_opsetid(domain, number) for domain, number in (opsets or {"": 17}).items()]
        path = tmp_path / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=ir_version), path)
        return path

    return write


def constant(name: str, values: list[int]) -> onnx.NodeProto:
    """Return a node that gives a constant INT64 vector."""
    tensor = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
    return helper.make_node("Constant", [], [name], value=tensor)


@pytest.fixture
def fails_warm_up(save: Save) -> Path:
    """Give a model that loads, and fails every inference: 4 values never make 3 times 5."""
    return save("unwarm", constant("shape", [3, 5]), helper.make_node("Reshape", ["x", "shape"], ["y"]))


@pytest.fixture
def slow_to_load(save: Save) -> Path:
    """Give a model that takes seconds to load: ONNX Runtime multiplies its constants beforehand."""
    side, times = 1500, 24
    nodes = [constant("side", [side, side]), helper.make_node("ConstantOfShape", ["side"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(times)]
    nodes += [
        helper.make_node("ReduceSum", [f"m{times}"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return save("slow", *nodes)
