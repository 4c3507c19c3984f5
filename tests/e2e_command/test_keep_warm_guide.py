"""The commands of docs/guides/keep-warm.md, typed one after another by a shell, do what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

REFUSED = "--warm 60s"
"""The one command that the page announces to fail, with the words that it announces."""


def test_every_command_of_the_guide(cli: Any, repository: Path) -> None:
    page = (repository / "docs" / "guides" / "keep-warm.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    (told,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert len(lines) > 8
    env = {**cli.env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shown: dict[str, list[subprocess.CompletedProcess[str]]] = {}
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], cwd=repository, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        refused = line.endswith(REFUSED)
        assert done.returncode == (2 if refused else 0), f"{line}: {done.stderr}"
        assert not refused or done.stderr == told
        shown.setdefault(line, []).append(done)
    auto, pinged = shown["mlfn warm status flowers"]
    assert auto.stdout == "always 1 instance (auto)\n"
    assert pinged.stdout.startswith("a ping every 45 s from local service")
    (deployed,) = shown["mlfn deploy examples/iris/model.onnx --name flowers --warm auto"]
    assert "kept warm: min-scale 1; 24 instance-hours a day\n" in deployed.stderr
