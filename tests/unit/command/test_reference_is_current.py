"""The generated pages of docs/reference say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mlfn.command.main import COMMANDS
from mlfn.models import FINDINGS
from mlfn.settings import FIELDS


def generator(repository: Path) -> Any:
    """Import docs/generate.py, which is no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", repository / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["commands.md", "exit-codes.md", "findings.md", "settings.md"])
def test_a_generated_page_is_current(page: str, repository: Path) -> None:
    written = (repository / "docs" / "reference" / page).read_text()
    assert written == generator(repository).pages()[page], "run python docs/generate.py"


def test_every_command_setting_and_finding_is_in_the_reference(repository: Path) -> None:
    folder = repository / "docs" / "reference"
    assert all(f"## mlfn {name}\n" in (folder / "commands.md").read_text() for name in COMMANDS)
    assert all(f"`{key}`" in (folder / "settings.md").read_text() for key in FIELDS)
    assert all(f"`{what}`" in (folder / "findings.md").read_text() for what in FINDINGS)
