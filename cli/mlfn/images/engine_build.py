"""Build by docker or podman: hand what mlfn made to an engine, which puts it together, pushes it or writes it.

Called by build.py in place of the own way out. The engine keeps the image too, under the same name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlfn.errors import BuildFailed, InvalidInput
from mlfn.function import ImageRef
from mlfn.images.bases import BaseImage
from mlfn.images.engine_context import EngineContext, write_base, write_context
from mlfn.images.engines import Engine
from mlfn.images.request import Builder, BuildRequest, BuiltImage, Progress

__all__ = ["build_with_engine", "check_engine", "with_kinds"]

_KINDS = ("bytecode", "dependencies", "runtime", "model")
"""In the order of an image; the first is missing where the base has byte code."""
_OWN = "leave --builder out: mlfn builds for any architecture by itself"


def check_engine(request: BuildRequest) -> None:
    """Raise what forbids to build a request by its engine, before any work is done."""
    if len(request.architectures) != 1:
        raise InvalidInput(
            f"--builder {request.builder} makes an image for one architecture, got {','.join(request.architectures)}",
            hints=("leave --builder out: mlfn makes one image for all of them",),
        )
    if request.builder is Builder.DOCKER and request.output is not None and request.output.suffix != ".tar":
        raise InvalidInput(
            f"--builder docker writes a tar, got --output {request.output}",
            hints=(f"--output {request.output}.tar", "--builder mlfn and podman write the folder of an OCI layout too"),
        )
    Engine(request.builder).check()


def build_with_engine(context: EngineContext, ref: ImageRef, request: BuildRequest, progress: Progress) -> ImageRef:
    """Build an image and push it, or write it to ``request.output``; without registry and output the engine keeps it.

    Return its name with the digest that the registry gives it; of an image that is not pushed, the engine's own id.
    """
    engine = Engine(request.builder, plain_http=request.plain_http)
    name = ref.tagged.removeprefix("/")
    try:
        with tempfile.TemporaryDirectory(prefix="mlfn-build-") as folder:
            base = _base_name(engine, context.base, Path(folder))
            progress(f"building with {request.builder}")
            write_context(context, base, Path(folder))
            engine.build(Path(folder), name, request.architectures[0], base)
    except OSError as error:
        raise BuildFailed(
            f"the files for {request.builder} cannot be written: {error.strerror or error}",
            hints=("free some space, or set TMPDIR to a folder that has more",),
        ) from error
    identity = _identity(engine.inspect(name), request)
    if request.output is None and request.registry:
        progress(f"pushing {name} with {request.builder}")
        return replace(ref, digest=engine.push(name))
    if request.output is not None:
        engine.save(name, request.output)
    return replace(ref, digest=identity)


def with_kinds(image: BuiltImage, base: BaseImage) -> BuiltImage:
    """Say of each layer what it holds: an engine keeps their order, but not the note in the manifest."""
    count = len(base.layers)
    own = image.layers[count:]
    kinds = _KINDS[len(_KINDS) - len(own) :] if len(own) <= len(_KINDS) else ()
    named = tuple(replace(layer, kind=kind) for layer, kind in zip(own, kinds, strict=False))
    return replace(image, layers=(*image.layers[:count], *(named or own)))


def _base_name(engine: Engine, base: BaseImage, folder: Path) -> str:
    """Return the name under which the engine finds the base, which it is given if no registry has it."""
    places = [place for layer in base.layers for place in layer.mount_from]
    if places:
        # Of the one image, not of the index: an engine that has an image of the index takes it for any architecture.
        return f"{places[0]}@{base.digest}"
    ref = ImageRef("localhost", "mlfn/base", base.digest.removeprefix("sha256:")[:20], "")
    if engine.inspect(ref.tagged) is None:
        archive = folder / "base.tar"
        write_base(base, archive, ref)
        engine.load(archive)
        archive.unlink()
    return ref.tagged


def _identity(made: Mapping[str, Any] | None, request: BuildRequest) -> str:
    """Return the engine's id of an image, or refuse one that is for another processor."""
    seen = (made or {}).get("Architecture")
    if made is None or seen != request.architectures[0]:
        raise BuildFailed(
            f"{request.builder} made an image for {seen}, expected {request.architectures[0]}", hints=(_OWN,)
        )
    return f"sha256:{str(made['Id']).removeprefix('sha256:')}"
