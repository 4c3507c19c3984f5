"""The generated pages of docs/reference say what the code says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PAGES = [
    "commands.md",
    "exit-codes.md",
    "findings.md",
    "function-server-settings.md",
    "metrics.md",
    "scenario.md",
    "settings.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_current(page: str, repository: Path, load_script: Callable[[Path], ModuleType]) -> None:
    written = (repository / "docs" / "reference" / page).read_text()
    made = load_script(repository / "docs" / "generate.py").pages()
    assert sorted(made) == PAGES
    assert written == made[page], "run python docs/generate.py"
