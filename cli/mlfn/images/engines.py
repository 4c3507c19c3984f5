"""The door to docker and podman: one class that runs their command lines and turns their failures into ours.

What an image is made of is none of its business (engine_build.py); it builds a folder with a Dockerfile, loads, pushes
and saves. The engines keep their own credentials (``docker login``), so none pass through here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlfn.errors import BuildFailed, MissingExtra, MlfnError, NotAuthorised, Unreachable
from mlfn.images.proxies import is_loopback
from mlfn.images.request import Builder
from mlfn.shell import Ended, run

__all__ = ["Engine"]

_OWN = "leave --builder out: mlfn builds and pushes images by itself, without any engine"
_INSTALL = {
    Builder.DOCKER: "install Docker: https://docs.docker.com/engine/install/",
    Builder.PODMAN: "install Podman: https://podman.io/docs/installation",
}
_REASONS: tuple[tuple[tuple[str, ...], type[MlfnError], Mapping[Builder, str]], ...] = (
    (("no space left on device",), BuildFailed, dict.fromkeys(Builder, "free some space: {program} system prune")),
    (
        ("unauthorized", "authentication required", "access denied", "no basic auth", "denied: "),
        NotAuthorised,
        dict.fromkeys(Builder, "log in: {program} login REGISTRY"),
    ),
    (
        ("server gave http response to https client",),
        Unreachable,
        {
            Builder.DOCKER: "add it to insecure-registries in /etc/docker/daemon.json, and restart docker",
            Builder.PODMAN: "--plain-http, if that is what you want",
        },
    ),
    (
        ("x509:", "certificate signed by unknown authority"),
        Unreachable,
        {
            Builder.DOCKER: "put the registry's authority to /etc/docker/certs.d/REGISTRY/ca.crt",
            Builder.PODMAN: "put the registry's authority to /etc/containers/certs.d/REGISTRY/ca.crt",
        },
    ),
    (
        ("connection refused", "no such host", "i/o timeout", "network is unreachable", "connection reset"),
        Unreachable,
        dict.fromkeys(Builder, "see that the registry runs, and that {program} reaches it"),
    ),
)
"""What an engine's words tell -> the error, and what helps. The first that fits."""
_QUIET = {
    "DOCKER_CLI_HINTS": "false",
    "BUILDKIT_PROGRESS": "plain",
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",  # else an image is pushed as an index, with a second entry for no machine
}


class Engine:
    """Run one engine's commands."""

    def __init__(self, builder: Builder, *, plain_http: bool = False) -> None:
        self._builder = builder
        self._program = builder.value
        self._is_podman = builder is Builder.PODMAN
        self._plain_http = plain_http

    def check(self) -> None:
        """Raise MissingExtra unless the engine is here and its daemon answers."""
        ended = self._run("version", "--format", "{{.Client.Version}}" if self._is_podman else "{{.Server.Version}}")
        if ended.code == 0:
            return
        denied = "permission denied" in ended.err.lower()
        start = "your user may not use it: sudo usermod -aG docker $USER, then log in again"
        raise MissingExtra(
            f"{self._program} is installed, but {'refuses' if denied else 'its daemon does not answer'}: "
            f"{ended.last_lines(1)}",
            hints=(start if denied else "start it: sudo systemctl start docker (or set DOCKER_HOST)", _OWN),
            details=ended.as_details(),
        )

    def inspect(self, image: str) -> Mapping[str, Any] | None:
        """Return what the engine knows of an image that it holds, or None."""
        ended = self._run("image", "inspect", image)
        if ended.code:
            return None
        found = json.loads(ended.out)
        assert isinstance(found, list)
        return dict(found[0])

    def build(self, folder: Path, image: str, architecture: str, base: str) -> None:
        """Build a folder with a Dockerfile, which begins with ``base``, under the name ``image``."""
        options = ("--platform", f"linux/{architecture}", "--tag", image, *self._unencrypted(base))
        ended = self._run("build", *options, str(folder))
        if ended.code:
            raise self._failure(f"{self._program} cannot build {image}", ended)

    def load(self, archive: Path) -> None:
        """Take in the images of a tar."""
        ended = self._run("load", "--input", str(archive))
        if ended.code:
            raise self._failure(f"{self._program} cannot load the base image", ended)

    def push(self, image: str) -> str:
        """Push an image and return the digest under which the registry keeps it."""
        if self._is_podman:
            with tempfile.TemporaryDirectory() as folder:
                written = Path(folder, "digest")
                ended = self._run("push", "--digestfile", str(written), *self._unencrypted(image), image)
                if ended.code == 0:
                    return written.read_text().strip()
        else:
            ended = self._run("push", image)
            if ended.code == 0:
                return self._pushed_digest(image)
        raise self._failure(f"{self._program} cannot push {image}", ended)

    def save(self, image: str, to: Path) -> None:
        """Write an image as a tar that engines load, or (podman) as the folder of an OCI layout."""
        form = () if not self._is_podman else ("--format", "docker-archive" if to.suffix == ".tar" else "oci-dir")
        ended = self._run("save", *form, "--output", str(to), image)
        if ended.code:
            raise self._failure(f"{self._program} cannot write {image} to {to}", ended)

    def _unencrypted(self, image: str) -> tuple[str, ...]:
        """Return what allows plain HTTP for a registry: on this machine as with docker, elsewhere when it was asked.

        docker has no such option: its daemon is told which registries are plain.
        """
        host = urlsplit(f"//{image.partition('/')[0]}").hostname or ""
        return ("--tls-verify=false",) if self._is_podman and (self._plain_http or is_loopback(host)) else ()

    def _pushed_digest(self, image: str) -> str:
        name = image.rpartition(":")[0]
        for known in (self.inspect(image) or {}).get("RepoDigests") or ():
            if str(known).startswith(f"{name}@"):
                return str(known).rpartition("@")[2]
        raise BuildFailed(f"docker pushed {image}, but does not say under which digest", hints=(_OWN,))

    def _run(self, *arguments: str) -> Ended:
        hints = (_INSTALL[self._builder], _OWN)
        return run((self._program, *arguments), environment=_QUIET, hints=hints)

    def _failure(self, what: str, ended: Ended) -> MlfnError:
        """Return the error of a command that failed: what is wrong as far as its words tell, and all its words."""
        said = f"{ended.err}\n{ended.out}".lower()
        message = f"{what}: {ended.last_lines(1) or f'exit code {ended.code}'}"
        for words, error, hints in _REASONS:
            if any(word in said for word in words):
                hint = hints[self._builder].format(program=self._program)
                return error(message, hints=(hint,), details=ended.as_details())
        return BuildFailed(message, hints=(_OWN,), details=ended.as_details())
