"""Write images to a folder, as an OCI layout, or to a tar that container engines load.

The tar is an OCI layout too, with the older ``manifest.json`` beside its index: `docker load` before version 25 reads
the one, later ones and `podman load` the other. An index of several architectures stands in the layout as it is; the
older form knows only one image a name and gets the first. Times and owners are fixed; no blob is held in memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlfn.errors import BuildFailed, Conflict, InvalidInput
from mlfn.function import ImageRef
from mlfn.images.contents import OCI_INDEX, BlobSource, ImageContent

__all__ = ["write_archive", "write_layout"]

_MARKER = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK_BYTES = 1024 * 1024


def write_layout(folder: Path, image: ImageContent, attached: Sequence[ImageContent], ref: ImageRef) -> int:
    """Write a layout; what is there already and whole stays. Returns the bytes written.

    ``attached`` are documents about the image, listed beside it.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "oci-layout").is_file())):
        raise InvalidInput(
            f"--output: {folder} exists and is no OCI layout; nothing in it was touched",
            hints=("name a new folder, or a file that ends in .tar",),
        )
    written = 0
    with _disk(folder):
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        # The marker first: what a full disk cut short can be completed. The index last: nobody reads it before.
        _replace(folder / "oci-layout", _MARKER)
        for source in _blobs((image, *attached)):
            written += _put(folder, source)
        _replace(folder / "index.json", _index(image, attached, ref))
    return written


def write_archive(file: Path, image: ImageContent, ref: ImageRef, epoch: int) -> int:
    """Write a tar that `docker load` and `podman load` take. Returns its bytes."""
    with _disk(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        temporary = Path(name)
        try:
            with (
                os.fdopen(descriptor, "wb") as stream,
                tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive,
            ):
                _fill(archive, image, ref, epoch)
            temporary.chmod(0o644)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        return file.stat().st_size


def _fill(archive: tarfile.TarFile, image: ImageContent, ref: ImageRef, epoch: int) -> None:
    def add(name: str, stream: BinaryIO, size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = size, epoch, 0o644
        archive.addfile(entry, stream)

    for name, content in (("oci-layout", _MARKER), ("index.json", _index(image, (), ref))):
        add(name, *_in_memory(content))
    add("manifest.json", *_in_memory(_older_manifest(image, ref)))
    for source in _blobs((image,)):
        with source.open() as stream:
            checked = _Checked(stream, source)
            add(_place(source.descriptor.digest), checked, source.descriptor.size)  # type: ignore[arg-type]  # only read()
            checked.finish()


class _Checked:
    """Hash what is read, and refuse what is not the blob that was promised."""

    def __init__(self, stream: BinaryIO, source: BlobSource) -> None:
        self._stream = stream
        self._seen = hashlib.sha256()
        self._digest = source.descriptor.digest

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self._seen.update(piece)
        return piece

    def finish(self) -> None:
        if f"sha256:{self._seen.hexdigest()}" != self._digest:
            raise Conflict(
                "a file of the model changed while the image was written", hints=("build again once nothing writes it",)
            )


def _put(folder: Path, source: BlobSource) -> int:
    path = folder / _place(source.descriptor.digest)
    if path.is_file() and path.stat().st_size == source.descriptor.size:
        return 0
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, source.open() as stream:
            checked = _Checked(stream, source)
            while piece := checked.read(_CHUNK_BYTES):
                file.write(piece)
        checked.finish()
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return source.descriptor.size


def _blobs(images: Sequence[ImageContent]) -> Iterator[BlobSource]:
    """Yield every blob once, manifests included."""
    seen: set[str] = set()
    for image in images:
        for source in (*_manifests(image), *image.all_blobs()):
            if source.descriptor.digest not in seen:
                seen.add(source.descriptor.digest)
                yield source


def _manifests(image: ImageContent) -> Iterator[BlobSource]:
    yield BlobSource.of_bytes(image.manifest, image.media_type)
    for child in image.children:
        yield from _manifests(child)


def _index(image: ImageContent, attached: Sequence[ImageContent], ref: ImageRef) -> bytes:
    named = image.descriptor.as_json()
    # containerd and docker read the first name, podman and skopeo the second.
    named["annotations"] = {"io.containerd.image.name": ref.tagged, "org.opencontainers.image.ref.name": ref.tag}
    entries = [named, *(each.descriptor.as_json() for each in attached)]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def _older_manifest(image: ImageContent, ref: ImageRef) -> bytes:
    first = image.children[0] if image.children else image
    document = json.loads(first.manifest)
    layers = [_place(layer["digest"]) for layer in document["layers"]]
    entry = {"Config": _place(document["config"]["digest"]), "RepoTags": [ref.tagged], "Layers": layers}
    return json.dumps([entry]).encode()


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _in_memory(content: bytes) -> tuple[BinaryIO, int]:
    import io

    return io.BytesIO(content), len(content)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Tell a disk that is full, or that cannot be written, as what it is."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BuildFailed(
                f"the image cannot be written to {path}: the disk is full",
                hints=("free some space, or write elsewhere",),
            ) from error
        raise InvalidInput(f"the image cannot be written to {path}: {error.strerror or error}") from error
