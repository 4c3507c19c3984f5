"""The base image: from a reference or a layout to one image for each architecture, its layers still where they are.

A blob of the base is fetched only when somebody reads it, and kept in the cache under its digest. Documents are checked
against the digest that names them.
"""

from __future__ import annotations

import functools
import io
import json
import platform
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mlfn.errors import InvalidInput
from mlfn.images.cache import BuildCache
from mlfn.images.contents import INDEX_TYPES, OCI_LAYER_GZIP, BlobSource, Descriptor, ImagePlatform, digest_of
from mlfn.images.layout_reading import Layout, layout_path

__all__ = ["BaseImage", "BaseSource", "LayoutSource", "find_bases", "layout_source", "this_machine"]

MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_LAYER_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": OCI_LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
"""Docker's names of the same bytes: a manifest keeps to one vocabulary."""


class BaseSource(Protocol):
    """Where the documents and blobs of a base are."""

    @property
    def mount_from(self) -> tuple[str, ...]:
        """Return ``registry/repository`` where there is one."""
        ...

    def root(self, cache: BuildCache) -> tuple[bytes, str]:
        """Return the manifest or index that the base's name stands for, and its type."""
        ...

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return a manifest."""
        ...

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob for reading."""
        ...


@dataclass(frozen=True, slots=True)
class BaseImage:
    """Hold the base for one architecture."""

    platform: ImagePlatform
    digest: str
    """Digest of its manifest, which stands for all of it."""
    config: Mapping[str, Any]
    """Its configuration document."""
    layers: tuple[BlobSource, ...]

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that it sets."""
        pairs = (str(pair).partition("=") for pair in (self.config.get("config") or {}).get("Env") or ())
        return {name: value for name, _, value in pairs}

    @property
    def history(self) -> list[Any]:
        """Return what its configuration tells of how it was made."""
        return list(self.config.get("history") or ())

    @property
    def diff_ids(self) -> list[str]:
        """Return the names of its layers in its configuration."""
        return [str(each) for each in (self.config.get("rootfs") or {}).get("diff_ids") or ()]


class LayoutSource:
    """Read a base from an OCI layout."""

    mount_from: tuple[str, ...] = ()

    def __init__(self, path: Path, name: str) -> None:
        self._layout = Layout(path)
        self._name = name

    def root(self, cache: BuildCache) -> tuple[bytes, str]:
        """Return what the layout's index names."""
        return self._layout.root(self._name)

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return a small blob."""
        return self._layout.read(descriptor.digest)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob."""
        return self._layout.open(descriptor.digest)


def layout_source(base: str) -> LayoutSource | None:
    """Return the source of a base that is a layout, None for a reference."""
    found = layout_path(base)
    return LayoutSource(*found) if found else None


def find_bases(
    base: str, source: BaseSource, cache: BuildCache, architectures: Collection[str]
) -> dict[str, BaseImage]:
    """Return the base's image for each of ``architectures``, and for this machine's if it has one; reads no layer.

    The last is what can be run here, for byte code.
    """
    document, media_type = source.root(cache)
    found: dict[str, BaseImage] = {}
    offered: list[str] = []
    if media_type in INDEX_TYPES:
        for entry in _entries(base, document):
            name = _architecture(entry)
            if name in {*architectures, this_machine()} - found.keys():
                manifest = _kept(cache, entry, functools.partial(source.manifest, entry))
                found[name] = _image(base, source, cache, manifest, entry.platform)
            offered += [name] if name else []
    else:
        image = _image(base, source, cache, document)
        found[image.platform.architecture] = image
        offered.append(image.platform.architecture)
    missing = [each for each in architectures if each not in found]
    if missing:
        known = ", ".join(sorted(offered)) or "nothing"
        raise InvalidInput(
            f"the base image {base} is not for {', '.join(missing)}; it is for {known}",
            hints=("--arch names other architectures", "--base (MLFN_BASE_IMAGE) names another image"),
        )
    return found


def this_machine() -> str:
    """Return this machine's architecture in the words of images, "" where it runs no programs for Linux."""
    return MACHINES.get(platform.machine().lower(), "") if sys.platform == "linux" else ""


def _architecture(entry: Descriptor) -> str:
    """Return for which architecture an entry is; "" for what no machine of ours runs, such as attestations."""
    asked = entry.platform
    return asked.architecture if asked and asked.os == "linux" and asked.variant in ("", "v8") else ""


def _image(
    base: str, source: BaseSource, cache: BuildCache, manifest: bytes, listed: ImagePlatform | None = None
) -> BaseImage:
    try:
        document = json.loads(manifest)
        named = Descriptor.from_json(document["config"])
        config = json.loads(cache.keep(named.digest, lambda: source.open(named)).read_bytes())
        layers = [Descriptor.from_json(layer) for layer in document["layers"]]
        stated = ImagePlatform.from_json(config)
        image = BaseImage(
            platform=listed or stated,
            digest=digest_of(manifest),
            config=config,
            layers=tuple(_layer(source, cache, layer) for layer in layers),
        )
        complete = len(image.diff_ids) == len(layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _malformed(base, str(error)) from error
    if not complete:
        raise _malformed(base, f"{len(layers)} layers, but {len(image.diff_ids)} diff_ids")
    if stated.architecture != image.platform.architecture:
        raise _malformed(base, f"listed for {image.platform.architecture}, but built for {stated.architecture}")
    return image


def _entries(base: str, index: bytes) -> list[Descriptor]:
    try:
        return [Descriptor.from_json(entry) for entry in json.loads(index)["manifests"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _malformed(base, str(error)) from error


def _kept(cache: BuildCache, descriptor: Descriptor, fetch: Callable[[], bytes]) -> bytes:
    """Return a document out of the cache, where it is put on first sight."""
    return cache.keep(descriptor.digest, lambda: io.BytesIO(fetch())).read_bytes()


def _layer(source: BaseSource, cache: BuildCache, found: Descriptor) -> BlobSource:
    media_type = _LAYER_TYPES.get(found.media_type, found.media_type)
    descriptor = Descriptor(media_type, found.digest, found.size)

    def opened() -> BinaryIO:
        return cache.keep(found.digest, lambda: source.open(found)).open("rb")

    return BlobSource(descriptor, opened, source.mount_from)


def _malformed(base: str, reason: str) -> InvalidInput:
    return InvalidInput(f"the base image {base} is damaged: {reason}")
