"""What injecting failures takes: images that were tampered with, and a watch that says when the fact was there."""

from __future__ import annotations

import hashlib
import io
import json
import re
import statistics
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlfn.errors import MlfnError
from mlfn.function import FunctionSpec, ImageRef, ModelPackage
from mlfn.models import open_model
from mlfn.platforms import DeployRequest
from mlfn.platforms.knative import connect
from mlfn.platforms.kube.door import Selection
from mlfn.platforms.kube.door import connect as connect_cluster
from mlfn.platforms.kube.kinds import EVENT, POD, REVISION

REPOSITORY = Path(__file__).resolve().parents[3]
IRIS = REPOSITORY / "examples" / "iris"
MODEL = IRIS / "model.onnx"
MEDIAN_S = 5.0
"""Within which, in the median, a deploy says why it fails once the fact is there."""
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


class Sighting(threading.Thread):
    """Watch a namespace and note when words that tell of a fact are first seen in an object of a function."""

    def __init__(self, kubeconfig: str, namespace: str, name: str, sign: str) -> None:
        super().__init__(name=f"watch for {sign}", daemon=True)
        self._door = connect_cluster({"cluster.kubeconfig": kubeconfig, "cluster.namespace": namespace})
        self._name = name
        self._sign = re.compile(sign)
        self._ended = threading.Event()
        self.watching = threading.Event()
        self.seen_at: float | None = None

    def run(self) -> None:
        """Look until ended."""
        for sight in self._door.watch(Selection(POD), Selection(EVENT), Selection(REVISION), timeout_s=300):
            self.watching.set()
            own = [each for each in sight.objects if self._name in each["metadata"]["name"]]
            if self.seen_at is None and self._sign.search(json.dumps(own)):
                self.seen_at = time.monotonic()
            if self._ended.is_set():
                return

    def end(self, told_at: float) -> float:
        """Stop looking; return the time from the fact, 0 when it was told before this watch saw it."""
        self._ended.set()
        self.join(30)
        return max(0.0, told_at - self.seen_at) if self.seen_at is not None else 0.0


@dataclass
class Timings:
    """Collect how long after the fact each failure was told."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, case: str, took_s: float) -> None:
        """Note one."""
        self.seconds[case] = took_s


KEPT = pytest.StashKey[Timings]()


@pytest.fixture(scope="session")
def timings(request: pytest.FixtureRequest) -> Iterator[Timings]:
    """Give the collection; at the end its median is held to the target."""
    kept = request.config.stash[KEPT] = Timings()
    yield kept
    if kept.seconds:
        assert statistics.median(kept.seconds.values()) <= MEDIAN_S


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report how fast each failure was told."""
    kept = config.stash.get(KEPT, Timings()).seconds
    if kept:
        terminalreporter.section("a failed deploy says why")
        for case, seconds in sorted(kept.items(), key=lambda item: item[1]):
            terminalreporter.write_line(f"{seconds:6.2f} s after the fact: {case}")
        terminalreporter.write_line(f"median of {len(kept)}: {statistics.median(kept.values()):.2f} s")


@pytest.fixture(scope="session")
def iris() -> ModelPackage:
    """Give the model."""
    return open_model(MODEL)


@dataclass(frozen=True)
class Told:
    """Hold what a deploy said when it failed."""

    exit_code: int
    message: str
    hints: tuple[str, ...]
    seconds_after: float


@dataclass(frozen=True)
class Injection:
    """Deploy into one namespace what must fail."""

    cli: Any
    timings: Timings
    package: ModelPackage

    def command(self, case: str, *args: str, sign: str, fails: int = 7, **env: str) -> Told:
        """Deploy with the real command; ``sign`` is what an object shows when the fact is there."""
        name = _function_of(case)
        sighting = self._watch(name, sign)
        done: subprocess.CompletedProcess[str] = self.cli.run(
            "deploy", MODEL, "--name", name, "-o", "json", *args, timeout=150, **env
        )
        took = sighting.end(time.monotonic())
        self.timings.add(case, took)
        assert done.returncode == fails, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
        error = json.loads(done.stderr.strip().splitlines()[-1])["error"]
        return Told(done.returncode, error["message"], tuple(error["hints"]), took)

    def image(
        self, case: str, image: ImageRef, *, sign: str, wait_s: float = 120.0, timed: bool = True, **fields: Any
    ) -> Told:
        """Deploy an image that the command would never make, through the platform object that it uses.

        What only the time that was given ends is not ``timed``.
        """
        name = _function_of(case)
        sighting = self._watch(name, sign)
        request = DeployRequest(FunctionSpec(name, **fields), self.package, image, wait_timeout_s=wait_s)
        with pytest.raises(MlfnError) as failed:
            self.platform.deploy(request, progress=lambda stage: None)
        took = sighting.end(time.monotonic())
        if timed:
            self.timings.add(case, took)
        return Told(failed.value.exit_code, failed.value.message, failed.value.hints, took)

    @property
    def platform(self) -> Any:
        """Return the platform object that the command uses."""
        cluster = self.cli.cluster
        return connect(
            {
                "cluster.kubeconfig": cluster.kubeconfig,
                "cluster.namespace": self.cli.namespace,
                "cluster.ingress": cluster.ingress,
            }
        )

    def leaves_nothing(self, case: str) -> bool:
        """Return whether no Knative Service of a failed first deploy is left."""
        names = {each["metadata"]["name"] for each in self.cli.cluster.objects("ksvc", "-n", self.cli.namespace)}
        return _function_of(case) not in names

    def _watch(self, name: str, sign: str) -> Sighting:
        sighting = Sighting(self.cli.cluster.kubeconfig, self.cli.namespace, name, sign)
        sighting.start()
        assert sighting.watching.wait(60)
        return sighting


def _function_of(case: str) -> str:
    return f"f-{case}"[:40]


@pytest.fixture
def inject(cli: Any, timings: Timings, iris: ModelPackage) -> Injection:
    """Give the means to fail."""
    return Injection(cli, timings, iris)


class Images:
    """Make images in the registry from the one that mlfn built, changed where a failure needs it."""

    def __init__(self, reference: str) -> None:
        registry, _, rest = reference.partition("/")
        self.registry = registry
        self.repository, _, self.digest = rest.partition("@")
        self._http = httpx.Client(base_url=f"http://{registry}/v2/{self.repository}", timeout=60)
        accept = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}
        self.manifest = self._http.get(f"/manifests/{self.digest}", headers=accept).raise_for_status().json()
        if "manifests" in self.manifest:
            child = self.manifest["manifests"][0]["digest"]
            self.manifest = self._http.get(f"/manifests/{child}", headers=accept).raise_for_status().json()
        self.config = self._http.get(f"/blobs/{self.manifest['config']['digest']}", follow_redirects=True).json()

    def close(self) -> None:
        """Let the registry go."""
        self._http.close()

    @property
    def python(self) -> str:
        """Return the interpreter in the image."""
        return str(self.config["config"]["Entrypoint"][0])

    def ref(self, digest: str = "", *, registry: str = "", repository: str = "") -> ImageRef:
        """Return a reference, by default of the image that is well."""
        return ImageRef(registry or self.registry, repository or self.repository, "", digest or self.digest)

    def changed(self, *, files: dict[str, bytes] | None = None, **config: Any) -> ImageRef:
        """Push the image with another configuration (``Entrypoint``, ``User``) and with more files."""
        made = json.loads(json.dumps(self.config))
        made["config"].update(config)
        manifest = json.loads(json.dumps(self.manifest))
        if files:
            layer = _layer(files)
            manifest["layers"].append(self._blob(layer, "application/vnd.oci.image.layer.v1.tar"))
            made["rootfs"]["diff_ids"].append(_digest(layer))
            made.pop("history", None)
        manifest["config"] = self._blob(json.dumps(made).encode(), manifest["config"]["mediaType"])
        return self.ref(self._manifest(manifest, OCI_MANIFEST))

    def for_another(self, architecture: str) -> ImageRef:
        """Push an index that has the image for one architecture only, which it is not for."""
        content = json.dumps(self.manifest).encode()
        entry = {
            "mediaType": OCI_MANIFEST,
            "digest": self._manifest(self.manifest, OCI_MANIFEST),
            "size": len(content),
            "platform": {"os": "linux", "architecture": architecture},
        }
        return self.ref(self._manifest({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}, OCI_INDEX))

    def _blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        started = self._http.post("/blobs/uploads/").raise_for_status().headers["location"]
        digest = _digest(content)
        self._http.put(
            f"{started}{'&' if '?' in started else '?'}digest={digest}",
            content=content,
            headers={"content-type": "application/octet-stream"},
        ).raise_for_status()
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _manifest(self, manifest: dict[str, Any], media_type: str) -> str:
        content = json.dumps(manifest).encode()
        digest = _digest(content)
        self._http.put(f"/manifests/{digest}", content=content, headers={"content-type": media_type}).raise_for_status()
        return digest


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _layer(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def images(cli: Any) -> Iterator[Images]:
    """Give the image of iris, built and pushed by the real command, to be changed."""
    made = Images(cli.json("build", MODEL, "--name", "iris")["reference"])
    yield made
    made.close()


@pytest.fixture
def applied(cli: Any) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Return a function that applies an object to the namespace; it goes away after the test."""
    made: list[str] = []

    def apply(thing: dict[str, Any]) -> None:
        text = json.dumps(thing)
        cli.cluster.kubectl("-n", cli.namespace, "apply", "-f", "-", stdin=text)
        made.append(text)

    yield apply
    for text in reversed(made):
        cli.cluster.kubectl("-n", cli.namespace, "delete", "--ignore-not-found", "-f", "-", stdin=text)
