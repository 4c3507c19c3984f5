"""A base of this machine's Python, stub wheels, a real registry, and one call that builds with them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlfn.images import BuildRequest, BuiltImage, build
from mlfn.models import open_model

TESTS = Path(__file__).resolve().parent.parent
IRIS = TESTS.parent / "examples" / "iris" / "model.onnx"


@pytest.fixture(scope="session")
def parts(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """Return image_parts.py."""
    return load_script(Path(__file__).with_name("image_parts.py"))


@dataclass(frozen=True)
class Material:
    """Everything that a build of these tests needs, made once."""

    base: Path
    """A layout: this machine's own Python, and a stub for the other architecture."""
    wheels: Path
    lock: Path
    cache: Path


@pytest.fixture(scope="session")
def material(parts: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    bases = {parts.HERE: [parts.real_base()], parts.ELSEWHERE: [parts.stub_base(parts.ELSEWHERE)]}
    base = parts.write_layout(folder / "base", bases, {"PATH": "/usr/local/bin:/usr/bin", "LANG": "C.UTF-8"})
    wheels = parts.write_wheelhouse(folder / "wheels")
    return Material(base, wheels, parts.write_lock(wheels, folder / "lock.txt"), folder / "cache")


@pytest.fixture(autouse=True)
def _cache(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """Share what was made between tests, and with nobody else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(material.cache))
    for name in ("SOURCE_DATE_EPOCH", "MLFN_BASE_IMAGE", "MLFN_REGISTRY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def request_of(material: Material, parts: ModuleType) -> BuildRequest:
    """Return a request with stub wheels, for this machine's architecture; where it goes is for the test to say."""
    return BuildRequest(
        name="iris",
        architectures=(parts.HERE,),
        base=f"oci:{material.base}",
        lock=material.lock,
        wheel_dir=material.wheels,
    )


@pytest.fixture
def make() -> Callable[..., BuiltImage]:
    """Return a function that builds the iris model, or another, by a request with changes."""

    def made(request: BuildRequest, model: Path = IRIS, **changes: Any) -> BuiltImage:
        return build(open_model(model), replace(request, **changes), lambda stage: None)

    return made


@pytest.fixture(scope="session")
def registry(load_script: Callable[[Path], ModuleType], lasting_port: Callable[[], int]) -> Iterator[Any]:
    """Return a running registry that asks nobody for a name."""
    running = load_script(TESTS / "registry" / "running_registry.py")
    if running.program() is None:
        pytest.skip("the tests need a real registry: apt-get install docker-registry")
    folder = Path(tempfile.mkdtemp(prefix="mlfn-images-"))
    started = running.RunningRegistry(folder, lasting_port()).start()
    yield started
    started.stop()
    shutil.rmtree(folder)


class Written:
    """Read an image out of a layout or a registry's folder."""

    def __init__(self, blob: Callable[[str], bytes], digest: str) -> None:
        import json

        self._json, self.blob = json.loads, blob
        self.root = self._json(blob(digest))

    def manifest(self, architecture: str = "") -> Any:
        if "manifests" not in self.root:
            return self.root
        (entry,) = [each for each in self.root["manifests"] if each["platform"]["architecture"] == architecture]
        return self._json(self.blob(entry["digest"]))

    def config(self, architecture: str = "") -> Any:
        return self._json(self.blob(self.manifest(architecture)["config"]["digest"]))

    def files(self, kind: str, architecture: str = "") -> dict[str, bytes]:
        """Return the files of one layer."""
        import io
        import tarfile

        (layer,) = [
            each
            for each in self.manifest(architecture)["layers"]
            if each.get("annotations", {}).get("dev.mlfn.layer") == kind
        ]
        found = {}
        with tarfile.open(fileobj=io.BytesIO(self.blob(layer["digest"]))) as archive:
            for member in archive:
                if member.isreg():
                    content = archive.extractfile(member)
                    assert content is not None
                    found[member.name] = content.read()
        return found


@pytest.fixture
def read_layout() -> Callable[[Path], Written]:
    """Return a function that reads a written layout."""
    import json

    def read(folder: Path) -> Written:
        index = json.loads((folder / "index.json").read_text())
        return Written(
            lambda digest: (folder / "blobs" / digest.replace(":", "/")).read_bytes(), index["manifests"][0]["digest"]
        )

    return read
