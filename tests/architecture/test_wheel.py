"""Everything below a source root is in the wheel."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
HATCH = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache"}


def _package_files() -> set[str]:
    """Every file of every package, as its path in the wheel."""
    files = set()
    for root in HATCH["dev-mode-dirs"]:
        for path in (REPOSITORY / root).rglob("*"):
            relative = path.relative_to(REPOSITORY / root)
            if path.is_file() and not LEFT_OUT & set(relative.parts):
                files.add(str(relative))
    return files


def test_every_package_is_named_and_typed() -> None:
    folders = {
        f"{root}/{path.name}"
        for root in HATCH["dev-mode-dirs"]
        for path in (REPOSITORY / root).iterdir()
        if path.is_dir() and path.name not in LEFT_OUT
    }
    assert set(HATCH["targets"]["wheel"]["packages"]) == folders
    for folder in folders:
        assert (REPOSITORY / folder / "__init__.py").is_file()
        assert (REPOSITORY / folder / "py.typed").is_file()


def test_a_built_wheel_holds_every_file(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == _package_files()
