"""Packages of an image: pinned and hashed, for the right processor, from where they were asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlfn.errors import BuildFailed, InvalidInput, NotAuthorised, Unreachable
from mlfn.images import BuildRequest, BuiltImage

Make = Callable[..., BuiltImage]


@pytest.fixture
def wheels(parts: ModuleType, tmp_path: Path) -> Path:
    """Return a folder of wheels of one's own."""
    folder = parts.write_wheelhouse(tmp_path / "wheels")
    assert isinstance(folder, Path)
    return folder


def as_index(wheels: Path) -> Path:
    """Lay a folder of wheels out as a package index, a page for each package, and return its root."""
    for wheel in wheels.glob("*.whl"):
        folder = wheels / "simple" / wheel.name.partition("-")[0]
        folder.mkdir(parents=True, exist_ok=True)
        wheel.rename(folder / wheel.name)
        with (folder / "index.html").open("a") as page:
            page.write(f'<a href="{wheel.name}">{wheel.name}</a>\n')
    return wheels / "simple"


def test_a_mislabelled_wheel_is_refused(
    make: Make, request_of: BuildRequest, wheels: Path, parts: ModuleType, tmp_path: Path
) -> None:
    tag = f"py3-none-{parts.WHEEL_TAGS[parts.HERE]}"
    parts.write_wheel(wheels, "numpy", {"numpy/__init__.py": b"", "numpy/core.so": parts.elf(parts.ELSEWHERE)}, tag)
    lock = parts.write_lock(wheels, tmp_path / "lock")
    with pytest.raises(BuildFailed, match=rf"numpy/core\.so is for {parts.ELSEWHERE}, but the image is for"):
        make(request_of, wheel_dir=wheels, lock=lock, output=tmp_path / "x.tar")


def test_a_wheel_that_is_not_the_pinned_one_is_refused(
    make: Make, request_of: BuildRequest, wheels: Path, parts: ModuleType, tmp_path: Path
) -> None:
    lock = parts.write_lock(wheels, tmp_path / "lock")
    parts.write_wheel(wheels, "uvloop", {"uvloop/__init__.py": b"print('not what was pinned')\n"})
    with pytest.raises(BuildFailed, match="are not the ones that") as told:
        make(request_of, wheel_dir=wheels, lock=lock, output=tmp_path / "x.tar")
    assert "uvloop" in told.value.details


def test_a_lock_without_hashes_is_refused(make: Make, request_of: BuildRequest, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("numpy==1.0\n")
    with pytest.raises(InvalidInput, match="does not pin each package") as told:
        make(request_of, lock=lock, output=tmp_path / "x.tar")
    assert any("--generate-hashes" in hint for hint in told.value.hints)


def test_a_file_without_certificates_and_a_folder_that_is_none(
    make: Make, request_of: BuildRequest, wheels: Path, parts: ModuleType, tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing"
    nothing.write_text("no certificate\n")
    fresh = parts.write_lock(wheels, tmp_path / "lock")
    fresh.write_text(f"{fresh.read_text()}# not made before\n")
    with pytest.raises(InvalidInput, match="holds no certificate"):
        make(request_of, lock=fresh, wheel_dir=None, ca_file=nothing, output=tmp_path / "x.tar")
    with pytest.raises(InvalidInput, match="is no folder"):
        make(request_of, lock=fresh, wheel_dir=nothing, output=tmp_path / "x.tar")


def test_a_lock_without_what_every_function_needs(
    make: Make, request_of: BuildRequest, wheels: Path, parts: ModuleType, tmp_path: Path
) -> None:
    lock = parts.write_lock(wheels, tmp_path / "lock", ("numpy", "orjson", "httptools"))
    with pytest.raises(InvalidInput, match="does not pin onnxruntime, uvloop"):
        make(request_of, wheel_dir=wheels, lock=lock, output=tmp_path / "x.tar")


def test_a_package_that_no_wheel_is_for(
    make: Make, request_of: BuildRequest, wheels: Path, parts: ModuleType, tmp_path: Path
) -> None:
    lock = parts.write_lock(wheels, tmp_path / "lock")
    for wheel in wheels.glob(f"*{parts.WHEEL_TAGS[parts.HERE]}.whl"):
        wheel.unlink()
    with pytest.raises(BuildFailed, match="there are no wheels for"):
        make(request_of, wheel_dir=wheels, lock=lock, output=tmp_path / "x.tar")


def test_an_index_that_is_not_there_and_its_password(
    make: Make, request_of: BuildRequest, parts: ModuleType, wheels: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    lock = parts.write_lock(wheels, tmp_path / "lock")
    secret = "hunter2correct"
    with pytest.raises(Unreachable) as told:
        make(
            request_of,
            wheel_dir=None,
            lock=lock,
            index_url=f"http://me:{secret}@127.0.0.1:9/simple",
            output=tmp_path / "x.tar",
        )
    assert secret not in f"{told.value.message}{told.value.details}{told.value.hints}"


def test_a_private_index_with_a_password(
    make: Make, request_of: BuildRequest, parts: ModuleType, wheels: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Served by a real HTTP server that wants the password; nothing of it is left in the image."""
    import base64
    import functools
    import http.server
    import threading

    as_index(wheels)
    lock = tmp_path / "lock"
    lock.write_text("".join(parts.write_lock(wheels / "simple" / n, lock, (n,)).read_text() for n in parts.PACKAGES))
    secret = "open-sesame-42"
    expected = "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()

    class Index(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            super().do_GET()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Index, directory=str(wheels))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
        url = f"http://me:{secret}@127.0.0.1:{server.server_port}/simple"
        make(request_of, wheel_dir=None, lock=lock, index_url=url, output=tmp_path / "image")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-of-a-stranger"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-of-a-stranger"))
        stranger = url.replace(secret, f"not-{secret}")
        with pytest.raises(NotAuthorised, match="wants another login") as told:
            make(request_of, wheel_dir=None, lock=lock, index_url=stranger, output=tmp_path / "other")
        server.shutdown()
    assert secret not in f"{told.value.message}{told.value.details}{told.value.hints}"
    for blob in (tmp_path / "image/blobs/sha256").iterdir():
        content = blob.read_bytes()
        if content[:2] == b"\x1f\x8b":
            import gzip

            content = gzip.decompress(content)
        assert secret.encode() not in content


def test_an_index_behind_a_private_authority(
    make: Make, request_of: BuildRequest, parts: ModuleType, wheels: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Refused without --ca-file as unreachable; with it, wheels come over TLS."""
    import http.server
    import ssl
    import threading

    import trustme

    authority = trustme.CA()
    certificate = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(certificate))
    lock = parts.write_lock(wheels, tmp_path / "lock")
    as_index(wheels)

    class Index(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(wheels))

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    class QuietServer(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Do not tell that a client which trusts nobody hangs up."""

    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    for variable in ("SSL_CERT_FILE", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with QuietServer(("127.0.0.1", 0), Index) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked: dict[str, Any] = {"wheel_dir": None, "lock": lock, "output": tmp_path / "x.tar"}
        asked["index_url"] = f"https://127.0.0.1:{server.server_port}/simple"
        with pytest.raises(Unreachable, match="package index"):
            make(request_of, **asked)
        assert make(request_of, ca_file=certificate, **asked).ref.digest
        server.shutdown()


def test_an_index_of_files(
    make: Make, request_of: BuildRequest, parts: ModuleType, wheels: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """As a mirror on a disk is laid out: no server, the pages of the packages beside their wheels."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lock = parts.write_lock(wheels, tmp_path / "lock")
    asked: dict[str, Any] = {"wheel_dir": None, "lock": lock, "output": tmp_path / "x.tar"}
    index = as_index(wheels)
    assert make(request_of, index_url=index.as_uri(), **asked).ref.digest
    lock.write_text(f"{lock.read_text()}# not made before\n")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another"))
    (index / "numpy" / "index.html").unlink()
    with pytest.raises(BuildFailed, match="there are no wheels for") as told:
        make(request_of, index_url=index.as_uri(), **asked)
    assert "numpy" in told.value.details
