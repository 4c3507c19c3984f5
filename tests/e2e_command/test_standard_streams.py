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


def test_output_is_utf_8_in_every_locale(cli: Any, iris: Path) -> None:
    odd = cli.folder / "m\u00f6hre.onnx"
    odd.write_bytes(iris.read_bytes())
    (cli.folder / "mlfn.yaml").write_text(f"function:\n  model: {odd.name}\n", encoding="utf-8")
    done = shell(cli, "PYTHONIOENCODING=ascii mlfn config get function.model")
    assert (done.returncode, done.stdout) == (0, f"{odd}\n")


def test_a_log_file_that_cannot_be_written_is_told(cli: Any, iris: Path) -> None:
    done = cli.run("serve", iris, "--port", "0", "--log-file", "nowhere/serve.log")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("nowhere/serve.log cannot be written: No such file or directory")
    assert "error: --log-file: " in done.stderr


def test_an_address_that_is_not_of_this_machine_is_told(cli: Any, iris: Path) -> None:
    done = cli.run("serve", iris, "--port", "0", "--host", "192.0.2.1")
    assert done.returncode == 2
    assert "error: cannot listen on 192.0.2.1:0: " in done.stderr
    assert "--host takes an address of this machine" in done.stderr


def test_a_working_folder_that_is_gone_is_told(cli: Any) -> None:
    done = shell(cli, "mkdir gone && cd gone && rmdir ../gone && mlfn list")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the working folder cannot be used: No such file or directory\n")


def test_next_to_nothing_is_imported_before_ctrl_c_is_heard() -> None:
    """Until then it ends in a traceback; every import before it makes that more likely."""
    script = "import sys; before = set(sys.modules); import mlfn.command; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["__future__", "mlfn", "mlfn.command", "mlfn_runtime"]
