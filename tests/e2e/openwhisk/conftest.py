"""A real OpenWhisk where ``WHISK_APIHOST`` names one, else `mlfn openwhisk dev` over a real dockerd; a real registry.

`wsk` is the one on PATH (or MLFN_WSK's); where there is none, the stand-in that tests/golden holds to the recordings.
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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
MLFN = Path(sys.executable).parent / "mlfn"


@contextmanager
def running(argv: list[str], log: Path, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, and end it by its id."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a condition that a process brings about."""
    give_up = time.monotonic() + 90
    pause = threading.Event()
    while not holds():
        if process.poll() is not None or time.monotonic() > give_up:
            raise AssertionError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-4000:]}")
        pause.wait(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with the base image in it: its host and port."""
    folder = tmp_path_factory.mktemp("registry")
    host = f"127.0.0.1:{free_port()}"
    (folder / "config.yml").write_text(
        "version: 0.1\nlog: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/store}}}}\n"
        f"http: {{addr: '{host}', secret: tests}}\n"
    )
    with running(["docker-registry", "serve", str(folder / "config.yml")], folder / "log") as process:
        wait_until(lambda: answers(f"http://{host}/v2/"), process, folder / "log")
        command = [sys.executable, str(HERE.parent / "base_image.py"), "--push", f"{host}/base/python:3.11"]
        subprocess.run(command, check=True, timeout=600)
        yield host


@contextmanager
def bridge(name: str, address: str) -> Iterator[None]:
    """A network of this machine's own, so that no other daemon's is touched."""
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False)


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """A Docker daemon that shares nothing with any other, with a network that containers have addresses in."""
    with tempfile.TemporaryDirectory(prefix="mlfn-docker-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        host = f"unix://{folder}/docker.sock"
        network = f"mlfnow{os.getpid() % 10_000}"
        argv = ["dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
        argv += ["--host", host, "--bridge", network, "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
        argv += ["--userland-proxy=false", "--config-file", str(folder / "daemon.json")]
        (folder / "daemon.json").write_text("{}")

        def up() -> bool:
            return subprocess.run(["docker", "-H", host, "version"], capture_output=True, check=False).returncode == 0

        with bridge(network, "10.214.7.1/24"), running(argv, folder / "log") as process:
            wait_until(up, process, folder / "log")
            yield host
        subprocess.run(["umount", str(folder / "exec/netns/default")], capture_output=True, check=False)


@dataclass(frozen=True)
class Whisk:
    """An OpenWhisk, and the real `mlfn` pointed at it."""

    environment: dict[str, str]
    restart: Callable[[], None] | None = None
    """Stop the server and start it again, where it is ours."""

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run mlfn."""
        return subprocess.run(
            [str(MLFN), *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def ok(self, *arguments: str) -> str:
        """Run mlfn, which has to succeed, and return what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run mlfn and return its JSON."""
        return json.loads(self.ok(*arguments, "-o", "json"))


class DevServer:
    """`mlfn openwhisk dev`, which can be started again on the same port."""

    def __init__(self, folder: Path, docker_host: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.environment = {"DOCKER_HOST": docker_host}
        self._running: Any = None

    def start(self, *more: str) -> None:
        """Start it and wait until it answers."""
        argv = [str(MLFN), "openwhisk", "dev", "--engine", "docker", "--port", str(self.port)]
        argv += ["--state-dir", str(self.folder), "--concurrency", "16", "--per-minute", "5000", *more]
        self._running = running(argv, self.folder / "log", self.environment)
        process = self._running.__enter__()
        wait_until(lambda: answers(f"http://127.0.0.1:{self.port}/ping"), process, self.folder / "log")

    def stop(self) -> None:
        """Stop it; its containers go with it."""
        self._running.__exit__(None, None, None)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()


@pytest.fixture(scope="module")
def whisk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Whisk]:
    """Give OpenWhisk and mlfn."""
    foreign = ("WHISK_", "WSK_", "MLFN_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    environment |= {
        "MLFN_PLATFORM": "openwhisk",
        "MLFN_WSK": os.environ.get("MLFN_WSK") or shutil.which("wsk") or str(HERE / "wsk_stand_in.py"),
        "MLFN_REGISTRY": os.environ.get("MLFN_OPENWHISK_REGISTRY", registry),
        "MLFN_BASE_IMAGE": f"{registry}/base/python:3.11",
        "MLFN_PLAIN_HTTP": "1",
        "MLFN_IMAGE_PLAIN_HTTP": "1",
    }
    if os.environ.get("WHISK_APIHOST"):
        yield Whisk({**environment, **{key: os.environ[key] for key in ("WHISK_APIHOST", "WHISK_AUTH")}})
        return
    server = DevServer(tmp_path_factory.mktemp("openwhisk"), request.getfixturevalue("docker_host"))
    server.start()
    try:
        yield Whisk({**environment, "WSK_CONFIG_FILE": str(server.folder / "wskprops")}, server.restart)
    finally:
        server.stop()


@pytest.fixture
def iris() -> Path:
    """A real model."""
    return REPOSITORY / "examples" / "iris" / "model.onnx"


@pytest.fixture
def question() -> Path:
    """A request for it."""
    return REPOSITORY / "examples" / "iris" / "request.json"
