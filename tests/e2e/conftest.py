"""What the end-to-end tests share: a real cluster, its registry with a base image, and the real `mlfn` executable.

They run by `make e2e`, which starts the cluster of tests/e2e/cluster, or takes the one that KUBECONFIG names: it needs
Knative Serving, a registry that both this machine and the cluster reach (MLFN_REGISTRY, over plain HTTP), and the
address of its ingress (MLFN_INGRESS).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
BASE = "base/python:3.11"


@dataclass(frozen=True)
class Cluster:
    """Say where the cluster is."""

    kubeconfig: str
    registry: str
    ingress: str
    base: str
    """The base image's reference in the registry."""

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl and return what it printed."""
        done = subprocess.run(
            ["kubectl", f"--kubeconfig={self.kubeconfig}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def objects(self, kind: str, *args: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json", *args))["items"]
        return found


@dataclass(frozen=True)
class CommandLine:
    """Run the real `mlfn` against one namespace, with a home of its own."""

    cluster: Cluster
    namespace: str
    home: Path
    cache: Path
    """Shared by all modules, so that layers are made once."""
    platform: str = "knative"
    env: dict[str, str] = field(default_factory=dict)

    def on(self, platform: str) -> CommandLine:
        """Return the same for another platform."""
        return replace(self, platform=platform)

    def run(self, *args: object, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        return subprocess.run(
            [mlfn(), *map(str, args)],
            env={**self.environment(), **env},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *args: object, **env: str) -> str:
        """Run a command line that has to succeed, and return its standard output."""
        done = self.run(*args, **env)
        assert done.returncode == 0, (
            f"mlfn {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def json(self, *args: object, **env: str) -> Any:
        """Run a command line that has to succeed, and return its JSON."""
        return json.loads(self.ok(*args, "-o", "json", **env))

    def environment(self) -> dict[str, str]:
        """Return the whole environment of a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFN_", "XDG_"))}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.cache),
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache/uv"),
            "MLFN_STATE_DIR": str(self.home / "state"),
            "MLFN_PLATFORM": self.platform,
            "MLFN_REGISTRY": f"{self.cluster.registry}/{self.namespace}",
            "MLFN_IMAGE_PLAIN_HTTP": "true",
            "MLFN_BASE_IMAGE": self.cluster.base,
            "MLFN_CLUSTER_KUBECONFIG": self.cluster.kubeconfig,
            "MLFN_CLUSTER_NAMESPACE": self.namespace,
            "MLFN_INGRESS": self.cluster.ingress,
            **self.env,
        }


def mlfn() -> str:
    """Return the executable beside this Python."""
    return str(Path(sys.executable).with_name("mlfn"))


def needed(name: str) -> str:
    """Return a variable that `make e2e` sets."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: run `make e2e`, or `tests/e2e/cluster/cluster up` first", pytrace=False)
    return value


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Give the cluster, with the base image in its registry."""
    registry = needed("MLFN_REGISTRY")
    reference = os.environ.get("MLFN_BASE_IMAGE")
    if not reference:
        reference = f"{registry}/{BASE}"
        subprocess.run([sys.executable, str(HERE / "base_image.py"), "--push", reference], check=True, timeout=900)
    return Cluster(needed("KUBECONFIG"), registry, needed("MLFN_INGRESS"), reference)


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a namespace under the restricted Pod Security profile, and see that it goes away."""
    name = f"e2e-{request.module.__name__.rpartition('.')[2].replace('_', '-')[:40]}-{uuid.uuid4().hex[:6]}"
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, enforce)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def mlfn_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home to share among a module's tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def mlfn_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the cache that every module's commands share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cli(cluster: Cluster, namespace: str, mlfn_home: Path, mlfn_cache: Path) -> CommandLine:
    """Give the real `mlfn`, set to deploy on Knative in a namespace of the module's own."""
    return CommandLine(cluster, namespace, mlfn_home, mlfn_cache)


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Return a function that asks until the answer is true, at most ``within_s`` seconds long."""

    def wait(ask: Callable[[], Any], within_s: float = 90.0, every_s: float = 0.5) -> Any:
        deadline = time.monotonic() + within_s
        while not (answer := ask()):
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {ask}"
            time.sleep(every_s)
        return answer

    return wait
