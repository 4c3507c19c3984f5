"""A small Kubernetes API over real HTTP, for the door; a cluster in memory with Knative on it, for what is behind."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlfn.platforms.kube.door import Cluster, connect


def _load(name: str) -> ModuleType:
    full = f"_mlfn_platforms_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture
def api() -> Iterator[Any]:
    """Give a running API server."""
    with _load("api_server").serving() as running:
        yield running


@pytest.fixture
def write_kubeconfig(tmp_path: Path) -> Callable[..., Path]:
    """Give what writes a kubeconfig file for a server and contexts."""

    def write(server: str, *contexts: str) -> Path:
        path: Path = _load("api_server").kubeconfig(tmp_path, server, *contexts)
        return path

    return write


@pytest.fixture
def door(api: Any, write_kubeconfig: Callable[..., Path]) -> Cluster:
    """Give the real door to the small API."""
    return connect({"cluster.kubeconfig": str(write_kubeconfig(f"http://127.0.0.1:{api.port}"))})


@pytest.fixture
def knative() -> Any:
    """Give an empty cluster with Knative on it."""
    return _load("knative_in_memory").Cluster()
