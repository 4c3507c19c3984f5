"""The registries of one build: where the base comes from and where the image goes, each connected when it is needed."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import BinaryIO

from mlfn.errors import NotFound, Unreachable
from mlfn.function import ImageRef
from mlfn.images.assembled import Assembled, built_layers, total_bytes
from mlfn.images.bases import BaseSource, layout_source
from mlfn.images.cache import BuildCache
from mlfn.images.contents import INDEX_TYPES, Descriptor
from mlfn.images.references import parse_reference
from mlfn.images.registry import Registry, RegistrySettings, connect
from mlfn.images.request import BuildRequest, BuiltImage, BuiltLayer, Progress
from mlfn.images.sbom import Materials, attachment

__all__ = ["Registries"]


class Registries:
    """Open the doors that one request needs, and close them all at its end."""

    def __init__(self, request: BuildRequest) -> None:
        self._request = request
        self._open: dict[str, Registry] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Registries:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def base_source(self) -> BaseSource:
        """Return where the base is read: a layout on this disk, or a repository."""
        base = self._request.base
        found = layout_source(base)
        if found is not None:
            return found
        ref = parse_reference(base)
        return _RepositorySource(self._to(ref.registry), ref)

    def present(self, ref: ImageRef, cache: BuildCache) -> BuiltImage | None:
        """Return what the registry has under a tag, told as a build that changed nothing; None where it has nothing."""
        registry = self._to(ref.registry)
        there = registry.resolve(ref)
        if there is None:
            return None
        layers = tuple(_layers_of(registry, ref, there, cache, self._request.architectures[0]))
        pinned = ImageRef(ref.registry, ref.repository, ref.tag, there.digest)
        return BuiltImage(pinned, total_bytes(layers), layers, {}, changed=False)

    def push(self, ref: ImageRef, made: Assembled, progress: Progress) -> int:
        """Send an image and what is attached to it; return the bytes of its blobs that were sent."""
        registry = self._to(ref.registry)
        # Connections of their own: what fails on one side must not call off, and hide, the other.
        with self._new(ref.registry) as beside, ThreadPoolExecutor(thread_name_prefix="mlfn-attach") as pool:
            attaching = [pool.submit(_attach, beside, ref, subject, about) for subject, about in made.materials]
            pushed = registry.push(made.content, replace(ref, tag=""), progress)
            for each in attaching:
                each.result()
        registry.push(made.content, ref)  # the name comes last: whoever finds the tag finds all of it
        return pushed.sent_bytes

    def _to(self, host: str) -> Registry:
        if host not in self._open:
            self._open[host] = self._stack.enter_context(self._new(host))
        return self._open[host]

    def _new(self, host: str) -> Registry:
        asked = self._request
        settings = RegistrySettings(plain_http=asked.plain_http, ca_file=str(asked.ca_file or ""))
        return connect(host, settings, environ=os.environ)


class _RepositorySource:
    """Read a base from a repository."""

    def __init__(self, registry: Registry, ref: ImageRef) -> None:
        self._registry = registry
        self._ref = ref

    @property
    def mount_from(self) -> tuple[str, ...]:
        return (self._ref.name,)

    def root(self, cache: BuildCache) -> tuple[bytes, str]:
        """Ask what the tag means now; the document itself comes out of the cache if it is the one of the last time."""
        named = self._ref.pinned if self._ref.digest else self._ref.tagged
        try:
            found = self._registry.resolve(self._ref)
        except Unreachable as error:
            hints = (*error.hints, "--base (MLFN_BASE_IMAGE) names another base, such as oci:FOLDER on this disk")
            raise Unreachable(f"the base image {named} cannot be read: {error.message}", hints=hints) from error
        if found is None:
            raise NotFound(
                f"the base image {named} does not exist",
                hints=("--base (MLFN_BASE_IMAGE) names another",),
            )
        kept = cache.blob(found.digest)
        if kept.is_file():
            return kept.read_bytes(), found.media_type
        exact, document = self._registry.manifest(_pinned(self._ref, found.digest))
        cache.keep_bytes(document)
        return document, exact.media_type

    def manifest(self, descriptor: Descriptor) -> bytes:
        return self._registry.manifest(_pinned(self._ref, descriptor.digest))[1]

    def open(self, descriptor: Descriptor) -> BinaryIO:
        return self._registry.open_blob(self._ref.repository, descriptor)


def _layers_of(
    registry: Registry, ref: ImageRef, there: Descriptor, cache: BuildCache, architecture: str
) -> list[BuiltLayer]:
    """Return the layers of an image that is there."""

    def document(digest: str) -> bytes:
        kept = cache.blob(digest)
        if not kept.is_file():
            cache.keep_bytes(registry.manifest(_pinned(ref, digest))[1])
        return kept.read_bytes()

    root = document(there.digest)
    if there.media_type not in INDEX_TYPES:
        return built_layers(root, architecture)
    children = [Descriptor.from_json(each) for each in json.loads(root)["manifests"]]
    return [
        layer
        for child in children
        for layer in built_layers(document(child.digest), child.platform.architecture if child.platform else "")
    ]


def _attach(registry: Registry, ref: ImageRef, subject: Descriptor, about: Materials) -> None:
    registry.attach(ref.repository, subject, attachment(about))


def _pinned(ref: ImageRef, digest: str) -> ImageRef:
    return ImageRef(ref.registry, ref.repository, "", digest)
