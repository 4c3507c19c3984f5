"""The folder that docker or podman builds from: a Dockerfile, and beside it the layers that mlfn made.

Both engines and mlfn's own builder thus give the same files, variables and labels; only the way of writing them down
differs, and with it the digest. Nothing runs in a container: packages are chosen and compiled on this machine, since a
build container seldom has the proxies, certificates and credentials that it would need for them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlfn.errors import InvalidInput
from mlfn.function import ImageRef
from mlfn.images.bases import BaseImage
from mlfn.images.contents import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, BlobSource, ImageContent
from mlfn.images.layout_writing import write_archive
from mlfn.images.request import Builder

__all__ = ["EngineContext", "write_base", "write_context"]

_WHAT = {
    "dependencies": "what the function server imports: ONNX Runtime, NumPy and their few companions",
    "bytecode": "byte code of the base's standard library, a third of a cold start",
    "runtime": "the function server",
    "model": "the model",
}
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EngineContext:
    """Say what an engine puts together."""

    image: ImageContent
    """The image as the own builder makes it, for one architecture."""
    base: BaseImage
    """What ``image`` stands on: its first layers."""
    kinds: Mapping[str, str]
    """Digest of a layer -> ``dependencies``, ``model`` …"""
    builder: Builder

    @property
    def own(self) -> tuple[BlobSource, ...]:
        """Return the layers above the base, the lowest first."""
        layers = [blob for blob in self.image.blobs if blob.descriptor.media_type != OCI_CONFIG]
        return tuple(layers[len(self.base.layers) :])


def write_context(context: EngineContext, base: str, folder: Path) -> None:
    """Write Dockerfile and layers into an empty folder; ``base`` is the name that the engine knows the base under."""
    from mlfn_templates import render

    layers = []
    for number, blob in enumerate(context.own, 1):
        kind = context.kinds.get(blob.descriptor.digest, f"layer-{number}")
        file = f"{kind}.{'tar.gz' if blob.descriptor.media_type == OCI_LAYER_GZIP else 'tar'}"
        with blob.open() as source, (folder / file).open("xb") as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
        layers.append({"file": file, "what": _WHAT.get(kind, kind)})
    values = {**_settings(context), "engine": context.builder.value, "base": base, "layers": layers}
    (folder / "Dockerfile").write_text(render("Dockerfile.j2", values), encoding="utf-8")


def write_base(base: BaseImage, file: Path, ref: ImageRef) -> None:
    """Write a base that no registry has as a tar that an engine loads."""
    configuration = BlobSource.of_bytes(json.dumps(base.config).encode(), OCI_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": configuration.descriptor.as_json(),
        "layers": [layer.descriptor.as_json() for layer in base.layers],
    }
    image = ImageContent(json.dumps(manifest).encode(), OCI_MANIFEST, (configuration, *base.layers))
    write_archive(file, image, ref, 0)


def _settings(context: EngineContext) -> dict[str, Any]:
    """Return what the Dockerfile says beside the layers, out of the configuration of mlfn's own image."""
    configuration = next(blob for blob in context.image.blobs if blob.descriptor.media_type == OCI_CONFIG)
    with configuration.open() as stream:
        document = json.load(stream)
    run = document["config"]
    environment = dict(str(pair).split("=", 1) for pair in run["Env"])
    several = sorted(name for name, value in environment.items() if "\n" in value or "\r" in value)
    if several:
        raise InvalidInput(
            f"a Dockerfile cannot hold a variable of several lines: {', '.join(several)}",
            hints=("leave --builder out: mlfn's own builder can",),
        )
    of_base = context.base.environment
    return {
        "name": run["Labels"]["org.opencontainers.image.title"],
        "architecture": document["architecture"],
        "environment": {key: value for key, value in environment.items() if of_base.get(key) != value},
        "labels": run["Labels"],
        "working_folder": run.get("WorkingDir", ""),
        "user": run["User"],
        "ports": sorted(run.get("ExposedPorts") or {}),
        "stop_signal": run.get("StopSignal", ""),
        "entrypoint": run["Entrypoint"],
        "command": run.get("Cmd") or [],
    }
