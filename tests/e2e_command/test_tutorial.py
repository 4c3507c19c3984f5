"""The tutorial's commands, typed one after another by a shell, do what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

NOT_TYPED_HERE = ("make demo", ". .venv")
"""Steps before mlfn is installed; the tests run in such an environment already."""
REFUSED = "mlfn deploy README.md"
"""The one command that the page announces to fail."""


def commands(page: str) -> list[str]:
    """Return the lines of all shell blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith(NOT_TYPED_HERE)]


def test_every_command_of_the_tutorial(cli: Any, repository: Path) -> None:
    lines = commands((repository / "docs" / "tutorial" / "first-function.md").read_text())
    assert REFUSED in "\n".join(lines)
    assert len(lines) > 10
    env = {**cli.env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    codes = {}
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], cwd=repository, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        codes[line] = done.returncode
        if "curl" in line:
            assert '"model_name":"flowers"' in done.stdout
    assert {line: code for line, code in codes.items() if code} == {
        next(line for line in lines if line.startswith(REFUSED)): 2
    }
