"""Connections cut, bytes damaged, servers away: what arrives is right, or the error says why."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import BuildFailed, Unreachable
from mlfn.function import ImageRef
from mlfn.images.contents import OCI_LAYER_GZIP, BlobSource, ImageContent
from mlfn.images.registry import Patience, Registry

Door = Callable[..., Registry]


def blob(seed: str, size: int) -> BlobSource:
    return BlobSource.of_bytes(random.Random(seed).randbytes(size), OCI_LAYER_GZIP)


def content(source: BlobSource) -> bytes:
    with source.open() as stream:
        return stream.read()


@pytest.mark.parametrize("seed", range(6))
def test_uploads_survive_cuts_at_random_places(
    open_registry: Any, meddling: Any, door: Door, repository: str, seed: int
) -> None:
    rng = random.Random(seed)
    cuts = [rng.randrange(1, 700_000) for _ in range(3)]
    with meddling(open_registry.port, lambda: cuts.pop() if cuts else None) as proxy:
        registry = door(proxy.host, chunk_bytes=150_000, patience=Patience(12, 0.02, 0.2))
        sources = [blob(f"{repository}{number}", rng.randrange(1, 900_000)) for number in range(3)]
        for source in sources:
            registry.push_blob(repository, source)
        assert proxy.cuts > 0
    for source in sources:
        assert open_registry.blob_file(source.descriptor.digest).read_bytes() == content(source)


def test_a_connection_that_is_cut_between_chunks_costs_nothing(
    open_registry: Any, meddling: Any, door: Door, repository: str
) -> None:
    source = blob(repository, 1_000_000)
    with meddling(open_registry.port) as proxy:

        class Cutting(io.BytesIO):
            def read(self, count: int | None = -1, /) -> bytes:
                if self.tell() == 600_000 and not proxy.cuts:
                    proxy.drop()
                return super().read(count)

        cutting = BlobSource(source.descriptor, lambda: Cutting(content(source)))
        sent = door(proxy.host, chunk_bytes=200_000).push_blob(repository, cutting)
        assert proxy.cuts == 1
    assert len(open_registry.requests(f"POST /v2/{repository}/blobs/uploads/")) == 1
    assert len(open_registry.requests(f"GET /v2/{repository}/blobs/uploads/.* 204 ")) == 1
    assert 1_000_000 <= sent <= 1_200_000
    assert open_registry.blob_file(source.descriptor.digest).read_bytes() == content(source)


@pytest.mark.parametrize("seed", range(4))
def test_downloads_continue_where_they_were_cut(
    open_registry: Any, meddling: Any, door: Door, repository: str, tmp_path: Path, seed: int
) -> None:
    source = blob(repository, 1_500_000)
    door(open_registry.host).push_blob(repository, source)
    rng = random.Random(seed)
    cuts = [rng.randrange(1, 400_000) for _ in range(3)]
    with meddling(open_registry.port) as proxy:
        proxy.plan_down = lambda: cuts.pop() if cuts else None
        registry = door(proxy.host)
        registry.blob(repository, source.descriptor, tmp_path / "blob")
        assert proxy.cuts == 3
    assert (tmp_path / "blob").read_bytes() == content(source)
    asked = open_registry.requests(f"GET /v2/{repository}/blobs/")
    assert any(" 206 " in line for line in asked)


def test_a_connection_that_is_always_cut_is_given_up(
    open_registry: Any, meddling: Any, door: Door, repository: str
) -> None:
    with meddling(open_registry.port, lambda: 100_000) as proxy:
        registry = door(proxy.host, chunk_bytes=1_000_000, patience=Patience(3, 0.01, 0.02))
        with pytest.raises(Unreachable, match=f"{proxy.host}"):
            registry.push_blob(repository, blob(repository, 400_000))
        assert proxy.cuts == 3


def test_a_bit_that_turns_on_the_way_up_is_sent_again(
    open_registry: Any, meddling: Any, door: Door, repository: str
) -> None:
    source = blob(repository, 600_000)
    with meddling(open_registry.port) as proxy:
        proxy.flip_up, proxy.flip_once = 300_000, True
        assert door(proxy.host).push_blob(repository, source) == 1_200_000
        assert proxy.flips == 1
    assert open_registry.blob_file(source.descriptor.digest).read_bytes() == content(source)


def test_bits_that_always_turn_on_the_way_up_are_told(
    open_registry: Any, meddling: Any, door: Door, repository: str
) -> None:
    with meddling(open_registry.port) as proxy:
        proxy.flip_up = 300_000
        with pytest.raises(BuildFailed, match="the bytes that arrived have another digest than announced"):
            door(proxy.host).push_blob(repository, blob(repository, 600_000))


def test_a_bit_that_turns_on_the_way_down_is_fetched_again(
    open_registry: Any, meddling: Any, door: Door, repository: str, tmp_path: Path
) -> None:
    source = blob(repository, 600_000)
    door(open_registry.host).push_blob(repository, source)
    with meddling(open_registry.port) as proxy:
        proxy.flip_down, proxy.flip_once = 300_000, True
        door(proxy.host).blob(repository, source.descriptor, tmp_path / "blob")
        assert proxy.flips == 1
    assert (tmp_path / "blob").read_bytes() == content(source)


def test_damage_in_the_registry_itself_is_told(open_registry: Any, door: Door, repository: str, tmp_path: Path) -> None:
    source = blob(repository, 100_000)
    registry = door(open_registry.host)
    registry.push_blob(repository, source)
    stored = open_registry.blob_file(source.descriptor.digest)
    damaged = bytearray(stored.read_bytes())
    damaged[50_000] ^= 1
    stored.write_bytes(damaged)
    with pytest.raises(BuildFailed, match=f"with digest sha256:.*; expected {source.descriptor.digest}"):
        registry.blob(repository, source.descriptor, tmp_path / "blob")
    assert list(tmp_path.glob("*blob*")) == []
    with pytest.raises(BuildFailed), registry.open_blob(repository, source.descriptor) as stream:
        stream.read()


def test_a_registry_that_is_not_there(door: Door, repository: str) -> None:
    with pytest.raises(Unreachable, match=r"cannot reach http://127.0.0.1:9: .*refused") as caught:
        door("127.0.0.1:9").resolve(ImageRef("127.0.0.1:9", repository, "v1", ""))
    assert "curl http://127.0.0.1:9/v2/" in caught.value.hints[0]


def test_the_first_failure_calls_the_other_uploads_off(open_registry: Any, door: Door, repository: str) -> None:
    registry = door(open_registry.host, parallel=2)
    started = threading.Event()
    good = blob(repository, 50_000_000)

    def fail() -> Any:
        assert started.wait(30)
        raise BuildFailed("the second source fails")

    def begin() -> Any:
        started.set()
        return good.open()

    sources = (BlobSource(good.descriptor, begin), BlobSource(blob("other", 10).descriptor, fail))
    with pytest.raises(BuildFailed, match="the second source fails"):
        registry.push(ImageContent(b"{}", "x", sources), ImageRef(open_registry.host, repository, "v1", ""))
    # And the door is as good as before.
    assert registry.push_blob(repository, blob(repository + "3", 100)) == 100
