"""The commands of docs/guides/change-safely.md, typed one after another by a shell, do what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REFUSED = "mlfn traffic flowers flowers-00001=10"
"""The one command that the page announces to fail, and the words that it announces."""


def test_every_command_of_the_guide(type_page: Any, repository: Path) -> None:
    page = (repository / "docs" / "guides" / "change-safely.md").read_text()
    (told,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    typed = type_page("guides/change-safely.md")
    assert len(typed) > 15
    for line, answer in typed:
        assert answer.returncode == (2 if line == REFUSED else 0), f"{line}: {answer.stderr}"
    done = dict(typed)
    assert done[REFUSED].stderr == told
    assert "rolled flowers back to revision flowers-00001, from flowers-00002" in done["mlfn rollback flowers"].stderr
    assert "unchanged" in done["mlfn rollback flowers --to flowers-00001"].stderr
    (asked,) = (each for line, each in typed if line.startswith("curl"))
    assert '"model_name":"flowers"' in asked.stdout
    shown = done["mlfn traffic flowers"].stdout.splitlines()
    assert [line.split()[:3] for line in shown[1:]] == [["flowers-00001", "90", "%"], ["flowers-00002", "10", "%"]]
    assert shown[2].split()[3] == "candidate"
