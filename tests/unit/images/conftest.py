"""The stubs that the tests of whole builds use too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def parts(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """Return tests/images/image_parts.py."""
    return load_script(Path(__file__).parents[2] / "images" / "image_parts.py")
