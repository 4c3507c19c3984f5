"""The commands of docs/guides/keep-warm.md, typed one after another by a shell, do what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REFUSED = "--warm 60s"
"""The one command that the page announces to fail, with the words that it announces."""


def test_every_command_of_the_guide(type_page: Any, repository: Path) -> None:
    page = (repository / "docs" / "guides" / "keep-warm.md").read_text()
    (told,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    typed = type_page("guides/keep-warm.md")
    assert len(typed) > 8
    for line, done in typed:
        refused = line.endswith(REFUSED)
        assert done.returncode == (2 if refused else 0), f"{line}: {done.stderr}"
        assert not refused or done.stderr == told
    auto, pinged = (done for line, done in typed if line == "mlfn warm status flowers")
    assert auto.stdout == "always 1 instance (auto)\n"
    assert pinged.stdout.startswith("a ping every 45 s from local service")
    (deployed,) = (
        done for line, done in typed if line == "mlfn deploy examples/iris/model.onnx --name flowers --warm auto"
    )
    assert "kept warm: min-scale 1; 24 instance-hours a day\n" in deployed.stderr
