"""A real registry for tests that need root or a lot of disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RUNNING = Path(__file__).parents[2] / "registry" / "running_registry.py"


@pytest.fixture
def start_registry(
    load_script: Callable[[Path], ModuleType], lasting_port: Callable[[], int]
) -> Iterator[Callable[[Path], Any]]:
    """Return a function that starts a registry in a folder; it stops with the test."""
    running = load_script(RUNNING)
    assert running.program() is not None, "docker-registry is not installed: apt-get install docker-registry"
    started: list[Any] = []

    def start(folder: Path) -> Any:
        started.append(running.RunningRegistry(folder, lasting_port()).start())
        return started[-1]

    yield start
    for one in started:
        one.stop()
