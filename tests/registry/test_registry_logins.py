"""Who may push: passwords, helpers, tokens that expire, private authorities, proxies; and no secret is told."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import random
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from mlfn.errors import MlfnError, NotAuthorised, Unreachable
from mlfn.function import ImageRef
from mlfn.images.contents import OCI_LAYER_GZIP, BlobSource, Descriptor, ImageContent, digest_of
from mlfn.images.registry import Registry

Door = Callable[..., Registry]
USER, PASSWORD, WRONG = "builder", "battery staple", "planted-wrong-password"
IDENTITY_TOKEN = "an-identity-token"


def blob(seed: str, size: int) -> BlobSource:
    return BlobSource.of_bytes(random.Random(seed).randbytes(size), OCI_LAYER_GZIP)


def image(*layers: BlobSource) -> ImageContent:
    config = BlobSource.of_bytes(b"{}", "application/vnd.oci.image.config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor.as_json(),
        "layers": [layer.descriptor.as_json() for layer in layers],
    }
    return ImageContent(json.dumps(manifest).encode(), str(manifest["mediaType"]), (config, *layers))


def everything_told(error: BaseException) -> str:
    """Return all that a user, a log or a debugger could see of an error and of what is chained to it."""
    texts = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        texts += [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
        if isinstance(seen, MlfnError):
            texts += [*seen.hints, seen.details]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


def content(source: BlobSource) -> bytes:
    with source.open() as stream:
        return stream.read()


def status_of(url: str, token: str) -> int:
    """Ask the registry past our own code."""
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve on a free port, which is yielded."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def guarded(start_registry: Callable[..., Any], start_auth: Callable[..., Any]) -> Any:
    """A registry with passwords."""
    return start_registry(auth=start_auth(htpasswd=True))


@pytest.fixture
def token_registry(start_registry: Callable[..., Any], start_auth: Callable[..., Any], issuer: Any) -> Any:
    """A registry that wants tokens of the issuer."""
    auth = start_auth(token_realm=issuer.realm, root_certificates=issuer.root_certificates)
    return start_registry(auth=auth)


def test_the_password_of_docker_login_is_used(guarded: Any, door: Door, docker_login: Any, repository: str) -> None:
    docker_login(guarded.host)
    pushed = door(guarded.host).push(image(blob(repository, 9000)), ImageRef(guarded.host, repository, "v1", ""))
    assert pushed.uploaded == 2


def test_without_credentials_the_error_says_where_was_looked(guarded: Any, door: Door, home: Path) -> None:
    with pytest.raises(NotAuthorised) as caught:
        door(guarded.host).push_blob("a", blob("a", 10))
    assert caught.value.message.startswith(f"registry {guarded.host} refuses to let you ")
    assert "asked without credentials, looked in: no file of docker or podman exists" in caught.value.message
    assert f"docker login {guarded.host}" in caught.value.hints


def test_a_wrong_password_names_the_user_and_the_file(
    guarded: Any, door: Door, docker_login: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = docker_login(guarded.host, USER, WRONG)
    with caplog.at_level(logging.DEBUG), pytest.raises(NotAuthorised) as caught:
        door(guarded.host).push_blob("a", blob("a", 10))
    assert f"asked as user 'builder' of {path}" in caught.value.message
    told = everything_told(caught.value) + caplog.text
    for secret in (WRONG, base64.b64encode(f"{USER}:{WRONG}".encode()).decode()):
        assert secret not in told


def test_a_helper_is_asked_with_the_server_on_its_input(
    guarded: Any, door: Door, home: Path, tmp_path: Path, repository: str
) -> None:
    helper = tmp_path / "bin" / "docker-credential-tests"
    helper.parent.mkdir()
    answer = json.dumps({"ServerURL": guarded.host, "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\necho \"$*\" >{tmp_path}/argv\ncat >{tmp_path}/stdin\necho '{answer}'\n")
    helper.chmod(0o755)
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"credHelpers": {guarded.host: "tests"}}))
    environ = {"PATH": f"{helper.parent}:/usr/bin:/bin"}
    assert door(guarded.host, environ).push_blob(repository, blob(repository, 10)) == 10
    assert (tmp_path / "argv").read_text() == "get\n"
    assert (tmp_path / "stdin").read_text() == guarded.host


def test_a_helper_that_fails_is_told_without_what_it_printed(
    guarded: Any, door: Door, home: Path, tmp_path: Path
) -> None:
    helper = tmp_path / "docker-credential-tests"
    helper.write_text(f"#!/bin/sh\necho {WRONG}\necho {WRONG} >&2\nexit 3\n")
    helper.chmod(0o755)
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"credsStore": "tests"}))
    with pytest.raises(NotAuthorised, match="docker-credential-tests failed with exit code 3") as caught:
        door(guarded.host, {"PATH": f"{tmp_path}:/usr/bin:/bin"}).push_blob("a", blob("a", 10))
    assert WRONG not in everything_told(caught.value)


def test_tokens_are_fetched_once_for_all_uploads(
    token_registry: Any, issuer: Any, door: Door, docker_login: Any, repository: str
) -> None:
    docker_login(token_registry.host)
    layers = [blob(f"{repository}{number}", 50_000) for number in range(6)]
    pushed = door(token_registry.host).push(image(*layers), ImageRef(token_registry.host, repository, "v1", ""))
    assert pushed.uploaded == 7
    assert len(issuer.asked) == 1
    assert issuer.asked[0]["scope"] == [f"repository:{repository}:pull,push"]
    assert issuer.asked[0]["service"] == ["tests"]
    assert issuer.asked[0]["account"] == [USER]


class Interrupted(io.BytesIO):
    """Be a source that does something before its second half is read."""

    def __init__(self, content: bytes, act: Callable[[], None]) -> None:
        super().__init__(content)
        self._act = act
        self._half = len(content) // 2

    def seekable(self) -> bool:
        return False

    def read(self, count: int | None = -1, /) -> bytes:
        if self.tell() >= self._half:
            self._act()
        return super().read(count)


def test_a_token_that_is_refused_in_the_middle_is_renewed(
    token_registry: Any, issuer: Any, door: Door, docker_login: Any, repository: str
) -> None:
    """The token server promises five minutes, but the registry refuses the token after four or five seconds."""
    docker_login(token_registry.host)
    issuer.real_life_s = 5.0
    source = blob(repository, 1_000_000)

    def wait_until_refused() -> None:
        issuer.real_life_s = 300.0  # of the next one
        url = f"http://{token_registry.host}/v2/{repository}/tags/list"
        deadline = time.monotonic() + 60
        while status_of(url, issuer.given[0]) != 401:
            assert time.monotonic() < deadline, "the registry never refuses the token"
            threading.Event().wait(0.05)

    slow = BlobSource(source.descriptor, lambda: Interrupted(content(source), wait_until_refused))
    sent = door(token_registry.host, chunk_bytes=100_000).push_blob(repository, slow)

    assert len(issuer.given) >= 2
    assert sent <= 1_000_000 + 100_000 * len(issuer.given)
    assert token_registry.blob_file(source.descriptor.digest).read_bytes() == content(source)


def test_a_token_is_renewed_before_it_expires(
    token_registry: Any, issuer: Any, door: Door, docker_login: Any, repository: str
) -> None:
    docker_login(token_registry.host)
    issuer.told_life_s = 0.001
    registry = door(token_registry.host)
    for number in range(3):
        registry.push_blob(repository, blob(f"{repository}{number}", 10))
    assert len(issuer.given) > 3
    # Only the very first request went out without a token.
    assert len(token_registry.requests(f"[A-Z]+ /v2/{repository}/.* 401 ")) == 1


def test_an_identity_token_gets_tokens(
    token_registry: Any, issuer: Any, door: Door, home: Path, repository: str
) -> None:
    (home / ".docker").mkdir()
    entry = {"auths": {token_registry.host: {"identitytoken": IDENTITY_TOKEN}}}
    (home / ".docker" / "config.json").write_text(json.dumps(entry))
    assert door(token_registry.host).push_blob(repository, blob(repository, 10)) == 10
    assert issuer.asked[0]["grant_type"] == ["refresh_token"]


def test_a_token_server_that_says_no(
    token_registry: Any, issuer: Any, door: Door, docker_login: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = docker_login(token_registry.host, USER, WRONG)
    with caplog.at_level(logging.DEBUG), pytest.raises(NotAuthorised) as caught:
        door(token_registry.host).push_blob("a", blob("a", 10))
    assert "its token server says no" in caught.value.message
    assert f"asked as user 'builder' of {path}" in caught.value.message
    assert WRONG not in everything_told(caught.value) + caplog.text


def test_a_token_server_that_is_busy_is_asked_again(
    token_registry: Any, issuer: Any, door: Door, docker_login: Any, repository: str
) -> None:
    docker_login(token_registry.host)
    issuer.failures = 2
    assert door(token_registry.host).push_blob(repository, blob(repository, 10)) == 10


def test_a_mount_asks_for_both_repositories(
    token_registry: Any, issuer: Any, door: Door, docker_login: Any, repository: str
) -> None:
    docker_login(token_registry.host)
    registry = door(token_registry.host)
    source = blob(repository, 5000)
    registry.push_blob(f"{repository}/base", source)
    assert registry.mount(f"{repository}/app", source.descriptor.digest, f"{repository}/base")
    assert issuer.asked[-1]["scope"] == [f"repository:{repository}/app:pull,push", f"repository:{repository}/base:pull"]


def test_no_password_goes_to_a_token_server_in_the_clear(small_registry: Any, door: Door, docker_login: Any) -> None:
    docker_login(small_registry.host)
    small_registry.busy = [(401, {"www-authenticate": 'Bearer realm="http://tokens.example/token",service="x"'})]
    with pytest.raises(NotAuthorised, match=r"wants the login at http://tokens.example, which is not encrypted"):
        door(small_registry.host).push_blob("a", blob("a", 10))


def test_a_private_authority_is_trusted_when_named(
    start_registry: Callable[..., Any], start_auth: Callable[..., Any], authority: Any, door: Door, docker_login: Any
) -> None:
    ca_file, certificate = authority
    secured = start_registry(certificate=certificate, auth=start_auth(htpasswd=True))
    docker_login(secured.host)
    assert door(secured.host, ca_file=str(ca_file)).push_blob("a", blob("tls", 2_000_000)) == 2_000_000
    with pytest.raises(Unreachable, match="shows a certificate that is not trusted") as caught:
        door(secured.host).push_blob("a", blob("tls2", 10))
    assert "image.ca_file" in caught.value.hints[0]
    with pytest.raises(MlfnError, match="CA file /nowhere"):
        door(secured.host, ca_file="/nowhere").push_blob("a", blob("tls2", 10))


def test_tls_goes_through_the_proxy_unread(
    start_registry: Callable[..., Any], authority: Any, door: Door, tmp_path: Path
) -> None:
    ca_file, certificate = authority
    secured = start_registry(certificate=certificate)
    tunnels: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            tunnels.append(self.path)
            with socket.create_connection(("127.0.0.1", secured.port)) as registry:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=relay, args=(registry, self.connection))
                back.start()
                relay(self.connection, registry)
                back.join()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    def relay(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                target.sendall(block)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    with serving(Proxy) as port:
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{port}"}
        registry = door("registry.test", environ, ca_file=str(ca_file))
        source = blob("tunnel", 300_000)
        assert registry.push_blob("a", source) == 300_000
        registry.blob("a", source.descriptor, tmp_path / "blob")
        registry.close()
    assert (tmp_path / "blob").read_bytes() == content(source)
    assert set(tunnels) == {"registry.test:443"}


def test_all_goes_through_the_proxy_that_the_environment_names(open_registry: Any, door: Door, repository: str) -> None:
    """A name that nothing resolves is reached only by a proxy; the proxy's own password stays with it."""
    seen: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append(f"{self.path} {self.headers['proxy-authorization']}")
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Proxy) as port:
        environ = {"HTTP_PROXY": f"http://me:{WRONG}@127.0.0.1:{port}", "NO_PROXY": "other.test"}
        registry = door("registry.test", environ, plain_http=True)
        assert registry.resolve(ImageRef("registry.test", "a", "v1", "")) is None
        # This machine is never asked through a proxy.
        assert door(open_registry.host, environ).push_blob(repository, blob(repository, 10)) == 10
    login = base64.b64encode(f"me:{WRONG}".encode()).decode()
    assert seen == [f"http://registry.test/v2/a/manifests/v1 Basic {login}"]
    with pytest.raises(Unreachable, match=r"cannot reach http://registry.test through the proxy http://127") as caught:
        door("registry.test", environ, plain_http=True).resolve(ImageRef("registry.test", "a", "v1", ""))
    assert WRONG not in everything_told(caught.value)


def test_another_machine_is_never_asked_in_the_clear(door: Door) -> None:
    with pytest.raises(Unreachable, match=r"cannot reach https://registry.invalid"):
        door("registry.invalid").has_blob("a", Descriptor("x", digest_of(b""), 0))
