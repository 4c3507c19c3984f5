"""What is asked of a build and what it gives: frozen values, shared by mlfn's own builder and the engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mlfn.errors import InvalidInput
from mlfn.function import Finding, ImageRef
from mlfn.settings.fields import ImageSettings

__all__ = ["BuildRequest", "Builder", "BuiltImage", "BuiltLayer", "Progress", "requested"]

_FIRST_IMPOSSIBLE = 2**33
"""Seconds: what the header of a tar can hold."""

Progress = Callable[[str], None]
"""Hears of a stage in words."""


class Builder(StrEnum):
    """What makes an image."""

    MLFN = "mlfn"
    DOCKER = "docker"
    PODMAN = "podman"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """Say which image to make of a model, and where it goes."""

    name: str
    """Name of the function: the last part of the repository, and the model's name in paths."""
    registry: str = ""
    """``REGISTRY[/REPOSITORY]`` below which the image is named; needed unless there is an ``output``."""
    architectures: tuple[str, ...] = ("amd64",)
    builder: Builder = Builder.MLFN
    base: str = ImageSettings().base
    """A reference, or an OCI layout: ``oci:PATH``, or the path of a folder or tar that exists."""
    output: Path | None = None
    """Write an OCI layout into this folder, or a loadable tar to this file (``.tar``), instead of pushing."""
    lock: Path | None = None
    """Pinned and hashed requirements; None: the runtime's own."""
    wheel_dir: Path | None = None
    """Take wheels from here and ask no index."""
    index_url: str = ""
    ca_file: Path | None = None
    plain_http: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the image beside mlfn's own."""
    epoch: int = 0
    """Seconds since 1970 that every time in the image says (SOURCE_DATE_EPOCH)."""


_OTHER_FILES = frozenset((".gz", ".tgz", ".zip", ".xz", ".bz2", ".zst", ".oci"))


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """Tell of one layer."""

    kind: str
    """``base``, ``dependencies``, ``bytecode``, ``runtime`` or ``model``."""
    architecture: str
    digest: str
    size: int
    """Bytes as they are sent."""

    def as_json(self) -> dict[str, object]:
        """Return the layer for ``-o json``."""
        return {"kind": self.kind, "architecture": self.architecture, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """Tell the outcome of a build."""

    ref: ImageRef
    size: int
    """Bytes of all layers, the base's included, as they are pulled; of all architectures together."""
    layers: tuple[BuiltLayer, ...]
    seconds: Mapping[str, float]
    """Stages of the build: ``total``, ``base``, ``dependencies``, ``model``, ``push`` …"""
    findings: tuple[Finding, ...] = ()
    pushed_bytes: int = 0
    changed: bool = True
    """False when the image was there already: nothing was made and nothing was sent."""
    pushed: bool = True
    """Whether a registry has it; else it was written to ``output``, or stays in the engine that built it."""
    output: Path | None = None
    """Where it was written."""

    def as_json(self) -> dict[str, object]:
        """Return the document of ``-o json``."""
        return {
            "schema": "mlfn.image/v1",
            "reference": self.ref.pinned if self.pushed else self.ref.tagged,
            "tag": self.ref.tag,
            "digest": self.ref.digest,
            "size": self.size,
            "layers": [layer.as_json() for layer in self.layers],
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "changed": self.changed,
            "pushed_bytes": self.pushed_bytes,
            "output": str(self.output) if self.output else None,
            "findings": [each.as_json() for each in self.findings],
        }


def requested(name: str, asked: ImageSettings, environ: Mapping[str, str], output: Path | None = None) -> BuildRequest:
    """Return the request that settings stand for.

    Raises InvalidInput for a SOURCE_DATE_EPOCH that is no time, and for an output named as a file of another kind.
    """
    if output is not None and output.suffix in _OTHER_FILES and not output.is_dir():
        raise InvalidInput(
            f"--output: expected a folder or a file that ends in .tar, got {output}",
            hints=(f"--output {output.name.split('.')[0]}.tar",),
        )
    return BuildRequest(
        name=name,
        registry=asked.registry,
        architectures=tuple(asked.arch.split(",")),
        builder=Builder(asked.builder),
        base=asked.base,
        output=output,
        lock=_path(asked.lock),
        wheel_dir=_path(asked.wheel_dir),
        index_url=asked.index_url,
        ca_file=_path(asked.ca_file),
        plain_http=asked.plain_http,
        epoch=_epoch(environ.get("SOURCE_DATE_EPOCH", "")),
    )


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _epoch(text: str) -> int:
    if text and not (text.isdecimal() and int(text) < _FIRST_IMPOSSIBLE):
        raise InvalidInput(f"SOURCE_DATE_EPOCH: expected seconds since 1970, got {text!r}")
    return int(text or 0)
