"""Values that are planted where secrets live are found nowhere else: arguments, objects, images, logs, output."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
IRIS = REPOSITORY / "examples" / "iris"
KINDS = "ksvc,configurations,revisions,routes,deployments,replicasets,pods,services,events,configmaps,podautoscalers"


class Arguments(threading.Thread):
    """Read the arguments of all processes of this machine, again and again, and keep those with a planted value."""

    def __init__(self, planted: list[str]) -> None:
        super().__init__(daemon=True)
        self._planted = [each.encode() for each in planted]
        self._ended = threading.Event()
        self.looks = 0
        self.found: set[bytes] = set()

    def run(self) -> None:
        """Look until ended; a process that lives less than a tenth of a second may be missed."""
        while not self._ended.wait(0.1):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                self.found |= {line} if any(each in line for each in self._planted) else set()

    def end(self) -> None:
        """Stop."""
        self._ended.set()
        self.join(30)


@contextmanager
def _watched(planted: list[str]) -> Iterator[Arguments]:
    watching = Arguments(planted)
    watching.start()
    yield watching
    watching.end()


@pytest.fixture
def planted(cli: Any, applied: Any, tmp_path: Path) -> dict[str, str]:
    """Plant a value in each place where a secret lives, and name the places."""
    values = {place: f"planted-{place}-{uuid.uuid4().hex}" for place in ("cluster", "registry", "shell", "header")}
    applied(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "store"},
            "stringData": {"token": values["cluster"]},
        }
    )
    (cli.home / ".docker").mkdir(exist_ok=True)
    login = {"username": "user", "password": values["registry"]}
    (cli.home / ".docker/config.json").write_text(json.dumps({"auths": {cli.cluster.registry: login}}))
    return values


def test_planted_values_stay_where_they_were_planted(cli: Any, planted: dict[str, str], images: Any) -> None:
    secrets = {**planted, "kubeconfig": _client_key(cli.cluster.kubeconfig)}
    said = []
    with _watched(list(secrets.values())) as arguments:
        for command in (
            ("--debug", "deploy", IRIS / "model.onnx", "--name", "secretive", "--secret-env", "TOKEN=store/token"),
            ("describe", "secretive", "-o", "json"),
            ("invoke", "secretive", "--data", f"@{IRIS / 'request.json'}"),
            ("logs", "secretive"),
            ("manifest", IRIS / "model.onnx", "--name", "secretive", "--secret-env", "TOKEN=store/token"),
            ("--debug", "deploy", IRIS / "model.onnx", "--name", "secretive", "--env", "HOST=203.0.113.9",
             "--secret-env", "TOKEN=store/token"),
        ):  # fmt: skip
            done = cli.run(*command, AWS_SECRET_ACCESS_KEY=secrets["shell"])
            said.append(f"{command}\n{done.stdout}{done.stderr}")
    found = {
        "arguments": b"\n".join(arguments.found).decode(errors="replace"),
        "output": "\n".join(said),
        "objects": cli.cluster.kubectl("-n", cli.namespace, "get", KINDS, "-o", "json"),
        "logs": "\n".join(_logs(cli)),
        "image": _image(cli),
        "home": "\n".join(_kept(cli.home)),
    }
    assert arguments.looks > 20
    assert "secretive-00001" in found["objects"]
    assert "listening" in found["logs"]
    assert "dev.mlfn.model.digest" in found["image"]
    leaks = [(place, where) for place, value in secrets.items() for where, text in found.items() if value in text]
    assert leaks == []
    assert _in_the_instance(cli, images.python, "TOKEN") == secrets["cluster"]
    cli.ok("delete", "secretive", "--yes")


def _client_key(kubeconfig: str) -> str:
    user = yaml.safe_load(Path(kubeconfig).read_text())["users"][0]["user"]
    return str(user.get("token") or user["client-key-data"])


def _logs(cli: Any) -> Iterator[str]:
    for pod in cli.cluster.objects("pods", "-n", cli.namespace):
        yield cli.cluster.kubectl("-n", cli.namespace, "logs", pod["metadata"]["name"], "--all-containers", check=False)


def _image(cli: Any) -> str:
    """Return all that is in the image above its base: manifest, configuration, and every file as text."""
    built = cli.json("build", IRIS / "model.onnx", "--name", "secretive")
    registry, _, rest = built["reference"].partition("/")
    repository, _, digest = rest.partition("@")
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    with httpx.Client(base_url=f"http://{registry}/v2/{repository}", timeout=120, follow_redirects=True) as http:
        manifest = http.get(f"/manifests/{digest}", headers=accept).raise_for_status().json()
        texts = [json.dumps(manifest), http.get(f"/blobs/{manifest['config']['digest']}").text]
        for layer in manifest["layers"][1:]:
            content = http.get(f"/blobs/{layer['digest']}").raise_for_status().content
            texts.extend(_files(content))
    return "\n".join(texts)


def _files(layer: bytes) -> Iterator[str]:
    content = gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for entry in tar:
            if entry.isfile() and entry.size < 1 << 20 and (opened := tar.extractfile(entry)) is not None:
                yield opened.read().decode(errors="replace")


def _kept(home: Path) -> Iterator[str]:
    """Return what mlfn keeps in the user's home, but for the login that was planted there."""
    for path in home.rglob("*"):
        if path.is_file() and ".docker" not in path.parts and path.stat().st_size < 1 << 20:
            yield path.read_text(errors="replace")


def _in_the_instance(cli: Any, python: str, name: str) -> str:
    """Return a variable of the server, as its process has it: the control that the value did arrive."""
    found = cli.cluster.objects("pods", "-n", cli.namespace, "-l", "app.kubernetes.io/name=secretive")
    ready = [each for each in found if all(status["ready"] for status in each["status"]["containerStatuses"])]
    told = cli.cluster.kubectl(
        "-n", cli.namespace, "exec", ready[0]["metadata"]["name"], "-c", "function", "--",
        python, "-c", f"import os; print(os.environ[{name!r}])",
    )  # fmt: skip
    return str(told.strip())
