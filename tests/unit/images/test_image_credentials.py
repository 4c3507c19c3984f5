"""Credentials as docker and podman keep them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import InvalidInput
from mlfn.images.credentials import Credentials, Found, credential_files, find_credentials

SECRET = "planted-secret"


def auth(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def written(path: Path, config: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def helper(folder: Path, name: str, answer: object, code: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    text = answer if isinstance(answer, str) else json.dumps(answer)
    program.write_text(f"#!/bin/sh\ncat >{folder}/{name}.asked\necho '{text}'\nexit {code}\n")
    program.chmod(0o755)


def find(home: Path, registry: str = "example.com", repository: str = "team/iris", **environ: str) -> Found:
    return find_credentials(registry, repository, {"PATH": f"{home / 'bin'}:/usr/bin:/bin", **environ}, home)


def user_of(found: Found) -> str:
    assert found.credentials is not None
    return found.credentials.username


def test_the_files_are_asked_in_the_order_of_the_tools(tmp_path: Path) -> None:
    environ = {
        "REGISTRY_AUTH_FILE": "/named.json",
        "DOCKER_CONFIG": "/docker",
        "XDG_RUNTIME_DIR": "/run/user/7",
        "XDG_CONFIG_HOME": "/config",
    }
    assert [str(path) for path in credential_files(environ, tmp_path)] == [
        "/named.json",
        "/docker/config.json",
        "/run/user/7/containers/auth.json",
        "/config/containers/auth.json",
    ]
    assert [str(path.relative_to(tmp_path)) for path in credential_files({}, tmp_path)] == [
        ".config/containers/auth.json",
        ".docker/config.json",
    ]


def test_the_first_file_that_has_any_wins(tmp_path: Path) -> None:
    written(tmp_path / ".docker/config.json", {"auths": {"example.com": auth("docker")}})
    assert user_of(find(tmp_path)) == "docker"
    written(tmp_path / "run/containers/auth.json", {"auths": {"other.com": auth("other")}})
    assert user_of(find(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run"))) == "docker"
    written(tmp_path / "run/containers/auth.json", {"auths": {"example.com": auth("podman")}})
    found = find(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run"))
    assert (user_of(found), found.source) == ("podman", str(tmp_path / "run/containers/auth.json"))
    named = written(tmp_path / "named.json", {"auths": {"example.com": auth("named")}})
    assert user_of(find(tmp_path, REGISTRY_AUTH_FILE=str(named))) == "named"


@pytest.mark.parametrize("key", ["example.com", "https://example.com", "https://example.com/v2/", "Example.com"])
def test_a_registry_is_found_however_its_key_is_written(tmp_path: Path, key: str) -> None:
    written(tmp_path / ".docker/config.json", {"auths": {key: auth("builder")}})
    assert user_of(find(tmp_path)) == "builder"


def test_docker_hub_goes_by_its_old_name(tmp_path: Path) -> None:
    written(tmp_path / ".docker/config.json", {"auths": {"https://index.docker.io/v1/": auth("hub")}})
    assert user_of(find(tmp_path, "docker.io", "library/python")) == "hub"
    helper(tmp_path / "bin", "store", {"Username": "stored", "Secret": SECRET})
    written(tmp_path / ".docker/config.json", {"credsStore": "store"})
    assert user_of(find(tmp_path, "docker.io", "library/python")) == "stored"
    assert (tmp_path / "bin/store.asked").read_text() == "https://index.docker.io/v1/"


def test_the_most_special_key_wins(tmp_path: Path) -> None:
    auths = {"example.com": auth("all"), "example.com/team": auth("team"), "example.com/team/iris": auth("iris")}
    written(tmp_path / ".config/containers/auth.json", {"auths": auths})
    assert user_of(find(tmp_path, repository="team/iris")) == "iris"
    assert user_of(find(tmp_path, repository="team/other")) == "team"
    assert user_of(find(tmp_path, repository="teams")) == "all"


def test_a_helper_of_the_registry_goes_before_what_is_written_and_that_before_the_store(tmp_path: Path) -> None:
    helper(tmp_path / "bin", "own", {"Username": "helped", "Secret": SECRET})
    helper(tmp_path / "bin", "store", {"Username": "stored", "Secret": SECRET})
    config: dict[str, Any] = {"credsStore": "store", "auths": {"example.com": {}}}
    path = written(tmp_path / ".docker/config.json", config)
    found = find(tmp_path)
    assert (user_of(found), found.source) == ("stored", f"{path} (docker-credential-store)")
    written(path, {**config, "auths": {"example.com": auth("written")}})
    assert user_of(find(tmp_path)) == "written"
    written(path, {**config, "credHelpers": {"example.com": "own"}, "auths": {"example.com": auth("written")}})
    assert user_of(find(tmp_path)) == "helped"


def test_tokens_instead_of_passwords(tmp_path: Path) -> None:
    path = tmp_path / ".docker/config.json"
    written(path, {"auths": {"example.com": {"identitytoken": SECRET}}})
    assert find(tmp_path).credentials == Credentials("<token>", identity_token=SECRET)
    written(path, {"auths": {"example.com": {"registrytoken": SECRET}}})
    assert find(tmp_path).credentials == Credentials("<token>", registry_token=SECRET)
    written(path, {"auths": {"example.com": {"username": "u", "password": SECRET}}})
    assert find(tmp_path).credentials == Credentials("u", SECRET)
    helper(tmp_path / "bin", "store", {"Username": "<token>", "Secret": SECRET})
    written(path, {"credsStore": "store"})
    assert find(tmp_path).credentials == Credentials("<token>", identity_token=SECRET)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"credsStore": "absent"}, "docker-credential-absent is not on PATH"),
        ({"credsStore": "../../bin/sh"}, "a credential helper has a name that is no program's"),
        ({"credsStore": "silent"}, "docker-credential-silent answered with something else than credentials"),
        ({"credsStore": "broken"}, "docker-credential-broken failed with exit code 2"),
        ({"auths": {"example.com": {"auth": "%%"}}}, "is not base64 of USER:PASSWORD"),
    ],
    ids=["absent", "path", "silent", "broken", "no-base64"],
)
def test_what_stands_in_the_way_is_told_without_secrets(tmp_path: Path, config: object, problem: str) -> None:
    helper(tmp_path / "bin", "silent", SECRET)
    helper(tmp_path / "bin", "broken", SECRET, code=2)
    path = written(tmp_path / ".docker/config.json", config)
    found = find(tmp_path)
    assert found.credentials is None
    assert problem in found.asked_as
    assert str(path) in found.asked_as
    assert SECRET not in found.asked_as


def test_a_helper_that_knows_nothing_is_no_problem(tmp_path: Path) -> None:
    helper(tmp_path / "bin", "store", "credentials not found in native keychain", code=1)
    written(tmp_path / ".docker/config.json", {"credsStore": "store"})
    assert find(tmp_path) == Found(None, "", (str(tmp_path / ".docker/config.json"),), ())


@pytest.mark.parametrize("text", [f'{{"auths": "{SECRET}', f'["{SECRET}"]'], ids=["cut", "list"])
def test_a_damaged_file_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InvalidInput, match="holds no JSON object") as caught:
        find(tmp_path)
    assert str(path) in caught.value.message
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "config", [{"auths": None, "credHelpers": None}, {"auths": {"example.com": None}}, {"auths": []}, {}]
)
def test_odd_but_harmless_files(tmp_path: Path, config: object) -> None:
    written(tmp_path / ".docker/config.json", config)
    assert find(tmp_path).credentials is None


def test_no_secret_shows(tmp_path: Path) -> None:
    every = (Credentials("u", SECRET), Credentials(identity_token=SECRET), Credentials(registry_token=SECRET))
    for credentials in every:
        assert SECRET not in repr(credentials) + repr(Found(credentials, "file")) + Found(credentials, "file").asked_as
    assert Credentials("u", "p:ä").basic == "Basic " + base64.b64encode("u:p:ä".encode()).decode()
