"""docker and podman as doors: their words become our errors, and nothing is said to them that they do not know.

The engines here are scripts that say what real ones said; real ones are asked in tests/e2e/images.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from mlfn.errors import BuildFailed, InvalidInput, MissingExtra, MlfnError, NotAuthorised, Unreachable
from mlfn.function import ImageRef
from mlfn.images.bases import BaseImage
from mlfn.images.contents import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, BlobSource, ImageContent, ImagePlatform
from mlfn.images.engine_build import build_with_engine, check_engine
from mlfn.images.engine_context import EngineContext
from mlfn.images.engines import Engine
from mlfn.images.request import Builder, BuildRequest

SCRIPT = """#!/bin/sh
echo "$@" >> {calls}
case "$1 $2" in
    {cases}
esac
"""
TAR = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that puts an engine on PATH, which answers commands by a shell's words; it gives its calls."""

    def put(name: str, **answers: str) -> Path:
        calls = tmp_path / "calls"
        cases = [f"{command.replace('_', '*')}*) {words};;" for command, words in answers.items()]
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(SCRIPT.format(calls=calls, cases="\n    ".join(cases)))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
        return calls

    return put


def failing(words: str) -> str:
    return f"echo some progress; echo {shlex.quote(words)} >&2; exit 1"


def test_an_engine_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match="podman is needed") as caught:
        Engine(Builder.PODMAN).check()
    assert "podman.io" in caught.value.hints[0]
    assert "leave --builder out" in caught.value.hints[1]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "not answer", "start it"),
        ("permission denied while trying to connect to the Docker daemon socket", "refuses", "usermod"),
    ],
    ids=["no-daemon", "no-right"],
)
def test_a_daemon_that_does_not_work(engine: Callable[..., Path], words: str, message: str, hint: str) -> None:
    engine("docker", version=failing(words))
    with pytest.raises(MissingExtra, match=message) as caught:
        Engine(Builder.DOCKER).check()
    assert hint in caught.value.hints[0]
    assert words in caught.value.details


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("unauthorized: authentication required", NotAuthorised, "docker login"),
        ("denied: requested access to the resource is denied", NotAuthorised, "docker login"),
        ("http: server gave HTTP response to HTTPS client", Unreachable, "insecure-registries"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", Unreachable, "certs.d"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", Unreachable, "registry runs"),
        ("write /var/lib/docker/x: no space left on device", BuildFailed, "prune"),
        ("something that nobody has seen yet", BuildFailed, "leave --builder out"),
    ],
    ids=["login", "denied", "plain", "certificate", "route", "disk", "unknown"],
)
def test_what_a_failed_push_tells(engine: Callable[..., Path], words: str, error: type[MlfnError], hint: str) -> None:
    engine("docker", push=failing(words))
    with pytest.raises(error) as caught:
        Engine(Builder.DOCKER).push("registry.example.com/iris:1")
    assert words in caught.value.message
    assert hint in caught.value.hints[0]
    lines = caught.value.details.splitlines()
    assert lines[:2] == ["$ docker push registry.example.com/iris:1", "exit code 1"]
    assert {"some progress", words} <= set(lines)


@pytest.mark.parametrize(
    ("registry", "plain_http", "unencrypted"),
    [("127.0.0.1:5000", False, True), ("registry.example.com", False, False), ("registry.example.com", True, True)],
    ids=["here", "elsewhere", "asked"],
)
def test_podman_is_allowed_plain_http_where_mlfn_is(
    engine: Callable[..., Path], registry: str, plain_http: bool, unencrypted: bool
) -> None:
    calls = engine("podman", push='echo sha256:abc > "$3"')
    assert Engine(Builder.PODMAN, plain_http=plain_http).push(f"{registry}/iris:1") == "sha256:abc"
    assert ("--tls-verify=false" in calls.read_text()) is unencrypted


def test_one_architecture_and_a_tar(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="one architecture, got amd64,arm64"):
        check_engine(BuildRequest("iris", architectures=("amd64", "arm64"), builder=Builder.DOCKER))
    with pytest.raises(InvalidInput, match="writes a tar") as caught:
        check_engine(BuildRequest("iris", builder=Builder.DOCKER, output=tmp_path / "layout"))
    assert caught.value.hints[0] == f"--output {tmp_path}/layout.tar"


def context(builder: Builder, environment: str = "A=b") -> EngineContext:
    """Return a small image on a base that a registry has."""
    settings = {
        "User": "65532:65532",
        "Env": ["PATH=/bin", environment],
        "Entrypoint": ["/bin/python3", "-m", "mlfn_runtime"],
        "Labels": {"org.opencontainers.image.title": "iris"},
    }
    document = json.dumps({"architecture": "arm64", "config": settings}).encode()
    below = BlobSource(BlobSource.of_bytes(b"base", OCI_LAYER_GZIP).descriptor, open, ("registry.example.com/python",))
    own = BlobSource.of_bytes(b"packages", OCI_LAYER_GZIP), BlobSource.of_bytes(b"weights", TAR)
    image = ImageContent(b"{}", OCI_MANIFEST, (BlobSource.of_bytes(document, OCI_CONFIG), below, *own))
    base = BaseImage(ImagePlatform("arm64"), "sha256:" + "0" * 64, {"config": {"Env": ["PATH=/bin"]}}, (below,))
    kinds = {own[0].descriptor.digest: "dependencies", own[1].descriptor.digest: "model"}
    return EngineContext(image, base, kinds, builder)


def test_what_an_engine_is_given(engine: Callable[..., Path], tmp_path: Path) -> None:
    keep = f'for folder; do :; done; cp -r "$folder" {tmp_path}/context'
    inspected = json.dumps([{"Id": "sha256:123", "Architecture": "arm64"}])
    calls = engine("docker", build=keep, image=f"echo {shlex.quote(inspected)}")
    request = BuildRequest("iris", architectures=("arm64",), builder=Builder.DOCKER)
    told: list[str] = []
    ref = build_with_engine(context(Builder.DOCKER), ImageRef("localhost", "iris", "1", ""), request, told.append)
    assert ref == ImageRef("localhost", "iris", "1", "sha256:123")
    assert "build --platform linux/arm64 --tag localhost/iris:1" in calls.read_text()
    assert "push" not in calls.read_text()
    assert told == ["building with docker"]
    given = tmp_path / "context"
    assert {path.name: path.read_bytes() for path in given.iterdir() if path.suffix != ""} == {
        "dependencies.tar.gz": b"packages",
        "model.tar": b"weights",
    }
    lines = (given / "Dockerfile").read_text().splitlines()
    assert f"FROM registry.example.com/python@sha256:{'0' * 64}" in lines
    assert [line for line in lines if line.startswith(("ADD", "ENV"))] == [
        "ADD dependencies.tar.gz /",
        "ADD model.tar /",
        'ENV A="b"',
    ]


def test_an_image_for_another_processor_is_refused(engine: Callable[..., Path]) -> None:
    inspected = json.dumps([{"Id": "sha256:123", "Architecture": "amd64"}])
    engine("docker", build=":", image=f"echo {shlex.quote(inspected)}")
    request = BuildRequest("iris", architectures=("arm64",), builder=Builder.DOCKER)
    with pytest.raises(BuildFailed, match="made an image for amd64, expected arm64"):
        build_with_engine(context(Builder.DOCKER), ImageRef("localhost", "iris", "1", ""), request, lambda _: None)


def test_a_variable_of_several_lines_is_refused(engine: Callable[..., Path]) -> None:
    engine("docker", build=":")
    request = BuildRequest("iris", architectures=("arm64",), builder=Builder.DOCKER)
    ref = ImageRef("localhost", "iris", "1", "")
    with pytest.raises(InvalidInput, match="several lines: KEY"):
        build_with_engine(context(Builder.DOCKER, "KEY=a\nRUN id"), ref, request, lambda _: None)
