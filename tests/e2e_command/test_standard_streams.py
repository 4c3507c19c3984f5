"""Whatever stands at the other end of the standard streams, and however early Ctrl-C comes: no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def shell(cli: Any, words: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of a shell in which `mlfn` is the installed one."""
    path = os.pathsep.join((str(Path(sys.executable).parent), cli.env["PATH"]))
    return subprocess.run(
        ["sh", "-c", words],
        env={**cli.env, "PATH": path},
        cwd=cli.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("command", ["version", "--help", "completion bash"])
def test_a_full_disk_behind_standard_output_is_told(cli: Any, command: str) -> None:
    done = shell(cli, f"mlfn {command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("mlfn version >&-", 0),
        ("mlfn version 2>&-", 0),
        ("mlfn version <&- >&- 2>&-", 0),
        ("mlfn inspect nowhere.onnx 2>&-", 2),
        ("mlfn config | head -1", 0),
    ],
)
def test_streams_that_are_closed_change_nothing(cli: Any, words: str, code: int) -> None:
    done = shell(cli, words)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_working_folder_that_is_gone_is_told(cli: Any) -> None:
    done = shell(cli, "mkdir gone && cd gone && rmdir ../gone && mlfn list")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the working folder cannot be used: No such file or directory\n")


def test_next_to_nothing_is_imported_before_ctrl_c_is_heard() -> None:
    """Until then it ends in a traceback; every import before it makes that more likely."""
    script = "import sys; before = set(sys.modules); import mlfn.command; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["__future__", "mlfn", "mlfn.command", "mlfn_runtime"]
