"""The settings file that `mlfn config init` writes: with every line switched on, it changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that stands for a project, with nobody's settings around it."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def mlfn(folder: Path, *arguments: str) -> str:
    """Run mlfn in a folder and return its standard output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFN_")}
    env["XDG_CONFIG_HOME"] = str(folder.parent / "config")
    command = [sys.executable, "-c", "from mlfn.command import mlfn; mlfn()", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_as_it_is_written_it_sets_nothing(folder: Path) -> None:
    mlfn(folder, "config", "init")
    document = json.loads(mlfn(folder, "config", "-o", "json"))
    assert document["files"] == [str(folder / "mlfn.yaml")]
    assert {each["origin"] for each in document["values"]} == {"default"}


def test_switched_on_every_line_says_the_default(folder: Path) -> None:
    before = json.loads(mlfn(folder, "config", "-o", "json"))["values"]
    mlfn(folder, "config", "init")
    path = folder / "mlfn.yaml"
    path.write_text(re.sub(r"(?m)^( *)# ([a-z_]+: \S)", r"\1\2", path.read_text()))
    after = json.loads(mlfn(folder, "config", "-o", "json"))["values"]
    assert [(each["key"], each["value"]) for each in after] == [(each["key"], each["value"]) for each in before]
    switched_on = {each["key"] for each in after if each["origin"] == "project"}
    assert switched_on == {each["key"] for each in before if each["value"] not in ("", {}, None)}
