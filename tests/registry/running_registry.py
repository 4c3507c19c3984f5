"""A real registry (Debian's docker-registry) as a process of the test: own folder, own port, own settings."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

USER, PASSWORD = "builder", "battery staple"
# bcrypt of the password: the only form that the registry takes.
HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuumjewjQVmxxbBHy234HdGTOAqOuVnhhy\n"
START_LIMIT_S = 60.0


def program() -> str | None:
    """Return the registry's program, or None where it is not installed."""
    return shutil.which("docker-registry") or shutil.which("docker-registry", path="/usr/bin:/usr/sbin")


@dataclass(frozen=True)
class Auth:
    """Say how the registry asks who is there: not at all, by password, or by the tokens of a server."""

    htpasswd: bool = False
    token_realm: str = ""
    root_certificates: Path | None = None


@dataclass
class RunningRegistry:
    """A registry that runs until it is stopped."""

    root: Path
    port: int
    auth: Auth = field(default_factory=Auth)
    certificate: tuple[Path, Path] | None = None
    """Certificate chain and key; None = plain HTTP."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> RunningRegistry:
        found = program()
        assert found is not None
        self.root.mkdir(parents=True, exist_ok=True)
        config = self.root / "config.yml"
        config.write_text(self._config())
        self._log = (self.root / "log").open("ab")
        # Nothing of the outside may change its settings: REGISTRY_* variables would.
        env = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        self._process = subprocess.Popen([found, "serve", config], stdout=self._log, stderr=self._log, env=env)
        self._wait()
        return self

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def requests(self, pattern: str) -> list[str]:
        """Return the lines of the access log that match ``METHOD /path`` by a regular expression."""
        lines = (self.root / "log").read_text(errors="replace").splitlines()
        return [line for line in lines if re.search(r'"' + pattern, line) and "level=" not in line]

    @property
    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")

    def blob_file(self, digest: str) -> Path:
        """Return where the registry keeps the bytes of a digest."""
        name = digest.removeprefix("sha256:")
        return self.root / "data/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                self._tick()
        raise AssertionError(f"the registry does not listen: {self.log}")

    def _tick(self) -> None:
        try:
            self._process.wait(0.02)
        except subprocess.TimeoutExpired:
            pass

    def _config(self) -> str:
        lines = [
            "version: 0.1",
            "log: {level: info}",
            "storage:",
            f"  filesystem: {{rootdirectory: {self.root / 'data'}}}",
            "  delete: {enabled: true}",
            "http:",
            f"  addr: 127.0.0.1:{self.port}",
            "  secret: of-the-tests",
        ]
        if self.certificate is not None:
            lines.append(f"  tls: {{certificate: {self.certificate[0]}, key: {self.certificate[1]}}}")
        if self.auth.htpasswd:
            (self.root / "htpasswd").write_text(HTPASSWD)
            lines.append(f"auth: {{htpasswd: {{realm: tests, path: {self.root / 'htpasswd'}}}}}")
        if self.auth.token_realm:
            bundle = f"rootcertbundle: {self.auth.root_certificates}"
            lines.append(
                f"auth: {{token: {{realm: '{self.auth.token_realm}', service: tests, issuer: tests, {bundle}}}}}"
            )
        return "\n".join(lines) + "\n"


def get(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Ask a registry directly, past our own code."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers or {})), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
