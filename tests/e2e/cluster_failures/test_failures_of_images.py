"""Images that a cluster cannot get or run: the cause is told within seconds, quoted, and nothing of the function stays.

The command makes no such images, so they go through the platform object that it uses.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

IRIS = Path(__file__).resolve().parents[3] / "examples" / "iris"
REQUEST = IRIS / "request.json"
BOUND_S = 20.0
AGAIN_S = 40.0
"""Where the second failure decides: the node pulls again after 10 s and more."""
LISTENER = """
import http.server, sys
class Says(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status}); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers.get('content-length', 0)))
        kept = [bytearray(1 << 20) for _ in range(4096)]
        self.send_response(200); self.end_headers()
    def log_message(self, *args):
        pass
print('{words}', flush=True)
http.server.ThreadingHTTPServer(('0.0.0.0', {port}), Says).serve_forever()
"""


def _python(images: Any, code: str) -> Any:
    return images.changed(Entrypoint=[images.python, "-c", code])


def _server(images: Any, *, status: int = 200, port: int = 8080, words: str = "serving") -> Any:
    return _python(images, LISTENER.format(status=status, port=port, words=words))


def test_an_image_that_is_not_there(inject: Any, images: Any) -> None:
    told = inject.image("no-such-digest", images.ref("sha256:" + "0" * 64), sign="ErrImagePull")
    assert told.exit_code == 7
    assert "is not in the registry" in told.message
    assert told.seconds_after < BOUND_S
    assert inject.leaves_nothing("no-such-digest")


def test_a_registry_whose_name_nobody_knows(inject: Any, images: Any) -> None:
    told = inject.image("no-such-host", images.ref(registry="registry.invalid"), sign="ErrImagePull")
    assert told.exit_code == 7
    assert "registry.invalid" in told.message
    assert "does not find the registry" in told.message
    assert told.seconds_after < BOUND_S


def test_a_registry_that_refuses_connections(inject: Any, images: Any) -> None:
    host = images.registry.partition(":")[0]
    told = inject.image("registry-refuses", images.ref(registry=f"{host}:5999"), sign="ErrImagePull")
    assert told.exit_code == 7
    assert f"cannot reach the registry {host}:5999" in told.message
    assert told.seconds_after < AGAIN_S


def test_a_registry_that_speaks_plain_http(inject: Any, images: Any, plain_registry: Callable[..., str]) -> None:
    told = inject.image("registry-plain", images.ref(registry=plain_registry("")), sign="ErrImagePull")
    assert told.exit_code == 7
    assert "plain HTTP" in told.message
    assert told.seconds_after < BOUND_S


def test_a_registry_that_wants_a_login(inject: Any, images: Any, plain_registry: Callable[..., str]) -> None:
    """Containerd takes loopback addresses for plain HTTP, so this one gets as far as the login."""
    told = inject.image("registry-login", images.ref(registry=plain_registry("127.0.0.1")), sign="ErrImagePull")
    assert told.exit_code == 7
    assert "does not let the cluster read" in told.message
    assert any("--image-pull-secret" in hint for hint in told.hints)
    assert told.seconds_after < BOUND_S


@pytest.fixture
def plain_registry(tmp_path: Path, images: Any) -> Iterator[Callable[[str], str]]:
    """Return a function that starts a registry with a login on this machine, which has to be the cluster's node."""
    started: list[subprocess.Popen[bytes]] = []
    here = images.registry.partition(":")[0]

    def start(host: str) -> str:
        address = host or here
        with socket.create_server((address, 0)) as free:
            port = free.getsockname()[1]
        (tmp_path / "htpasswd").write_text("user:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n")
        (tmp_path / "config.yml").write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/store}}}}\n"
            f"http: {{addr: '{address}:{port}'}}\n"
            f"auth: {{htpasswd: {{realm: tests, path: {tmp_path}/htpasswd}}}}\n"
        )
        with (tmp_path / "registry.log").open("wb") as log:
            process = subprocess.Popen(
                ["docker-registry", "serve", str(tmp_path / "config.yml")], stdout=log, stderr=log
            )
        started.append(process)
        deadline = time.monotonic() + 30
        while not _answers(f"http://{address}:{port}/v2/"):
            assert time.monotonic() < deadline, (tmp_path / "registry.log").read_text()
            assert process.poll() is None, (tmp_path / "registry.log").read_text()
        return f"{address}:{port}"

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == 401
    except httpx.HTTPError:
        return False


def test_an_image_for_another_architecture(inject: Any, images: Any) -> None:
    told = inject.image("no-platform", images.for_another("s390x"), sign="no match for platform")
    assert told.exit_code == 7
    assert "no variant for the node's architecture" in told.message
    assert any("--arch" in hint for hint in told.hints)
    assert told.seconds_after < BOUND_S


def test_programs_of_another_architecture(inject: Any, images: Any) -> None:
    image = images.changed(files={"server": b"\x7fELF" + bytes(200)}, Entrypoint=["/server"])
    told = inject.image("wrong-architecture", image, sign="exec format error")
    assert told.exit_code == 7
    assert "another architecture" in told.message
    assert any("--arch" in hint for hint in told.hints)
    assert told.seconds_after < BOUND_S


def test_a_command_that_is_not_there(inject: Any, images: Any) -> None:
    told = inject.image("no-command", images.changed(Entrypoint=["/nosuch"]), sign="/nosuch.*no such file")
    assert told.exit_code == 7
    assert "/nosuch" in told.message
    assert told.seconds_after < BOUND_S


def test_an_image_that_runs_as_root(inject: Any, images: Any) -> None:
    told = inject.image("root", images.changed(User="0"), sign="run as root")
    assert told.exit_code == 7
    assert "the image's user is root" in told.message
    assert told.seconds_after < BOUND_S


def test_a_server_that_ends(inject: Any, images: Any) -> None:
    """The first time may be chance, so it is told at the second: the first restart comes at once."""
    image = _python(images, "print('the model file is broken'); raise SystemExit(3)")
    told = inject.image("crash", image, sign='"exitCode": 3')
    assert told.exit_code == 7
    assert "exit code 3" in told.message
    assert "the model file is broken" in told.message
    assert told.seconds_after < BOUND_S


def test_a_server_that_never_says_that_it_is_ready(inject: Any, images: Any) -> None:
    """A large model loads for minutes, so only the time that was given ends it; its own words are quoted."""
    image = _server(images, status=503, words="waiting for weights that never come")
    told = inject.image("never-ready", image, sign="Unhealthy", wait_s=20, timed=False)
    assert told.exit_code == 5
    assert "waiting for weights that never come" in told.message
    assert inject.leaves_nothing("never-ready")


def test_a_server_that_never_listens(inject: Any, images: Any) -> None:
    image = _python(images, "import time; print('thinking', flush=True); time.sleep(3600)")
    told = inject.image("never-listens", image, sign="Unhealthy", wait_s=20, timed=False)
    assert told.exit_code == 5
    assert "/v2/health/ready" in told.message
    assert "thinking" in told.message


def test_a_server_that_listens_elsewhere(inject: Any, images: Any) -> None:
    image = _server(images, port=9000, words="listening on port 9000")
    told = inject.image("other-port", image, sign="Unhealthy", wait_s=120)
    assert told.exit_code == 7
    assert "listens at port 9000, it is asked at 8080" in told.message


def test_an_ingress_that_nobody_serves(inject: Any, images: Any) -> None:
    annotations = {"networking.knative.dev/ingress.class": "nosuch.ingress.networking.knative.dev"}
    told = inject.image("no-ingress", images.ref(), sign="nosuch", wait_s=25, timed=False, annotations=annotations)
    assert told.exit_code == 5
    assert "IngressNotConfigured" in told.message
    assert any("config-network" in hint for hint in told.hints)


def test_memory_that_runs_out_under_load(inject: Any, images: Any, cli: Any, eventually: Any) -> None:
    from mlfn.function import FunctionSpec
    from mlfn.platforms import DeployRequest

    spec = FunctionSpec("hungry", memory_bytes=64 << 20)
    inject.platform.deploy(DeployRequest(spec, inject.package, _server(images)), progress=lambda stage: None)
    with pytest.raises(AssertionError):
        cli.ok("invoke", "hungry", "--data", f"@{REQUEST}")
    found = eventually(lambda: _told_of(cli, "hungry", "out-of-memory-under-load"))
    assert "64Mi" in found["message"]
    assert "--memory" in found["fix"]
    cli.ok("delete", "hungry", "--yes")


def _told_of(cli: Any, name: str, what: str) -> dict[str, str] | None:
    findings = cli.json("describe", name)["findings"]
    return next((each for each in findings if each["what"] == what), None)


def test_an_update_that_fails_leaves_the_previous_revision_serving(inject: Any, images: Any, cli: Any) -> None:
    first = cli.json("deploy", IRIS / "model.onnx", "--name", "f-update")
    before = cli.json("invoke", "f-update", "--data", f"@{REQUEST}")
    for image, sign in (
        (images.changed(Entrypoint=["/nosuch"]), "/nosuch.*no such file"),
        (images.ref("sha256:" + "1" * 64), "ErrImagePull"),
    ):
        told = inject.image("update", image, sign=sign)
        assert told.exit_code == 7
        assert f"{first['revision']} serves on" in told.message
        again = cli.json("invoke", "f-update", "--data", f"@{REQUEST}")
        assert again["outputs"] == before["outputs"]
    (shown,) = [each for each in cli.json("describe", "f-update")["traffic"] if each["percent"]]
    assert shown["revision"] == first["revision"]
    cli.ok("delete", "f-update", "--yes")
