"""The values that images are made of: descriptors, sources of blobs, and whole images with their children.

Builders make them, the registry door and the layout writer send them on. A blob is never held: a ``BlobSource`` says
how to read it, as often as somebody asks. This module knows neither registries nor builders.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

__all__ = [
    "DOCKER_INDEX",
    "DOCKER_MANIFEST",
    "EMPTY_CONFIG",
    "INDEX_TYPES",
    "MANIFEST_TYPES",
    "OCI_CONFIG",
    "OCI_INDEX",
    "OCI_LAYER_GZIP",
    "OCI_MANIFEST",
    "BlobSource",
    "Descriptor",
    "ImageContent",
    "ImagePlatform",
    "digest_of",
]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST}) | INDEX_TYPES


def digest_of(content: bytes) -> str:
    """Return the digest of bytes as registries write it: ``sha256:`` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class ImagePlatform:
    """Say which machines an image runs on, in the words of the OCI image index."""

    architecture: str
    """``amd64``, ``arm64`` …"""
    os: str = "linux"
    variant: str = ""
    """Such as ``v8`` of arm64; "" = none."""

    def as_json(self) -> dict[str, str]:
        """Return the ``platform`` object of an index entry."""
        platform = {"architecture": self.architecture, "os": self.os}
        return platform | {"variant": self.variant} if self.variant else platform

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ImagePlatform:
        """Read the ``platform`` object of an index entry."""
        return cls(
            str(document.get("architecture", "")), str(document.get("os", "")), str(document.get("variant") or "")
        )


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Name some bytes by their type, digest and size (an OCI descriptor)."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: ImagePlatform | None = None
    """Set in the entries of an index."""
    artifact_type: str = ""
    """What an attached document is, such as ``application/vnd.cyclonedx+json``."""

    def as_json(self) -> dict[str, Any]:
        """Return the descriptor as it stands in a manifest."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(sorted(self.annotations.items()))
        if self.platform is not None:
            document["platform"] = self.platform.as_json()
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Descriptor:
        """Read a descriptor from a manifest; a missing or misshapen field raises KeyError, TypeError or ValueError."""
        platform = document.get("platform")
        return cls(
            media_type=str(document["mediaType"]),
            digest=str(document["digest"]),
            size=int(document["size"]),
            annotations={str(k): str(v) for k, v in (document.get("annotations") or {}).items()},
            platform=ImagePlatform.from_json(platform) if platform else None,
            artifact_type=str(document.get("artifactType", "")),
        )


@dataclass(frozen=True, slots=True)
class BlobSource:
    """Say what a blob is and how to read it, from its start and as often as asked.

    ``open`` gives a new binary stream, which the reader closes. A push that is cut off continues in the middle: a
    stream that can seek is sought, any other is read and thrown away up to there.
    """

    descriptor: Descriptor
    open: Callable[[], BinaryIO]
    mount_from: tuple[str, ...] = ()
    """``registry/repository`` names that hold the blob already: on the same registry it is mounted, not sent."""

    @classmethod
    def of_bytes(cls, content: bytes, media_type: str) -> BlobSource:
        """Make a source of bytes that are already in memory, such as an image's configuration."""
        return cls(Descriptor(media_type, digest_of(content), len(content)), lambda: io.BytesIO(content))

    @classmethod
    def of_file(cls, path: Path, media_type: str, digest: str = "") -> BlobSource:
        """Make a source of a file, which is read through once for its digest unless the caller knows it."""
        if not digest:
            with path.open("rb") as stream:
                digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(Descriptor(media_type, digest, path.stat().st_size), lambda: path.open("rb"))


@dataclass(frozen=True, slots=True)
class ImageContent:
    """Hold an image for sending: its manifest as bytes, the blobs it names, and for an index its children.

    The bytes are sent as they are, so that the digest is the same wherever the image goes.
    """

    manifest: bytes
    media_type: str
    blobs: tuple[BlobSource, ...] = ()
    children: tuple[ImageContent, ...] = ()
    platform: ImagePlatform | None = None
    """What the index says about this child."""

    @property
    def digest(self) -> str:
        """Return the digest that names the image."""
        return digest_of(self.manifest)

    @property
    def descriptor(self) -> Descriptor:
        """Return the descriptor under which an index or a layout lists the image."""
        return Descriptor(self.media_type, self.digest, len(self.manifest), platform=self.platform)

    def all_blobs(self) -> Iterator[BlobSource]:
        """Yield every blob of the image and its children once, in the order of the manifests."""
        seen: set[str] = set()
        for source in (*self.blobs, *(blob for child in self.children for blob in child.all_blobs())):
            if source.descriptor.digest not in seen:
                seen.add(source.descriptor.digest)
                yield source

    @classmethod
    def index(cls, children: tuple[ImageContent, ...], annotations: Mapping[str, str] | None = None) -> ImageContent:
        """Make the index over images of several platforms; the same children give the same bytes."""
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [child.descriptor.as_json() for child in children],
        }
        if annotations:
            document["annotations"] = dict(sorted(annotations.items()))
        return cls(json.dumps(document, separators=(",", ":")).encode(), OCI_INDEX, children=children)
