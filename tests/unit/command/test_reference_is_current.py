"""The generated pages of docs/reference say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest


def generator(repository: Path) -> Any:
    """Import docs/generate.py, which is no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", repository / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = ["commands.md", "exit-codes.md", "findings.md", "function-server-settings.md", "metrics.md", "settings.md"]


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_current(page: str, repository: Path) -> None:
    written = (repository / "docs" / "reference" / page).read_text()
    made = generator(repository).pages()
    assert sorted(made) == PAGES
    assert written == made[page], "run python docs/generate.py"
