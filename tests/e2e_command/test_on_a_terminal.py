"""What a person sees: progress for anything over a second, a question before a deletion."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any


def on_terminal(cli: Any, *args: object, typed: str = "") -> tuple[int, str, str]:
    """Run a command with a terminal as standard input and error; return its code, its data and what was shown."""
    ours, theirs = os.openpty()
    command = [cli.run("version").args[0], *map(str, args)]
    env = {**cli.env, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(command, env=env, cwd=cli.folder, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
    cli.started.append(process)
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    with contextlib.suppress(OSError):  # Linux reports the closed end of a terminal as an error
        while chunk := os.read(ours, 65536):
            shown += chunk
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode(), shown.decode()


def test_a_long_deploy_shows_its_stage_and_a_short_one_does_not(cli: Any, iris: Path, slow_to_load: Path) -> None:
    cli.json("deploy", iris)
    code, out, shown = on_terminal(cli, "deploy", iris, "--concurrency", "2")
    assert (code, out.count("\n")) == (0, 1)
    assert "…" not in shown
    code, out, shown = on_terminal(cli, "deploy", slow_to_load)
    assert (code, out.count("\n")) == (0, 1)
    assert "starting instance … " in shown
    assert shown.rstrip().splitlines()[-1].endswith(" s")


def test_a_deletion_is_asked_for(cli: Any, iris: Path) -> None:
    cli.json("deploy", iris)
    code, out, shown = on_terminal(cli, "delete", "iris", typed="n\n")
    assert (code, out) == (1, "")
    assert "delete iris with all its revisions? [y/N]" in shown
    assert "iris was not deleted" in shown
    code, out, shown = on_terminal(cli, "delete", "iris", typed="y\n")
    assert (code, out) == (0, "")
    assert "deleted iris" in shown
    assert cli.json("list")["functions"] == []
