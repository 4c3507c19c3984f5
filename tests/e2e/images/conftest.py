"""Real engines and a real registry: dockerd and podman with folders of their own, and Debian's docker-registry.

Needs root and the packages that tests/e2e/run installs. Nothing of the machine's own engines, networks or settings is
touched: the daemon gets its own data, sockets and containerd, no bridge and no packet filter, and containers use the
host's network, which they answer on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

E2E = Path(__file__).resolve().parent.parent
REPOSITORY = E2E.parent.parent
START_S = 90.0


@dataclass(frozen=True)
class Engine:
    """One container engine with a store of its own."""

    name: str
    environment: Mapping[str, str]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.name, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{self.name} {arguments}: {done.stdout}{done.stderr}"
        return done

    def inspect(self, image: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("image", "inspect", image).stdout)[0]
        return found

    def load(self, archive: Path) -> str:
        """Load a tar and return the name of the image in it."""
        told = self.run("load", "--input", str(archive)).stdout
        lines = [line for line in told.splitlines() if line.startswith("Loaded image")]
        assert lines, told
        return lines[-1].partition(": ")[2].strip().removeprefix("sha256:")


@dataclass(frozen=True)
class Builds:
    """Run the real `mlfn build`, with one cache for all of a session's builds."""

    folder: Path
    base: str
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("mlfn")), "build", *map(str, arguments)],
            env={**self.surroundings(), **env},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    def ok(self, *arguments: object, **env: str) -> dict[str, Any]:
        """Run a build that has to succeed and return its JSON."""
        done = self.run(*arguments, "-o", "json", **env)
        assert done.returncode == 0, f"mlfn build {arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        told: dict[str, Any] = json.loads(done.stdout)
        assert told["schema"] == "mlfn.image/v1"
        return told

    def surroundings(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFN_", "XDG_", "DOCKER_"))}
        return {
            **kept,
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache/uv"),
            "MLFN_BASE_IMAGE": self.base,
            **self.environment,
        }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a condition that a process brings about."""
    give_up = time.monotonic() + START_S
    while not holds():
        if process.poll() is not None or time.monotonic() > give_up:
            raise AssertionError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-4000:]}")
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def running(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, and end it by its id."""
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.fail(f"{program} is not installed: apt-get install {package}", pytrace=False)


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    """Start a Docker daemon that shares nothing with any other."""
    needs("dockerd", "docker.io")
    with tempfile.TemporaryDirectory(prefix="mlfn-docker-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        host = f"unix://{folder}/docker.sock"
        argv = ["dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
        argv += ["--host", host, "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
        argv += ["--ip-masq=false", "--config-file", str(folder / "daemon.json"), "--shutdown-timeout", "20"]
        (folder / "daemon.json").write_text("{}")
        engine = Engine("docker", {"DOCKER_HOST": host, "DOCKER_CONFIG": str(folder / "client")})
        with running(argv, folder / "log") as process:
            wait_until(lambda: engine.run("version", check=False).returncode == 0, process, folder / "log")
            yield engine
        # The daemon leaves the host's network name behind, mounted.
        subprocess.run(["umount", str(folder / "exec/netns/default")], capture_output=True, check=False)


@pytest.fixture(scope="session")
def podman() -> Iterator[Engine]:
    """Give podman a store of its own; it has no daemon."""
    needs("podman", "podman")
    with tempfile.TemporaryDirectory(prefix="mlfn-podman-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        )
        # There need be no systemd; and podman's usual limits may be more than root may grant here.
        (folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        )
        (folder / "auth.json").write_text("{}")
        settings = {
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        }
        engine = Engine("podman", settings)
        yield engine
        engine.run("rm", "--all", "--force", check=False)
        subprocess.run(["umount", str(folder / "root/overlay")], capture_output=True, check=False)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a registry with the base images in it, and return its host and port."""
    needs("docker-registry", "docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    host = f"127.0.0.1:{free_port()}"
    (folder / "config.yml").write_text(
        "version: 0.1\nlog: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/store}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{host}', secret: tests}}\n"
    )
    argv = ["docker-registry", "serve", str(folder / "config.yml")]

    def answers() -> bool:
        try:
            return httpx.get(f"http://{host}/v2/", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    with running(argv, folder / "log") as process:
        wait_until(answers, process, folder / "log")
        for python in ("3.11", "3.13"):
            command = [sys.executable, str(E2E / "base_image.py"), "--python", python]
            subprocess.run([*command, "--push", f"{host}/base/python:{python}"], check=True, timeout=600)
        yield host


@pytest.fixture(scope="session")
def base_layout() -> Callable[[str], str]:
    """Return a function from a Python version to the base image's OCI layout."""

    def made(python: str = "3.11") -> str:
        command = [sys.executable, str(E2E / "base_image.py"), "--python", python]
        done = subprocess.run(command, check=True, timeout=600, capture_output=True, text=True)
        return done.stdout.strip()

    return made


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Builds:
    """Give `mlfn build` with the registry's base image."""
    return Builds(tmp_path_factory.mktemp("builds"), f"{registry}/base/python:3.11")


@pytest.fixture(scope="session")
def iris() -> Path:
    """Return the model of the examples."""
    return REPOSITORY / "examples" / "iris" / "model.onnx"


@pytest.fixture(scope="session")
def serving() -> Callable[..., Any]:
    """Return a context manager that runs a function server until it is ready, and gives its URL."""

    @contextmanager
    def start(argv: list[str], variables: Mapping[str, str], folder: Path) -> Iterator[str]:
        port = free_port()
        url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            try:
                return httpx.get(f"{url}/v2/health/ready", timeout=20, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        told = [f"{name}={value}" for name, value in {**variables, "PORT": str(port), "HOST": "127.0.0.1"}.items()]
        with running(["env", "-i", *told, *argv], folder / "server.log") as process:
            wait_until(ready, process, folder / "server.log")
            yield url

    return start
