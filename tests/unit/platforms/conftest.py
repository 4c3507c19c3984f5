"""A small Kubernetes API over real HTTP, for the door; a cluster in memory with Knative on it, for what is behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlfn.platforms.kube.door import Cluster, connect

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def api_server(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """Return api_server.py."""
    return load_script(HERE / "api_server.py")


@pytest.fixture
def api(api_server: ModuleType) -> Iterator[Any]:
    """Give a running API server."""
    with api_server.serving() as running:
        yield running


@pytest.fixture
def write_kubeconfig(api_server: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """Give what writes a kubeconfig file for a server and contexts."""

    def write(server: str, *contexts: str) -> Path:
        path: Path = api_server.kubeconfig(tmp_path, server, *contexts)
        return path

    return write


@pytest.fixture
def door(api: Any, write_kubeconfig: Callable[..., Path]) -> Cluster:
    """Give the real door to the small API."""
    return connect({"cluster.kubeconfig": str(write_kubeconfig(f"http://127.0.0.1:{api.port}"))})


@pytest.fixture
def knative(load_script: Callable[[Path], ModuleType]) -> Any:
    """Give an empty cluster with Knative on it."""
    return load_script(HERE / "knative_in_memory.py").Cluster()
