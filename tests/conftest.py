"""What every test folder may use: scripts that are no package, and real models that published packages carry."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _heed_ctrl_c() -> None:
    """Let commands be interrupted where a shell started this run in its background, deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def lasting_port() -> Callable[[], int]:
    """Return a function to ports that nobody has, and that no outgoing connection of anybody is given meanwhile."""

    def found() -> int:
        while True:
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", random.randrange(15_000, 32_000)))
                return int(probe.getsockname()[1])

    return found


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
