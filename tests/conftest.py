"""What every test folder may use: scripts that are no package, and real models that published packages carry."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def load_script() -> Callable[[Path], ModuleType]:
    """Return a function that imports a file which is in no package, once a run."""
    return _load


def _load(path: Path) -> ModuleType:
    name = f"_mlfn_{path.parent.name}_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def fetched_model(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return a function from a name of ``examples/fetch.py`` to its file, downloaded once a checkout."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("models")
    fetch = _load(REPOSITORY / "examples" / "fetch.py").fetch

    def fetched(name: str) -> Path:
        path = fetch(name, folder)
        assert isinstance(path, Path)
        return path

    return fetched
