"""What an image says of itself: configuration, labels, manifest, and the tag that stands for everything it is made of.

Pure: values in, bytes out; the same values give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlfn.function import ModelPackage
from mlfn.images.assembled import KIND
from mlfn.images.base_python import BasePython
from mlfn.images.bases import BaseImage
from mlfn.images.contents import OCI_CONFIG, OCI_MANIFEST, BlobSource, ImageContent
from mlfn.images.request import BuildRequest

__all__ = [
    "MODEL_FOLDER",
    "SITE_FOLDER",
    "Ingredients",
    "MadeLayer",
    "content_tag",
    "environment_of",
    "image_content",
    "labels_of",
    "model_files",
    "timestamp",
]

SITE_FOLDER = "opt/mlfn"
"""Where packages and function server lie; the only entry of PYTHONPATH, since each costs a look-up per import."""
MODEL_FOLDER = "model"
USER = "65532:65532"
"""No user of any base: nothing in the image belongs to it. The number that distroless images made usual."""
PORT = 8080
_OWN = "dev.mlfn."
_LONE = "model.onnx"


@dataclass(frozen=True, slots=True)
class MadeLayer:
    """Hold one layer above the base."""

    kind: str
    blob: BlobSource
    diff_id: str
    content_bytes: int
    facts: Mapping[str, Any]
    """What making it told, such as the packages in it."""


def model_files(package: ModelPackage) -> dict[str, Path]:
    """Return the model's files by their path in :data:`MODEL_FOLDER`.

    A lone file is called alike whatever its name on disk, so that the same bytes make the same image. Several files
    refer to each other by name.
    """
    if len(package.files) == 1:
        return {_LONE: package.root / package.entry}
    return {name: package.root / name for name in package.files}


def _entry(package: ModelPackage) -> str:
    return _LONE if len(package.files) == 1 else package.entry


def timestamp(epoch: int) -> str:
    """Return a time as documents of images write it."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Hold all that decides what an image is, but for its bases."""

    package: ModelPackage
    request: BuildRequest
    code: Mapping[str, str]
    """Digests of what mlfn itself puts in: ``lock``, ``runtime``, and ``builder`` for the way it is done."""


def content_tag(made_of: Ingredients, base_digests: Sequence[str]) -> str:
    """Return the tag of an image: equal for equal model, settings, base, lock and function server, whatever the day."""
    package, request = made_of.package, made_of.request
    inputs = {
        "model": [package.digest, _entry(package), list(model_files(package))],
        "labels": labels_of(made_of),
        "environment": dict(request.environment),
        "architectures": list(request.architectures),
        "base": list(base_digests),
        "epoch": request.epoch,
        "code": dict(made_of.code),
    }
    return hashlib.sha256(_json(inputs, sort=True)).hexdigest()[:20]


def labels_of(made_of: Ingredients) -> dict[str, str]:
    """Return what the image tells about its function, for whoever has only the image."""
    package, request = made_of.package, made_of.request
    signature = asdict(package.signature)
    settings = {"environment": dict(request.environment), **made_of.code}
    return {
        "org.opencontainers.image.title": request.name,
        "org.opencontainers.image.description": f"mlfn function {request.name} ({package.format} model)",
        "org.opencontainers.image.created": timestamp(request.epoch),
        f"{_OWN}name": request.name,
        f"{_OWN}signature": _json(signature).decode(),
        f"{_OWN}model.digest": package.digest,
        f"{_OWN}model.format": package.format,
        f"{_OWN}model.size": str(package.size_bytes),
        f"{_OWN}settings": _json(settings, sort=True).decode(),
    }


def image_content(
    made_of: Ingredients, base: BaseImage, python: BasePython, layers: Sequence[MadeLayer]
) -> ImageContent:
    """Return the image for one architecture: configuration, manifest, and where its blobs are."""
    package, request = made_of.package, made_of.request
    labels = labels_of(made_of)
    labels["org.opencontainers.image.base.digest"] = base.digest
    config: dict[str, Any] = {
        **base.platform.as_json(),
        "config": _run_settings(package, request, base, python, labels),
        "created": timestamp(request.epoch),
        "history": [*base.history, *(_history(layer, request.epoch) for layer in layers)],
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, *(layer.diff_id for layer in layers)]},
    }
    blobs = (*base.layers, *(layer.blob for layer in layers))
    configuration = BlobSource.of_bytes(_json(config), OCI_CONFIG)
    annotations = {key: value for key, value in labels.items() if key.startswith("org.opencontainers.")}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": configuration.descriptor.as_json(),
        "layers": [
            *(blob.descriptor.as_json() for blob in base.layers),
            *(replace(layer.blob.descriptor, annotations={KIND: layer.kind}).as_json() for layer in layers),
        ],
        "annotations": dict(sorted(annotations.items())),
    }
    return ImageContent(_json(manifest), OCI_MANIFEST, (configuration, *blobs), platform=base.platform)


def _run_settings(
    package: ModelPackage, request: BuildRequest, base: BaseImage, python: BasePython, labels: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "User": USER,
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "Env": [f"{name}={value}" for name, value in environment_of(package, request, base.environment).items()],
        # No shell: the interpreter is process 1 and hears SIGTERM itself.
        "Entrypoint": [python.program, "-m", "mlfn_runtime"],
        "WorkingDir": "/" + MODEL_FOLDER,
        "Labels": dict(sorted(labels.items())),
        "StopSignal": "SIGTERM",
    }


def environment_of(package: ModelPackage, request: BuildRequest, of_base: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the image: the base's, mlfn's, and the user's over both."""
    before = of_base.get("PYTHONPATH")
    return {
        **of_base,
        "PYTHONPATH": f"/{SITE_FOLDER}:{before}" if before else f"/{SITE_FOLDER}",
        "PYTHONSAFEPATH": "1",  # a file beside the model never stands in for a module
        "PYTHONDONTWRITEBYTECODE": "1",  # the file system may be read-only, and all byte code is there
        "PYTHONUNBUFFERED": "1",
        "HOST": "0.0.0.0",  # noqa: S104  # a container is reached from outside
        "PORT": str(PORT),
        "MLFN_MODEL_PATH": f"/{MODEL_FOLDER}/{_entry(package)}",
        "MLFN_NAME": request.name,
        **request.environment,
    }


def _history(layer: MadeLayer, epoch: int) -> dict[str, str]:
    return {"created": timestamp(epoch), "created_by": f"mlfn build: {layer.kind}"}


def _json(document: object, *, sort: bool = False) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, sort_keys=sort).encode()
