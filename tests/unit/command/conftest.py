"""A command line in this process, an in-memory platform installed beside the built-in one, and a tiny model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from mlfn.command.main import main

INSTALLED = Path(__file__).parent / "installed"


@dataclass(frozen=True)
class Outcome:
    """Hold what a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return what was printed as JSON."""
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Install the in-memory platform, make it the default, and give its state."""
    monkeypatch.syspath_prepend(str(INSTALLED))
    monkeypatch.setenv("MLFN_PLATFORM", "memory")
    sys.modules.pop("memory_platform", None)
    import memory_platform  # type: ignore[import-not-found]  # found on the path that was just prepended

    assert isinstance(memory_platform, ModuleType)
    yield memory_platform.WORLD
    sys.modules.pop("memory_platform", None)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs a command line in a folder of its own, away from the user's settings and state."""
    for variable in ("MLFN_DEBUG", "MLFN_OUTPUT", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MLFN_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> Outcome:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Give a model that returns its input, float [N, 4]."""
    return save_identity(tmp_path / "echo.onnx")


def save_identity(path: Path, width: int = 4) -> Path:
    """Write a model that returns its input."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", tensors[:1], tensors[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(made, path)
    return path
