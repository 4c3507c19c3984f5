"""The commands of docs/guides/change-safely.md, typed one after another by a shell, do what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

REFUSED = "mlfn traffic flowers flowers-00001=10"
"""The one command that the page announces to fail, and the words that it announces."""


def test_every_command_of_the_guide(cli: Any, repository: Path) -> None:
    page = (repository / "docs" / "guides" / "change-safely.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    (told,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert len(lines) > 15
    env = {**cli.env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = {}
    for line in lines:
        done[line] = subprocess.run(
            ["bash", "-c", line], cwd=repository, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        expected = 2 if line == REFUSED else 0
        assert done[line].returncode == expected, f"{line}: {done[line].stderr}"
    assert done[REFUSED].stderr == told
    assert "rolled flowers back to revision flowers-00001, from flowers-00002" in done["mlfn rollback flowers"].stderr
    assert "unchanged" in done["mlfn rollback flowers --to flowers-00001"].stderr
    (asked,) = (each for line, each in done.items() if line.startswith("curl"))
    assert '"model_name":"flowers"' in asked.stdout
    shown = done["mlfn traffic flowers"].stdout.splitlines()
    assert [line.split()[:3] for line in shown[1:]] == [["flowers-00001", "90", "%"], ["flowers-00002", "10", "%"]]
    assert shown[2].split()[3] == "candidate"
