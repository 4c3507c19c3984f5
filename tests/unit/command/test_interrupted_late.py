"""Ctrl-C that comes while an outcome is told does not make it look undone."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from mlfn.command.main import main


class Interrupting(io.StringIO):
    """A standard output behind which somebody presses Ctrl-C at each write."""

    def write(self, text: str) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("command", ["deploy", "traffic", "rollback"])
def test_what_is_done_is_told(
    world: Any, run: Any, model: Path, monkeypatch: pytest.MonkeyPatch, command: str, form: str
) -> None:
    for concurrency in (1, 2):
        assert run("deploy", model, "--concurrency", concurrency).code == 0
    lines = {"deploy": [str(model)], "traffic": ["echo", "@latest=100"], "rollback": ["echo"]}
    output = Interrupting()
    monkeypatch.setattr(sys, "stdout", output)
    assert main([command, *lines[command], "-o", form]) == 0
    assert bool(output.getvalue()) == (command != "rollback" or form == "json")
    with pytest.raises(KeyboardInterrupt):  # it is heard again
        os.kill(os.getpid(), signal.SIGINT)
