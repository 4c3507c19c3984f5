"""Tensors of an activation as base64 and by reference; the store is a real HTTPS server on loopback."""

from __future__ import annotations

import base64
import json
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlfn_runtime.fetching import is_public

TOKENS = struct.pack("<3q", 3, 5, 7)
WHISK = {"__OW_API_HOST": "http://127.0.0.1:3233", "MLFN_FETCH": "1"}


class Store(BaseHTTPRequestHandler):
    """Give the tokens, or misbehave as the path says."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n" + TOKENS[:8])
            self.connection.recv(1)  # until the other side gives up
            return
        if path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/tokens")
            self.end_headers()
            return
        body = b"\0" * 4096 if path in ("/large", "/large-unsaid") else TOKENS
        self.send_response(200 if path != "/gone" else 404)
        if path != "/large-unsaid":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a certificate of "localhost" with its key, in one file."""
    pem, key = (tmp_path_factory.mktemp("tls") / name for name in ("store.pem", "store.key"))
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*new, "-keyout", key, "-out", pem], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    return pem


@pytest.fixture(scope="module")
def store(certificate: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def fetching(tokens_model: Path, serve_model: Any, certificate: Path) -> Iterator[Any]:
    more = {"MLFN_FETCH_PRIVATE": "1", "MLFN_FETCH_MAX_BYTES": "1024", "SSL_CERT_FILE": str(certificate)}
    with serve_model(tokens_model, "tokens", **WHISK, **more) as served:
        yield served


def run(served: Any, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    with served.client() as client:
        response = client.post("/run", json={"value": value, **more})
    assert response.status_code == 200, response.text
    return dict(response.json())


def data(answer: dict[str, Any]) -> Any:
    assert "outputs" in answer, answer
    return answer["outputs"][0]["data"]


def test_base64_in_every_form(whisk: Any) -> None:
    given = {"base64": base64.b64encode(TOKENS).decode()}
    entry = {"name": "token", "datatype": "INT64", "shape": [3], "data": given}
    for value in ({"token": given}, {"inputs": {"token": {**given, "shape": [3]}}}, {"inputs": [entry]}):
        assert data(run(whisk, value)) == [3.0, 5.0, 7.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base64": "AAA"}, "expected base64"),
        ({"base64": "AAAA"}, "3 bytes"),
        ({"base64": "AAAA", "shape": [1]}, "expected 8 bytes"),
        ({"base64": "AAAA", "url": "https://a/"}, "expected a list"),
        ({"url": "https://example.com/"}, "MLFN_FETCH=1"),
    ],
)
def test_what_is_refused_without_fetching(whisk: Any, given: dict[str, Any], words: str) -> None:
    assert words in run(whisk, {"token": given})["error"]


def test_a_url_is_followed(fetching: Any, store: str) -> None:
    assert data(run(fetching, {"token": {"url": f"{store}/tokens?signature=secret"}})) == [3.0, 5.0, 7.0]
    assert "secret" not in fetching.output


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/large", "1024 bytes at most"),
        ("/large-unsaid", "1024 bytes at most"),
        ("/gone", "got 404"),
        ("/elsewhere", "got 302"),
    ],
)
def test_what_a_store_may_not_do(fetching: Any, store: str, path: str, words: str) -> None:
    error = run(fetching, {"token": {"url": f"{store}{path}?signature=secret"}})["error"]
    assert words in error
    assert "secret" not in error


def test_the_deadline_ends_a_fetch(fetching: Any, store: str) -> None:
    begun = time.monotonic()
    deadline = str(int((time.time() + 1) * 1000))
    assert "error" in run(fetching, {"token": {"url": f"{store}/drip"}}, deadline=deadline)
    assert time.monotonic() - begun < 15  # 30 s is what a fetch may take otherwise
    assert data(run(fetching, {"token": {"url": f"{store}/tokens"}})) == [3.0, 5.0, 7.0]


def test_what_is_not_public_is_refused(tokens_model: Path, serve_model: Any, store: str) -> None:
    with serve_model(tokens_model, "tokens", **WHISK) as served:
        for url in (f"{store}/tokens", "https://169.254.169.254/latest", "https://[::ffff:10.0.0.1]/", "https://0/"):
            assert "public address" in run(served, {"token": {"url": url}})["error"]
        for url in (
            "http://example.com/",
            "file:///etc/passwd",
            "https://user@example.com/",
            "https://",
            "https://a:b",
        ):
            assert "url: expected" in run(served, {"token": {"url": url}})["error"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "100.100.100.200",
        "168.63.129.16",
        "::1",
        "fd00:ec2::254",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "224.0.0.1",
        "0.0.0.0",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


def test_what_init_says_is_in_the_log(tokens_model: Path, serve_model: Any) -> None:
    with serve_model(tokens_model, "tokens", **WHISK) as served, served.client() as client:
        env = {"__OW_ACTION_NAME": "/guest/t", "__OW_ACTIVATION_ID": "c" * 32, "__OW_API_KEY": "key:secret"}
        assert client.post("/init", json={"value": {"env": env}}).status_code == 200
        run(served, {"token": [1]}, activation_id="d" * 32)
        lines = [json.loads(line) for line in served.output.splitlines() if line.startswith("{")]
        init, first = (next(line for line in lines if line.get("path") == path) for path in ("/init", "/run"))
        assert (init["action_name"], init["activation_id"]) == ("/guest/t", "c" * 32)
        assert (first["action_name"], first["activation_id"]) == ("/guest/t", "d" * 32)
        assert "key:secret" not in served.output
