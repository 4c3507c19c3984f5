"""A real registry for tests that need root or a lot of disk."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RUNNING = Path(__file__).parents[2] / "registry" / "running_registry.py"


@pytest.fixture
def start_registry() -> Iterator[Callable[[Path], Any]]:
    """Return a function that starts a registry in a folder; it stops with the test."""
    name = "_mlfn_registry_running_registry"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, RUNNING)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    running = sys.modules[name]
    assert running.program() is not None, "docker-registry is not installed: apt-get install docker-registry"
    started: list[Any] = []

    def start(folder: Path) -> Any:
        started.append(running.RunningRegistry(folder, running.free_port()).start())
        return started[-1]

    yield start
    for one in started:
        one.stop()
