"""The credentials that people already have: files of docker and podman, and their credential helpers.

Answers "who am I for this registry?" and where the answer comes from, so that a refusal can say what was tried. Asks
nobody but the local files and the helper programs; a helper gets the server's name on its standard input and nothing
secret ever reaches an argument list, a message or a ``repr``. Must not know HTTP.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlfn.errors import InvalidInput
from mlfn.images.references import DOCKER_HUB

__all__ = ["Credentials", "Found", "credential_files", "find_credentials"]

HELPER_TIMEOUT_S = 30.0
"""A helper may open a browser or ask a cloud; one that hangs must not hang the push."""

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOKEN_USER = "<token>"  # noqa: S105  # what a helper writes as the user name of an identity token


@dataclass(frozen=True, slots=True)
class Credentials:
    """Hold what proves who asks. Exactly one of the three secrets is set; none shows in a ``repr``."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """An OAuth2 refresh token."""
    registry_token: str = field(default="", repr=False)
    """A bearer token that is sent as it is."""

    @property
    def basic(self) -> str:
        """Return the value of an ``Authorization`` header of the Basic scheme."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Found:
    """Tell what a search found: credentials or None, where, and what stood in the way."""

    credentials: Credentials | None
    source: str = ""
    """File, and helper if one was asked."""
    looked_in: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Such as a helper that is not installed."""

    @property
    def asked_as(self) -> str:
        """Return who asked, for the message of a refusal: never a secret."""
        if self.credentials is None:
            places = ", ".join(self.looked_in) or "no file of docker or podman exists"
            return "; ".join((f"asked without credentials, looked in: {places}", *self.problems))
        user = self.credentials.username
        who = f"user {user!r}" if user and user != _TOKEN_USER else "a token"
        return f"asked as {who} of {self.source}"


def credential_files(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return the files that may hold credentials, the first one asked first.

    What a variable names comes before the well-known places; of those podman's come before docker's, as podman,
    buildah and skopeo read them.
    """
    named = [Path(environ["REGISTRY_AUTH_FILE"])] if environ.get("REGISTRY_AUTH_FILE") else []
    if environ.get("DOCKER_CONFIG"):
        named.append(Path(environ["DOCKER_CONFIG"], "config.json"))
    known = [Path(environ["XDG_RUNTIME_DIR"], "containers", "auth.json")] if environ.get("XDG_RUNTIME_DIR") else []
    known.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json"))
    if not environ.get("DOCKER_CONFIG"):
        known.append(home / ".docker" / "config.json")
    return (*named, *known)


def find_credentials(registry: str, repository: str, environ: Mapping[str, str], home: Path) -> Found:
    """Return the credentials for ``registry/repository``: the first file that has any wins."""
    looked_in: list[str] = []
    problems: list[str] = []
    for path in credential_files(environ, home):
        config = _read(path)
        if config is None:
            continue
        looked_in.append(str(path))
        for credentials, helper in _candidates(config, registry, repository, _Helper(environ, path, problems)):
            return Found(credentials, f"{path} ({helper})" if helper else str(path), tuple(looked_in), tuple(problems))
    return Found(None, "", tuple(looked_in), tuple(problems))


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidInput(f"cannot read the credentials file {path}: {error.strerror}") from error
    config: object = None
    # Outside of the handler, so that nothing chained to the error carries the document.
    with contextlib.suppress(ValueError):
        config = json.loads(text or b"{}")
    if not isinstance(config, dict):
        raise InvalidInput(f"credentials file {path} holds no JSON object", hints=(f"repair or remove {path}",))
    return config


@dataclass(frozen=True, slots=True)
class _Helper:
    """Run the credential helpers that one file names."""

    environ: Mapping[str, str]
    path: Path
    problems: list[str]

    def ask(self, name: object, server: str) -> Credentials | None:
        """Ask ``docker-credential-NAME`` for the server's credentials; None = it has none, or cannot say."""
        if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
            self._note("a credential helper has a name that is no program's")
            return None
        program = f"docker-credential-{name}"
        try:
            done = subprocess.run(
                [program, "get"],
                input=server.encode(),
                capture_output=True,
                timeout=HELPER_TIMEOUT_S,
                check=False,
                env=dict(self.environ),
            )
        except (FileNotFoundError, PermissionError):
            self._note(f"{program} is not on PATH")
            return None
        except (OSError, subprocess.TimeoutExpired):
            self._note(f"{program} did not answer")
            return None
        if done.returncode != 0:
            # What it prints may hold a secret; "not found" is its documented way to say that it has none.
            if b"credentials not found" not in done.stdout + done.stderr:
                self._note(f"{program} failed with exit code {done.returncode}")
            return None
        return self._credentials(program, done.stdout)

    def _credentials(self, program: str, answer: bytes) -> Credentials | None:
        try:
            document = json.loads(answer)
            username, secret = str(document["Username"]), str(document["Secret"])
        except (ValueError, KeyError, TypeError):
            self._note(f"{program} answered with something else than credentials")
            return None
        if username == _TOKEN_USER:
            return Credentials(username, identity_token=secret)
        return Credentials(username, secret)

    def _note(self, problem: str) -> None:
        self.problems.append(f"{problem} (named in {self.path})")


def _candidates(
    config: Mapping[str, Any], registry: str, repository: str, helper: _Helper
) -> Iterator[tuple[Credentials, str]]:
    """Yield what one file offers: the registry's own helper, then written credentials, then the store of all."""
    server = _HUB_KEY if registry == DOCKER_HUB else registry
    helpers = _object(config.get("credHelpers"))
    for key in (server, registry):
        if key in helpers and (credentials := helper.ask(helpers[key], server)):
            yield credentials, f"docker-credential-{helpers[key]}"
    for entry in _entries(_object(config.get("auths")), registry, repository):
        if credentials := _written(entry, helper):
            yield credentials, ""
    if config.get("credsStore") and (credentials := helper.ask(config["credsStore"], server)):
        yield credentials, f"docker-credential-{config['credsStore']}"


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _entries(auths: Mapping[str, Any], registry: str, repository: str) -> Iterator[Mapping[str, Any]]:
    """Yield the entries that fit, the most special first: podman's keys may name a repository or a part of it."""
    by_place = {_place(key): _object(value) for key, value in auths.items()}
    names = repository.split("/") if repository else []
    for depth in range(len(names), -1, -1):
        place = "/".join((registry, *names[:depth]))
        if place in by_place:
            yield by_place[place]


def _place(key: str) -> str:
    """Return ``host[/path]`` of a key, which old docker versions write as an address of API version 1 or 2."""
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    for version in ("/v1", "/v2"):
        bare = bare.removesuffix(version)
    host, slash, path = bare.partition("/")
    host = DOCKER_HUB if host in {"index.docker.io", "registry-1.docker.io", DOCKER_HUB} else host.lower()
    return host + slash + path


def _written(entry: Mapping[str, Any], helper: _Helper) -> Credentials | None:
    """Read one entry of ``auths``; an empty one only says that a helper has the secret."""
    if entry.get("identitytoken"):
        return Credentials(_TOKEN_USER, identity_token=str(entry["identitytoken"]))
    if entry.get("registrytoken"):
        return Credentials(_TOKEN_USER, registry_token=str(entry["registrytoken"]))
    if entry.get("auth"):
        try:
            username, colon, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            helper.problems.append(f"an 'auth' of {helper.path} is not base64 of USER:PASSWORD")
            return None
        return Credentials(username, password.rstrip("\0"))
    if entry.get("username") and entry.get("password"):
        return Credentials(str(entry["username"]), str(entry["password"]))
    return None
