"""The layers above a base: dependencies, byte code of the base's library, function server, model.

Each of the first three is made once for its inputs and kept, compressed, in the cache. The model's is a plain tar made
while it is read: weights hardly compress (gzip: 5 to 8 % at 30 s per GB), and nothing of it is held or copied.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlfn.errors import BuildFailed, InvalidInput
from mlfn.function import ModelPackage
from mlfn.images import bytecode
from mlfn.images.base_python import missing_libraries
from mlfn.images.bytecode import Interpreter, UnpackedBase
from mlfn.images.cache import BuildCache, place
from mlfn.images.configuration import MODEL_FOLDER, SITE_FOLDER, MadeLayer, model_files
from mlfn.images.contents import OCI_LAYER_GZIP, BlobSource, Descriptor
from mlfn.images.elf import ElfFile, architecture_of, is_elf, without_debug_sections
from mlfn.images.layers import LayerFile, TarRecipe, write_gzip_layer
from mlfn.images.trimming import is_needed
from mlfn.images.wheels import WheelSources, WheelTarget, install_wheels

__all__ = ["LayerMaker", "builder_digest", "model_layer", "runtime_digest"]

OCI_LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
_DECIDING = ("bytecode", "configuration", "content_layers", "elf", "layers", "trimming")
_RUNTIME = ("mlfn_runtime", "mlfn_policies")
_LEFT_OUT = frozenset({"py.typed", "requirements.lock"})
_NEEDED_PACKAGES = ("onnxruntime", "numpy", "httptools", "uvloop", "orjson")
_WORTH_STRIPPING = 64 * 1024
"""Bytes: below it a library stays as its wheel has it."""


@dataclass(frozen=True, slots=True)
class LayerMaker:
    """Make layers for one unpacked base, or take them from the cache."""

    base: UnpackedBase
    interpreter: Interpreter | None
    cache: BuildCache
    epoch: int

    def dependencies(self, lock: Path, sources: WheelSources) -> MadeLayer:
        """Return the layer with the packages of a lock."""
        target = WheelTarget(self.base.architecture, self.base.python.version, self.base.python.glibc)
        key = self._key("dependencies", lock.read_bytes(), target.platform, target.python)

        def make(folder: Path) -> tuple[list[LayerFile], dict[str, Any]]:
            site = folder / "site"
            install_wheels(lock, target, sources, site)
            kept = sorted(path for path in _files(site) if is_needed(path))
            _check_complete(kept, lock)
            files = [_library(site / path, path, folder, self.base.architecture) for path in kept]
            _check_libraries(files, self.base)
            compiled = self._compiled(((site / path, path) for path in kept), folder)
            return [*files, *compiled], {"packages": _packages(site)}

        return self._made("dependencies", key, make)

    def runtime(self) -> MadeLayer:
        """Return the layer with the function server and the policies that it uses."""
        key = self._key("runtime", runtime_digest(), self.base.python.version)

        def make(folder: Path) -> tuple[list[LayerFile], dict[str, Any]]:
            sources = _runtime_files()
            files = [LayerFile(f"{SITE_FOLDER}/{path}", source) for path, source in sources.items()]
            return [*files, *self._compiled(((s, path) for path, s in sources.items()), folder)], {}

        return self._made("runtime", key, make)

    def bytecode(self, base_digest: str) -> MadeLayer | None:
        """Return the layer with byte code of the base's standard library, None where the base has it or none can be.

        Public slim images of Python carry none; it is a third of a cold start.
        """
        if self.base.python.has_bytecode or self.interpreter is None:
            return None
        key = self._key("bytecode", base_digest)

        def make(folder: Path) -> tuple[list[LayerFile], dict[str, Any]]:
            stdlib = Path(str(self.base.root) + self.base.python.stdlib)
            shown = self.base.python.stdlib.removeprefix("/")
            modules = bytecode.standard_modules(stdlib)
            return list(self._bytecode(((stdlib / m, f"{shown}/{m}") for m in modules), folder)), {}

        return self._made("bytecode", key, make)

    def _compiled(self, sources: Iterable[tuple[Path, str]], folder: Path) -> Iterator[LayerFile]:
        return self._bytecode(((source, f"{SITE_FOLDER}/{path}") for source, path in sources), folder)

    def _bytecode(self, sources: Iterable[tuple[Path, str]], folder: Path) -> Iterator[LayerFile]:
        """Yield the byte code of those sources that are Python and can be compiled."""
        if self.interpreter is None:
            return
        tag = f"cpython-{self.base.python.version.replace('.', '')}"
        jobs = []
        for source, path in sources:
            if path.endswith(".py"):
                parent, _, name = path.rpartition("/")
                compiled = f"{parent}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
                jobs.append((source, folder / "compiled" / compiled, f"/{path}", compiled))
        bytecode.compile_files(self.interpreter, [job[:3] for job in jobs])
        yield from (LayerFile(compiled, target) for _, target, _, compiled in jobs if target.is_file())

    def _key(self, *parts: object) -> str:
        patch = self.interpreter.patch if self.interpreter else "none"
        seen = hashlib.sha256()
        for part in (*parts, self.epoch, patch, builder_digest()):
            text = part if isinstance(part, bytes) else str(part).encode()
            seen.update(b"%d:%s" % (len(text), text))
        return seen.hexdigest()

    def _made(self, kind: str, key: str, make: Callable[[Path], tuple[list[LayerFile], dict[str, Any]]]) -> MadeLayer:
        known = self.cache.recall("layers", key)
        if known is not None and self.cache.blob(known["digest"]).is_file():
            return self._layer(kind, known)
        folder = Path(tempfile.mkdtemp(dir=self.cache.scratch()))
        try:
            files, facts = make(folder)
            with self.cache.new_file() as (file, temporary):
                written = write_gzip_layer(files, file, self.epoch)
                file.close()
                place(temporary, self.cache.blob(written.digest))
        except OSError as error:
            raise self.cache.unwritable(error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        record = {
            "digest": written.digest,
            "size": written.size,
            "diff_id": written.diff_id,
            "content_bytes": written.content_bytes,
            "facts": facts,
        }
        self.cache.remember("layers", key, record)
        return self._layer(kind, record)

    def _layer(self, kind: str, record: Mapping[str, Any]) -> MadeLayer:
        descriptor = Descriptor(OCI_LAYER_GZIP, record["digest"], record["size"])
        path = self.cache.blob(descriptor.digest)
        blob = BlobSource(descriptor, lambda: path.open("rb"))
        return MadeLayer(kind, blob, record["diff_id"], record["content_bytes"], record["facts"])


def model_layer(package: ModelPackage, cache: BuildCache, epoch: int) -> MadeLayer:
    """Return the layer with the model's files; its digest is kept for the next image of the same model."""
    stored = model_files(package)
    files = tuple(LayerFile(f"{MODEL_FOLDER}/{name}", path) for name, path in stored.items())
    recipe = TarRecipe(files, epoch)
    content = sum(file.size for file in files)
    listing = json.dumps([package.digest, list(stored), epoch, content])
    key = hashlib.sha256(listing.encode()).hexdigest()
    known = cache.recall("models", key)
    if known is None:
        digest, size = recipe.measure()
        known = {"digest": digest, "size": size}
        cache.remember("models", key, known)
    descriptor = Descriptor(OCI_LAYER_TAR, known["digest"], known["size"])
    return MadeLayer("model", BlobSource(descriptor, recipe.open), known["digest"], content, {})


def builder_digest() -> str:
    """Return a digest of the code that decides what layers hold: another mlfn may make another image."""
    seen = hashlib.sha256()
    for module in _DECIDING:
        seen.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return seen.hexdigest()


def runtime_digest() -> str:
    """Return a digest of the function server's files, which stands for its version while it is being worked on."""
    seen = hashlib.sha256()
    for path, source in _runtime_files().items():
        seen.update(f"{path}\0{hashlib.sha256(source.read_bytes()).hexdigest()}\n".encode())
    return seen.hexdigest()


def _runtime_files() -> dict[str, Path]:
    """Return the files of the packages that go into an image, by their path in PYTHONPATH."""
    from importlib.util import find_spec

    found = {}
    for package in _RUNTIME:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in _files(root):
            if "__pycache__" not in path and path.rpartition("/")[2] not in _LEFT_OUT and not path.endswith(".pyc"):
                found[f"{package}/{path}"] = root / path
    return dict(sorted(found.items()))


def _files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def _library(source: Path, path: str, folder: Path, architecture: str) -> LayerFile:
    """Return a file of a package; a library is checked for its processor and loses its debug sections."""
    target = f"{SITE_FOLDER}/{path}"
    with source.open("rb") as stream:
        head = stream.read(64)
    if not is_elf(head):
        return LayerFile(target, source)
    seen = architecture_of(head)
    if seen != architecture:
        raise BuildFailed(
            f"{path} is for {seen}, but the image is for {architecture}",
            hints=("the wheel is mislabelled: take another release of the package in --lock",),
        )
    content = source.read_bytes()
    stripped = without_debug_sections(content, worth_bytes=_WORTH_STRIPPING)
    if stripped is content:
        return LayerFile(target, source, executable=True)
    thin = folder / "stripped" / path
    thin.parent.mkdir(parents=True, exist_ok=True)
    thin.write_bytes(stripped)
    return LayerFile(target, thin, executable=True)


def _check_libraries(files: list[LayerFile], base: UnpackedBase) -> None:
    """Refuse a base that lacks a library which a package loads: it would be seen only in the first container."""
    needed: set[str] = set()
    for file in files:
        if file.executable and isinstance(file.content, Path):
            needed.update(ElfFile(file.content.read_bytes()).needed)
    needed -= {file.path.rpartition("/")[2] for file in files}
    missing = missing_libraries(base.root, frozenset(needed), base.architecture)
    if missing:
        raise InvalidInput(
            f"the base image lacks {', '.join(missing)}, which the packages of the image load",
            hints=("--base (MLFN_BASE_IMAGE) names another, such as docker.io/library/python:3.13-slim",),
        )


def _check_complete(paths: list[str], lock: Path) -> None:
    tops = {path.partition("/")[0] for path in paths}
    missing = [package for package in _NEEDED_PACKAGES if package not in tops]
    if missing:
        raise InvalidInput(
            f"{lock} does not pin {', '.join(missing)}, which every function needs",
            hints=("uv pip compile --universal --generate-hashes with onnxruntime numpy httptools uvloop orjson",),
        )


def _packages(site: Path) -> list[dict[str, str]]:
    """Return name, version and licence of what was installed, as the packages tell it."""
    from email.parser import HeaderParser

    found = []
    for metadata in sorted(site.glob("*.dist-info/METADATA")):
        heads = HeaderParser().parsestr(metadata.read_text(encoding="utf-8", errors="replace"), headersonly=True)
        licence = heads.get("License-Expression") or heads.get("License") or ""
        first = licence.strip().splitlines()[0] if licence.strip() else ""
        found.append({"name": heads.get("Name", ""), "version": heads.get("Version", ""), "licence": first[:100]})
    return found
