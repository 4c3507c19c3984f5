"""ONNX Runtime reports nothing to anybody: no thread, no file in the temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = "import os, sys; {first}; import onnxruntime; print(len(os.listdir('/proc/self/task')))"


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_importing_the_runtime_first_keeps_onnx_runtime_quiet(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    env.pop("ORT_DISABLE_TELEMETRY", None)

    def threads(first: str) -> int:
        command = [sys.executable, "-c", COUNT.format(first=first)]
        return int(subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True).stdout)

    quiet = threads("import mlfn_runtime")
    assert list(tmp_path.iterdir()) == []
    assert quiet <= threads("pass")
