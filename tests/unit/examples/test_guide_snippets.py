"""The blocks of docs/guides/bring-your-model.md that are marked as tested do what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlfn.models import check_loads, open_model


@pytest.fixture(scope="module")
def folder(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which all tested blocks were run, in order."""
    page = (repository / "docs" / "guides" / "bring-your-model.md").read_text()
    blocks = re.findall(r"<!-- tested -->\n```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == page.count("<!-- tested -->") == 3
    folder = tmp_path_factory.mktemp("guide")
    code = "\n".join(blocks)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, timeout=100)
    return folder


@pytest.mark.parametrize("name", ["wine.onnx", "batched.onnx", "newer.onnx"])
def test_what_the_guide_exports_is_served_without_a_finding(name: str, folder: Path) -> None:
    package = open_model(folder / name)
    assert package.findings == ()
    assert package.signature.batch_axis == 0
    assert check_loads(package) == ()


def test_the_newer_opset(folder: Path) -> None:
    assert open_model(folder / "newer.onnx").opsets["ai.onnx"] == 18
