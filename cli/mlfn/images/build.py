"""From a model to an image, without a daemon: look whether it is there, make what is missing, send it or write it.

The one entry to building, for deliveries and for `mlfn build`; the request says which tool builds. Nothing of a model
is run here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mlfn.errors import InvalidInput
from mlfn.function import Finding, ImageRef, ModelPackage
from mlfn.images.request import Builder, BuildRequest, BuiltImage, Progress

if TYPE_CHECKING:
    from mlfn.images.assembled import Assembled
    from mlfn.images.assembly import PreparedBase
    from mlfn.images.bases import BaseImage
    from mlfn.images.cache import BuildCache
    from mlfn.images.configuration import Ingredients
    from mlfn.images.registries import Registries

__all__ = ["build", "destination"]

WITHOUT_BYTECODE = "-plain"
"""Ends the tag of an image without byte code, so that a machine that can compile makes a better one."""


def build(package: ModelPackage, request: BuildRequest, progress: Progress) -> BuiltImage:
    """Make the image of a function; push it, or write it to ``request.output``.

    When the registry has the image of the very same inputs, nothing is made and nothing is sent.
    """
    from mlfn.images.assembled import total_bytes
    from mlfn.images.bases import find_bases
    from mlfn.images.cache import BuildCache
    from mlfn.images.registries import Registries

    _check(request)
    clock, cache, ref = _Clock(progress), BuildCache.of_user(), destination(request)
    with Registries(request) as registries:
        with clock.stage("base", "looking up the base image"):
            found = find_bases(request.base, registries.base_source(), cache, request.architectures)
            bases = [found[architecture] for architecture in request.architectures]
        made_of = _ingredients(package, request)
        ref = replace(ref, tag=_tag(made_of, bases))
        if known := _present(request, registries, ref, cache, bases):
            return _unchanged(known, clock)
        with clock.stage("python", "reading the base's Python"):
            prepared = [_prepared(base, found, cache) for base in bases]
        if any(base.interpreter is None for base in prepared):
            ref = replace(ref, tag=ref.tag + WITHOUT_BYTECODE)
            if known := _present(request, registries, ref, cache, bases):
                return _unchanged(known, clock, _findings(prepared))
        with clock.stage("layers", "making the layers"):
            from mlfn.images.assembly import assemble

            made = assemble(made_of, prepared, cache, progress)
        if request.builder is not Builder.MLFN:
            with clock.stage("engine", f"handing over to {request.builder}"):
                ref = _by_engine(request, ref, made, bases[0], progress)
            kept = BuiltImage(ref, total_bytes(made.layers), made.layers, {}, pushed=False, output=request.output)
            # What was pushed is told as the engine wrote it.
            told = _present(request, registries, ref, cache, bases) or kept
            return replace(told, seconds=clock.seconds(), findings=_findings(prepared), changed=True)
        ref = replace(ref, digest=made.content.digest)
        with clock.stage("push" if request.output is None else "write", f"sending {ref.tagged}"):
            sent = registries.push(ref, made, progress) if request.output is None else _written(request, ref, made)
    return BuiltImage(
        ref,
        total_bytes(made.layers),
        made.layers,
        clock.seconds(),
        _findings(prepared),
        pushed_bytes=sent,
        pushed=_is_pushed(request),
        output=request.output,
    )


def destination(request: BuildRequest) -> ImageRef:
    """Return where the image belongs, still without tag and digest."""
    from mlfn.images.references import parse_destination

    if request.registry:
        return parse_destination(request.registry, request.name)
    if request.output is None and request.builder is Builder.MLFN:
        raise InvalidInput(
            "no registry given: an image is pushed to one, and none is assumed",
            hints=(
                "-r REGISTRY[/REPOSITORY] (MLFN_REGISTRY), such as -r registry.example.com/team",
                "--output FILE.tar or --output FOLDER writes the image instead",
            ),
        )
    return ImageRef("localhost", request.name, "", "")


def _check(request: BuildRequest) -> None:
    for option, path in (("--lock", request.lock), ("--wheel-dir", request.wheel_dir), ("--ca-file", request.ca_file)):
        if path is not None and not path.exists():
            raise InvalidInput(f"{option}: {path} does not exist")
    if len(set(request.architectures)) != len(request.architectures) or not request.architectures:
        raise InvalidInput(f"--arch: expected each architecture once, got {','.join(request.architectures) or 'none'}")
    if request.builder is not Builder.MLFN:
        from mlfn.images.engine_build import check_engine

        check_engine(request)


def _is_pushed(request: BuildRequest) -> bool:
    """Tell whether the image goes to a registry: not to a file, and not only into an engine's store."""
    return request.output is None and bool(request.registry)


def _present(
    request: BuildRequest, registries: Registries, ref: ImageRef, cache: BuildCache, bases: Sequence[BaseImage]
) -> BuiltImage | None:
    """Return what the registry has under a tag."""
    known = registries.present(ref, cache) if _is_pushed(request) else None
    if known is None or request.builder is Builder.MLFN:
        return known
    from mlfn.images.engine_build import with_kinds

    return with_kinds(known, bases[0])


def _ingredients(package: ModelPackage, request: BuildRequest) -> Ingredients:
    import hashlib

    from mlfn.images.configuration import Ingredients
    from mlfn.images.content_layers import builder_digest, runtime_digest
    from mlfn.images.wheels import runtime_lock

    lock = (request.lock or runtime_lock()).read_bytes()
    code = {"lock": hashlib.sha256(lock).hexdigest(), "runtime": runtime_digest(), "builder": builder_digest()}
    return Ingredients(package, request, code)


def _tag(made_of: Ingredients, bases: Sequence[BaseImage]) -> str:
    from mlfn.images.configuration import content_tag

    tag = content_tag(made_of, [base.digest for base in bases])
    builder = made_of.request.builder
    # The same files, yet not the same bytes as the own builder's.
    return tag if builder is Builder.MLFN else f"{tag}-{builder}"


def _prepared(base: BaseImage, found: dict[str, BaseImage], cache: BuildCache) -> PreparedBase:
    from mlfn.images.assembly import PreparedBase
    from mlfn.images.unpacked_bases import interpreter_for, unpacked

    ready = unpacked(base, cache)
    return PreparedBase(base, ready, interpreter_for(ready, found, cache))


def _findings(bases: Sequence[PreparedBase]) -> tuple[Finding, ...]:
    from mlfn.images.assembly import findings_of

    return findings_of(bases)


def _written(request: BuildRequest, ref: ImageRef, made: Assembled) -> int:
    from mlfn.images.layout_writing import write_archive, write_layout
    from mlfn.images.referrers import attachment_content
    from mlfn.images.sbom import attachment

    assert request.output is not None
    if request.output.suffix == ".tar":
        write_archive(request.output, made.content, ref, request.epoch)
    else:
        attached = [attachment_content(subject, attachment(about)) for subject, about in made.materials]
        write_layout(request.output, made.content, attached, ref)
    return 0


def _by_engine(request: BuildRequest, ref: ImageRef, made: Assembled, base: BaseImage, progress: Progress) -> ImageRef:
    from mlfn.images.engine_build import build_with_engine
    from mlfn.images.engine_context import EngineContext

    kinds = {layer.digest: layer.kind for layer in made.layers}
    return build_with_engine(EngineContext(made.content, base, kinds, request.builder), ref, request, progress)


def _unchanged(known: BuiltImage, clock: _Clock, findings: tuple[Finding, ...] = ()) -> BuiltImage:
    return replace(known, seconds=clock.seconds(), findings=findings)


class _Clock:
    """Measure stages, and tell each when it begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, words: str) -> Iterator[None]:
        self._progress(words)
        began = time.perf_counter()
        yield
        self._stages[name] = time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        return {**self._stages, "total": time.perf_counter() - self._began}
