"""Images into a real registry and out of it: pushed, skipped, mounted, pulled, indexed."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import BuildFailed, NotFound
from mlfn.function import ImageRef
from mlfn.images.contents import (
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    BlobSource,
    Descriptor,
    ImageContent,
    ImagePlatform,
    digest_of,
)
from mlfn.images.registry import Registry

Door = Callable[..., Registry]


def blob(seed: str, size: int) -> BlobSource:
    """Make a source of bytes that nobody else has."""
    return BlobSource.of_bytes(random.Random(seed).randbytes(size), OCI_LAYER_GZIP)


def image(*layers: BlobSource, note: str = "", platform: ImagePlatform | None = None) -> ImageContent:
    config = BlobSource.of_bytes(json.dumps({"note": note}).encode(), OCI_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor.as_json(),
        "layers": [layer.descriptor.as_json() for layer in layers],
    }
    return ImageContent(json.dumps(manifest).encode(), OCI_MANIFEST, (config, *layers), platform=platform)


def content(source: BlobSource) -> bytes:
    with source.open() as stream:
        return stream.read()


def test_what_is_pushed_can_be_pulled(open_registry: Any, door: Door, repository: str, tmp_path: Path) -> None:
    registry = door(open_registry.host)
    small, chunked = blob(repository, 3000), blob(repository + "2", 3_500_000)
    pushed = registry.push(image(small, chunked), ImageRef(open_registry.host, repository, "v1", ""))

    assert (pushed.uploaded, pushed.mounted, pushed.skipped) == (3, 0, 0)
    assert pushed.sent_bytes == sum(each.descriptor.size for each in image(small, chunked).all_blobs())
    assert pushed.ref.digest == image(small, chunked).digest
    descriptor, manifest = registry.manifest(pushed.ref)
    assert manifest == image(small, chunked).manifest
    assert (descriptor.media_type, descriptor.digest) == (OCI_MANIFEST, pushed.ref.digest)
    assert registry.resolve(ImageRef(open_registry.host, repository, "v1", "")) == descriptor
    for source in (small, chunked):
        registry.blob(repository, source.descriptor, tmp_path / "blob")
        assert (tmp_path / "blob").read_bytes() == content(source)
    assert len(open_registry.requests(f"PATCH /v2/{repository}/")) == 4
    assert list(tmp_path.glob(".blob*")) == []


def test_an_unchanged_image_moves_nothing(open_registry: Any, door: Door, repository: str) -> None:
    to = ImageRef(open_registry.host, repository, "v1", "")
    door(open_registry.host).push(image(blob(repository, 5000)), to)
    before = len(open_registry.requests(f"[A-Z]+ /v2/{repository}/"))

    again = door(open_registry.host).push(image(blob(repository, 5000)), to)

    assert (again.sent_bytes, again.uploaded, again.changed) == (0, 0, False)
    assert again.ref.digest == image(blob(repository, 5000)).digest
    assert [line.split('"')[1].split()[0] for line in open_registry.requests(f"[A-Z]+ /v2/{repository}/")[before:]] == [
        "HEAD"
    ]


def test_another_tag_for_an_image_that_is_there_costs_one_manifest(
    open_registry: Any, door: Door, repository: str
) -> None:
    registry = door(open_registry.host)
    registry.push(image(blob(repository, 5000)), ImageRef(open_registry.host, repository, "v1", ""))
    again = registry.push(image(blob(repository, 5000)), ImageRef(open_registry.host, repository, "v2", ""))
    assert (again.sent_bytes, again.skipped) == (0, 2)
    found = registry.resolve(ImageRef(open_registry.host, repository, "v2", ""))
    assert found is not None
    assert found.digest == again.ref.digest


def test_only_what_changed_is_sent(open_registry: Any, door: Door, repository: str) -> None:
    registry = door(open_registry.host)
    same, old, new = blob(repository, 500_000), blob(repository + "old", 1000), blob(repository + "new", 1000)
    registry.push(image(same, old), ImageRef(open_registry.host, repository, "v1", ""))
    pushed = registry.push(image(same, new, note="new"), ImageRef(open_registry.host, repository, "v2", ""))
    assert (pushed.uploaded, pushed.skipped) == (2, 1)
    assert pushed.sent_bytes < 1100


def test_a_layer_of_a_repository_next_door_is_mounted(open_registry: Any, door: Door, repository: str) -> None:
    registry = door(open_registry.host)
    base = blob(repository, 200_000)
    registry.push(image(base), ImageRef(open_registry.host, f"{repository}/base", "v1", ""))

    shared = registry.source(f"{repository}/base", base.descriptor)
    pushed = registry.push(image(shared, note="above"), ImageRef(open_registry.host, f"{repository}/app", "v1", ""))

    assert (pushed.uploaded, pushed.mounted) == (1, 1)
    assert pushed.sent_bytes < 1000
    assert registry.has_blob(f"{repository}/app", base.descriptor)
    assert registry.mount(f"{repository}/third", base.descriptor.digest, f"{repository}/base")


def test_what_cannot_be_mounted_is_sent(open_registry: Any, door: Door, repository: str) -> None:
    registry = door(open_registry.host)
    layer = blob(repository, 9000)
    wrong = BlobSource(layer.descriptor, layer.open, mount_from=(f"{open_registry.host}/{repository}/nothing",))
    pushed = registry.push(image(wrong), ImageRef(open_registry.host, repository, "v1", ""))
    assert (pushed.uploaded, pushed.mounted) == (2, 0)
    assert not registry.mount(repository, digest_of(b"nobody has this"), f"{repository}/nothing")


def test_a_layer_goes_from_one_registry_to_another_as_a_stream(
    open_registry: Any, start_registry: Callable[..., Any], door: Door, repository: str
) -> None:
    other = start_registry()
    layer = blob(repository, 2_300_000)
    door(open_registry.host).push_blob(repository, layer)
    source = door(open_registry.host).source(repository, layer.descriptor)
    assert door(other.host).push_blob(repository, source) == layer.descriptor.size
    assert other.blob_file(layer.descriptor.digest).read_bytes() == content(layer)


def test_an_index_and_its_children(open_registry: Any, door: Door, repository: str) -> None:
    registry = door(open_registry.host)
    shared = blob(repository, 4000)
    children = tuple(
        image(shared, blob(repository + arch, 1000), note=arch, platform=ImagePlatform(arch, variant=variant))
        for arch, variant in (("amd64", ""), ("arm64", "v8"))
    )
    whole = ImageContent.index(children)
    pushed = registry.push(whole, ImageRef(open_registry.host, repository, "v1", ""))

    assert (pushed.uploaded, pushed.ref.digest) == (5, whole.digest)
    _, manifest = registry.manifest(ImageRef(open_registry.host, repository, "v1", ""))
    listed = [Descriptor.from_json(entry) for entry in json.loads(manifest)["manifests"]]
    assert [entry.platform for entry in listed] == [ImagePlatform("amd64"), ImagePlatform("arm64", variant="v8")]
    for entry, child in zip(listed, children, strict=True):
        found = registry.manifest(ImageRef(open_registry.host, repository, "", entry.digest))
        assert found[1] == child.manifest


def test_an_image_without_a_tag_is_there_by_its_digest(open_registry: Any, door: Door, repository: str) -> None:
    registry = door(open_registry.host)
    pushed = registry.push(image(blob(repository, 100)), ImageRef(open_registry.host, repository, "", ""))
    assert registry.resolve(pushed.ref) is not None


def test_what_is_not_there(open_registry: Any, door: Door, repository: str, tmp_path: Path) -> None:
    registry = door(open_registry.host)
    assert registry.resolve(ImageRef(open_registry.host, repository, "no", "")) is None
    assert not registry.has_blob(repository, blob(repository, 10).descriptor)
    with pytest.raises(NotFound, match=f"{repository}:no"):
        registry.manifest(ImageRef(open_registry.host, repository, "no", ""))
    with pytest.raises(NotFound, match="has no blob sha256:"):
        registry.blob(repository, blob(repository, 10).descriptor, tmp_path / "blob")
    assert list(tmp_path.glob("*blob*")) == []


def test_a_manifest_without_its_layers_is_refused_clearly(open_registry: Any, door: Door, repository: str) -> None:
    alone = image(blob(repository, 100))
    with pytest.raises(BuildFailed, match="misses a part of the image: HTTP 400, MANIFEST_BLOB_UNKNOWN"):
        door(open_registry.host).push_manifest(repository, "v1", alone.manifest, alone.media_type)


@pytest.mark.parametrize(
    ("now", "seen"),
    [
        pytest.param(b"01234", "ended after 5 bytes", id="shorter"),
        pytest.param(b"0123456789a", "has more than 10 bytes", id="longer"),
        pytest.param(b"9876543210", "now gives 10 bytes of digest", id="other"),
    ],
)
def test_a_source_that_changed_is_named(open_registry: Any, door: Door, repository: str, now: bytes, seen: str) -> None:
    registry = door(open_registry.host)
    told = Descriptor(OCI_LAYER_GZIP, digest_of(repository.encode()), 10)
    with pytest.raises(BuildFailed, match=f"changed while it was sent: it {seen}"):
        registry.push_blob(repository, BlobSource(told, lambda: io.BytesIO(now)))
    assert not registry.has_blob(repository, told)


def test_an_empty_blob(open_registry: Any, door: Door, repository: str, tmp_path: Path) -> None:
    registry = door(open_registry.host)
    empty = BlobSource.of_bytes(b"", OCI_LAYER_GZIP)
    assert registry.push_blob(repository, empty) == 0
    registry.blob(repository, empty.descriptor, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == b""


def test_progress_is_told_in_words(open_registry: Any, door: Door, repository: str) -> None:
    told: list[str] = []
    registry = door(open_registry.host)
    registry.push(image(blob(repository, 3_000_000)), ImageRef(open_registry.host, repository, "v1", ""), told.append)
    assert told[-1] == "pushing, 100 % of 3.0 MB"
    assert len(told) == len(set(told)) > 2


def test_files_that_cannot_be_read_or_written_are_named(
    open_registry: Any, door: Door, repository: str, tmp_path: Path
) -> None:
    registry = door(open_registry.host)
    told = blob(repository, 10)
    with pytest.raises(BuildFailed, match=r"cannot read what sha256:.* is made of: .*gone"):
        registry.push_blob(repository, BlobSource(told.descriptor, lambda: (tmp_path / "gone").open("rb")))
    registry.push_blob(repository, told)
    (tmp_path / "file").touch()
    with pytest.raises(BuildFailed, match=r"cannot write .*/file/blob: "):
        registry.blob(repository, told.descriptor, tmp_path / "file" / "blob")


def test_many_layers_of_the_same_registry_that_cannot_be_mounted(
    open_registry: Any, door: Door, repository: str
) -> None:
    """Each upload reads from the registry that it writes to, so it needs two connections."""
    registry = door(open_registry.host, parallel=2)
    layers = [blob(f"{repository}{number}", 300_000) for number in range(6)]
    for layer in layers:
        registry.push_blob(f"{repository}/from", layer)
    sources = [
        BlobSource(layer.descriptor, registry.source(f"{repository}/from", layer.descriptor).open) for layer in layers
    ]
    pushed = registry.push(image(*sources), ImageRef(open_registry.host, f"{repository}/to", "v1", ""))
    assert pushed.uploaded == 7
