"""One deploy can be followed from top to bottom: few files, and nobody calls up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
IRIS = REPOSITORY / "examples" / "iris" / "model.onnx"
MOST_FILES = 10


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The trace of `mlfn deploy` on a machine where nothing runs yet."""
    folder = tmp_path_factory.mktemp("deploy")
    env = {**os.environ, "MLFN_STATE_DIR": str(folder / "state"), "NO_COLOR": "1"}
    trace = folder / "trace.json"
    command = [sys.executable, str(Path(__file__).with_name("call_trace.py")), str(trace), "deploy", str(IRIS)]
    down = [sys.executable, "-c", "from mlfn.command import mlfn; mlfn()", "local", "down"]
    try:
        done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    finally:
        subprocess.run(down, env=env, cwd=folder, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    traced = json.loads(trace.read_text())
    assert traced["exit"] == 0, done.stderr
    assert isinstance(traced, dict)
    return traced


def test_a_deploy_enters_few_files(deploy: dict[str, Any]) -> None:
    assert len(deploy["files"]) <= MOST_FILES, deploy["files"]
    assert deploy["files"][0].startswith("command/")
    assert "platforms/local.py" in deploy["files"]


def test_nobody_calls_back_to_the_caller(deploy: dict[str, Any]) -> None:
    calls = {(caller, called) for caller, called in deploy["calls"]}
    assert calls
    assert sorted(pair for pair in calls if pair[::-1] in calls and pair[0] < pair[1]) == []
