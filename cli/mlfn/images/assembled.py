"""A whole image with what is attached to it, and how its layers are told: values between making and sending."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mlfn.images.contents import Descriptor, ImageContent
from mlfn.images.request import BuiltLayer
from mlfn.images.sbom import Materials

__all__ = ["KIND", "Assembled", "built_layers", "total_bytes"]

KIND = "dev.mlfn.layer"
"""Annotation of a layer's descriptor: what the layer holds. A layer without it is the base's."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """Hold a whole image with what is attached to it."""

    content: ImageContent
    materials: tuple[tuple[Descriptor, Materials], ...]
    """For each architecture: the image, and what its bill of materials will say."""
    layers: tuple[BuiltLayer, ...]


def built_layers(manifest: bytes, architecture: str) -> list[BuiltLayer]:
    """Return the layers that a manifest of ours lists."""
    layers = [Descriptor.from_json(layer) for layer in json.loads(manifest)["layers"]]
    return [BuiltLayer(each.annotations.get(KIND, "base"), architecture, each.digest, each.size) for each in layers]


def total_bytes(layers: Sequence[BuiltLayer]) -> int:
    """Return the bytes of all layers, each counted once."""
    return sum({layer.digest: layer.size for layer in layers}.values())
