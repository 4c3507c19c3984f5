"""Real registries for tests of the door: open, with passwords, tokens or TLS; and ways to disturb them."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlfn.images.registry import Patience, Registry, RegistrySettings, connect

HERE = Path(__file__).parent
QUICK = Patience(attempts=6, first_s=0.02, longest_s=2.0)


@pytest.fixture(scope="session")
def running(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """Return running_registry.py."""
    return load_script(HERE / "running_registry.py")


@pytest.fixture(scope="session")
def start_registry(running: ModuleType, lasting_port: Callable[[], int]) -> Iterator[Callable[..., Any]]:
    """Return a function that starts a registry, which stops with the session."""
    if running.program() is None:
        pytest.skip("the tests need a real registry: apt-get install docker-registry")
    started: list[Any] = []
    # Short and our own: the registry's folders are deep, and hold a copy of every blob.
    folder = Path(tempfile.mkdtemp(prefix="mlfn-registry-"))

    def start(**settings: Any) -> Any:
        one = running.RunningRegistry(folder / str(len(started)), lasting_port(), **settings).start()
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def open_registry(start_registry: Callable[..., Any]) -> Any:
    """Return a registry that asks nobody for a name. Tests use repositories of their own in it."""
    return start_registry()


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """Return a repository that no other test uses."""
    return f"tests/r{random.Random(request.node.nodeid).getrandbits(64):x}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def docker_login(running: ModuleType, home: Path) -> Callable[[str, str, str], Path]:
    """Return a function that writes what ``docker login HOST`` writes."""

    def login(host: str, user: str = running.USER, password: str = running.PASSWORD) -> Path:
        path = home / ".docker" / "config.json"
        path.parent.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        return path

    return login


@pytest.fixture
def door(home: Path) -> Iterator[Callable[..., Registry]]:
    """Return a function that connects to a registry with quick retries, an empty environment and an empty home."""
    opened: list[Registry] = []

    def connected(host: str, environ: Mapping[str, str] | None = None, **settings: Any) -> Registry:
        settings = {"patience": QUICK, "chunk_bytes": 1 << 20, **settings}
        opened.append(connect(host, RegistrySettings(**settings), environ=environ or {}, home=home))
        return opened[-1]

    yield connected
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def meddling(load_script: Callable[[Path], ModuleType]) -> Any:
    """Return the class of proxies that cut and damage."""
    return load_script(HERE / "meddling_proxy.py").MeddlingProxy


@pytest.fixture
def issuer(running: ModuleType, load_script: Callable[[Path], ModuleType], tmp_path: Path) -> Iterator[Any]:
    """Return a token server."""
    basic = "Basic " + base64.b64encode(f"{running.USER}:{running.PASSWORD}".encode()).decode()
    one = load_script(HERE / "token_issuer.py").TokenIssuer(tmp_path, basic)
    yield one
    one.stop()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the file of a private authority and the certificate that it gave to 127.0.0.1 and registry.test."""
    import trustme

    folder = tmp_path_factory.mktemp("authority")
    private = trustme.CA()
    private.cert_pem.write_to_path(folder / "ca.pem")
    issued = private.issue_cert("127.0.0.1", "registry.test")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(folder / "chain.pem", append=number > 0)
    return folder / "ca.pem", (folder / "chain.pem", folder / "key.pem")


@pytest.fixture(scope="session")
def small(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """Return small_registry.py."""
    return load_script(HERE / "small_registry.py")


@pytest.fixture
def small_registry(small: ModuleType) -> Iterator[Any]:
    """Return a registry of our own, whose knobs make it behave as others do."""
    with small.SmallRegistry() as one:
        yield one


@pytest.fixture
def start_small(small: ModuleType) -> Iterator[Callable[[], Any]]:
    """Return a function that starts one more registry of our own."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(small.SmallRegistry())


@pytest.fixture(scope="session")
def start_auth(running: ModuleType) -> Any:
    """Return the class that says how a registry asks who is there."""
    return running.Auth
