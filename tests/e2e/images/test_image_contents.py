"""What lies in an image: nothing that a scanner would object to, nothing secret, nothing of the machine that built it.

Every layer above the base is read, byte for byte, of both builders' images.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PLANTED = "pl4nted-s3cret"
MACHINES = {"amd64": 62, "arm64": 183}


@dataclass(frozen=True)
class Contents:
    """An image taken apart."""

    documents: tuple[bytes, ...]
    """Manifest, index, configuration: everything that is no layer."""
    layers: tuple[list[tuple[tarfile.TarInfo, bytes]], ...]
    """The entries of each layer above the base."""
    configuration: dict[str, Any]

    @property
    def entries(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        for layer in self.layers:
            yield from layer


def contents(archive: Path, base_layers: int = 1) -> Contents:
    """Take a tar apart that engines load."""
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isreg()}
        read = {name: file.read() for name, file in files.items() if file is not None}
    manifest = json.loads(read["manifest.json"])[0]
    own = manifest["Layers"][base_layers:]
    assert own
    layers = tuple(entries(read[name]) for name in own)
    documents = tuple(data for name, data in read.items() if name not in manifest["Layers"])
    return Contents(documents, layers, json.loads(read[manifest["Config"]]))


def entries(layer: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return [(member, file.read() if (file := tar.extractfile(member)) else b"") for member in tar]


@pytest.fixture(scope="module", params=["mlfn", "docker", "podman"])
def image(
    request: pytest.FixtureRequest, builds: Any, iris: Path, tmp_path_factory: pytest.TempPathFactory
) -> Contents:
    """Build an image where secrets stand in every place that a build could read them from."""
    builder = request.param
    engine = {} if builder == "mlfn" else dict(request.getfixturevalue(builder).environment)
    archive = tmp_path_factory.mktemp(builder) / "image.tar"
    builds.ok(iris, "--name", "iris", "--builder", builder, "--output", archive, **engine, **secrets(builds.folder))
    return contents(archive)


def secrets(home: Path) -> dict[str, str]:
    """Plant secrets in the environment and in the files of the user who builds."""
    token = base64.b64encode(f"someone:{PLANTED}".encode()).decode()
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {"registry.example.com": {"auth": token}}}))
    (home / ".netrc").write_text(f"machine index.example.com login someone password {PLANTED}\n")
    (home / ".netrc").chmod(0o600)
    return {
        "AWS_SECRET_ACCESS_KEY": PLANTED,
        "GITHUB_TOKEN": PLANTED,
        "UV_INDEX_PRIVATE_PASSWORD": PLANTED,
        "MLFN_REGISTRY_PASSWORD": PLANTED,
    }


def test_nothing_is_writable_or_gains_rights(image: Contents) -> None:
    seen = 0
    for entry, _ in image.entries:
        seen += 1
        assert not entry.mode & 0o7000, f"{entry.name}: set-user, set-group or sticky bit: {entry.mode:o}"
        assert entry.issym() or not entry.mode & 0o022, f"{entry.name}: others may write it: {entry.mode:o}"
        assert (entry.uid, entry.gid) == (0, 0), f"{entry.name}: belongs to {entry.uid}:{entry.gid}"
        assert entry.isreg() or entry.isdir() or entry.issym(), f"{entry.name}: is no file, folder or link"
        assert entry.mode & 0o444 == 0o444, f"{entry.name}: not everybody may read it: {entry.mode:o}"
        assert not entry.isdir() or entry.mode & 0o111 == 0o111, f"{entry.name}: not everybody may enter it"
    assert seen > 500


def test_no_secret_is_in_it(image: Contents) -> None:
    forms = (PLANTED.encode(), base64.b64encode(f"someone:{PLANTED}".encode()))
    for secret in forms:
        assert not any(secret in document for document in image.documents)
        assert not [entry.name for entry, data in image.entries if secret in data]


def test_nothing_tells_of_the_machine_that_built_it(image: Contents, builds: Any, repository: Path) -> None:
    for place in (str(repository), str(builds.folder)):
        named = [entry.name for entry, data in image.entries if place.encode() in data or place in entry.name]
        assert not named, f"{place} stands in {named[:5]}"
        assert not any(place.encode() in document for document in image.documents)


def test_it_runs_as_nobody_without_a_shell(image: Contents) -> None:
    run = image.configuration["config"]
    assert run["User"] == "65532:65532"
    assert run["Entrypoint"][1:] == ["-m", "mlfn_runtime"]
    assert run["Entrypoint"][0].startswith("/")
    assert not run.get("Cmd")
    assert run["StopSignal"] == "SIGTERM"
    assert run["ExposedPorts"] == {"8080/tcp": {}}
    labels = run["Labels"]
    assert labels["dev.mlfn.model.digest"].startswith("sha256:")
    assert json.loads(labels["dev.mlfn.signature"])["inputs"][0]["name"] == "X"


def test_all_code_is_for_its_processor(image: Contents) -> None:
    libraries = [(entry.name, data) for entry, data in image.entries if data[:4] == b"\x7fELF"]
    assert len(libraries) > 10
    wanted = MACHINES[image.configuration["architecture"]]
    assert {int.from_bytes(data[18:20], "little") for _, data in libraries} == {wanted}


def test_every_module_has_byte_code(image: Contents) -> None:
    names = {entry.name for entry, _ in image.entries}
    sources = [name for name in names if name.startswith("opt/mlfn/") and name.endswith(".py")]
    without = []
    for name in sources:
        folder, _, file = name.rpartition("/")
        if f"{folder}/__pycache__/{file.removesuffix('.py')}.cpython-311.pyc" not in names:
            without.append(name)
    assert len(sources) > 100
    assert not without


def test_engines_take_the_tar(builds: Any, iris: Path, docker: Any, podman: Any, tmp_path: Path) -> None:
    told = builds.ok(iris, "--name", "taken", "--output", tmp_path / "image.tar")
    for engine in (docker, podman):
        loaded = engine.load(tmp_path / "image.tar")
        assert loaded == told["reference"]
        found = engine.inspect(loaded)
        assert found["Architecture"] == "amd64"
        assert f"sha256:{found['Id'].removeprefix('sha256:')}" == config_digest(tmp_path / "image.tar")


def config_digest(archive: Path) -> str:
    with tarfile.open(archive) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        name: str = json.load(file)[0]["Config"]
    return f"sha256:{name.rpartition('/')[2].removesuffix('.json')}"


def test_an_engine_pushes_what_runs(builds: Any, iris: Path, docker: Any, registry: str) -> None:
    environment = dict(docker.environment)
    told = builds.ok(iris, "--name", "pushed", "--builder", "docker", "-r", f"{registry}/engines", **environment)
    assert told["reference"].startswith(f"{registry}/engines/pushed@sha256:")
    assert [layer["kind"] for layer in told["layers"]] == ["base", "bytecode", "dependencies", "runtime", "model"]
    docker.run("rmi", f"{registry}/engines/pushed:{told['tag']}")
    docker.run("pull", told["reference"])
    again = builds.ok(iris, "--name", "pushed", "--builder", "docker", "-r", f"{registry}/engines", **environment)
    assert (again["changed"], again["digest"]) == (False, told["digest"])


def test_an_engine_that_is_not_there_is_told(builds: Any, iris: Path, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/none.sock"
    done = builds.run(iris, "--name", "iris", "--builder", "docker", "-o", "json", DOCKER_HOST=nowhere)
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert done.returncode == 8
    assert "daemon does not answer" in error["message"]
    assert "exit code 1" in error["details"]
    without = {"PATH": str(tmp_path)}
    done = builds.run(iris, "--name", "iris", "--builder", "podman", "-o", "json", **without)
    assert done.returncode == 8
    assert "podman is needed, and is not on PATH" in done.stderr


def test_a_build_that_fails_keeps_the_engines_words(builds: Any, iris: Path, docker: Any, registry: str) -> None:
    refused = f"{registry}/UPPER"
    done = builds.run(iris, "--name", "iris", "--builder", "docker", "-r", refused, "-o", "json", **docker.environment)
    assert done.returncode == 2
    gone = "127.0.0.1:1/nowhere"
    done = builds.run(iris, "--name", "iris", "--builder", "docker", "-r", gone, "-o", "json", **docker.environment)
    assert done.returncode == 10
