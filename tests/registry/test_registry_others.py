"""Registries that behave otherwise than Debian's: that keep half an upload, refuse chunks, are busy, send elsewhere."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import BuildFailed, Unreachable
from mlfn.function import ImageRef
from mlfn.images.contents import OCI_LAYER_GZIP, OCI_MANIFEST, BlobSource, ImageContent
from mlfn.images.registry import Patience, Registry

Door = Callable[..., Registry]


def blob(seed: str, size: int) -> BlobSource:
    return BlobSource.of_bytes(random.Random(seed).randbytes(size), OCI_LAYER_GZIP)


def content(source: BlobSource) -> bytes:
    with source.open() as stream:
        return stream.read()


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_upload_goes_on_from_the_range_that_the_registry_tells(
    small_registry: Any, meddling: Any, door: Door, seed: int
) -> None:
    rng = random.Random(seed)
    cuts = [rng.randrange(50_000, 400_000) for _ in range(4)]
    source = blob(str(seed), 2_000_000)
    with meddling(small_registry.port, lambda: cuts.pop() if cuts else None) as proxy:
        sent = door(proxy.host, chunk_bytes=700_000).push_blob("a", source)
        assert proxy.cuts == 4
    assert small_registry.blobs[source.descriptor.digest] == content(source)
    assert len(small_registry.asked("POST")) == 1  # never begun again
    starts = [int(headers["content-range"].partition("-")[0]) for _, headers in small_registry.asked("PATCH")]
    assert starts == sorted(starts)
    # What was on its way at a cut is sent twice, and no more: the buffers of four connections.
    assert sent < 2_000_000 + 4 * 700_000


def test_a_stream_that_cannot_seek_goes_on_too(small_registry: Any, meddling: Any, door: Door) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    source = blob("pipe", 1_000_000)
    cuts = [300_000, 450_000]
    with meddling(small_registry.port, lambda: cuts.pop() if cuts else None) as proxy:
        pipe = BlobSource(source.descriptor, lambda: Pipe(content(source)))
        door(proxy.host, chunk_bytes=600_000).push_blob("a", pipe)
    assert small_registry.blobs[source.descriptor.digest] == content(source)


def test_a_lost_answer_is_asked_for(small_registry: Any, door: Door) -> None:
    small_registry.lost_answers = 2
    source = blob("lost", 1_000_000)
    assert door(small_registry.host, chunk_bytes=250_000).push_blob("a", source) == 1_000_000
    assert len(small_registry.asked("PATCH")) == 4


@pytest.mark.parametrize("largest", [0, 100_000], ids=["none", "small-ones-only"])
def test_a_registry_that_refuses_chunks_gets_the_blob_in_one_piece(
    small_registry: Any, door: Door, largest: int
) -> None:
    small_registry.largest_chunk = largest
    registry = door(small_registry.host, chunk_bytes=250_000)
    for number in range(2):
        registry.push_blob("a", blob(f"{largest}{number}", 600_000))
    assert len(small_registry.blobs) == 2
    assert len(small_registry.asked("PATCH")) == 1  # and is remembered


def test_a_range_that_stays_behind_is_not_believed(small_registry: Any, door: Door) -> None:
    small_registry.stale_range = True
    source = blob("stale", 1_000_000)
    assert door(small_registry.host, chunk_bytes=250_000).push_blob("a", source) == 1_000_000
    assert small_registry.blobs[source.descriptor.digest] == content(source)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_registry_is_asked_again(small_registry: Any, door: Door, status: int) -> None:
    registry = door(small_registry.host, chunk_bytes=50_000)
    source = blob(str(status), 200_000)
    registry.push_blob("a", blob("first", 10))
    small_registry.busy = [(status, {})] * 2
    registry.push_blob("a", source)
    assert small_registry.busy == []
    assert small_registry.blobs[source.descriptor.digest] == content(source)


def test_a_busy_registry_in_the_middle_of_chunks(small_registry: Any, door: Door) -> None:
    source = blob("middle", 200_000)

    def opened() -> Any:
        small_registry.busy = [(503, {}), (429, {"retry-after": "0"})]
        return source.open()

    door(small_registry.host, chunk_bytes=50_000).push_blob("a", BlobSource(source.descriptor, opened))
    assert small_registry.blobs[source.descriptor.digest] == content(source)


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_retry_after_is_kept(small_registry: Any, door: Door, as_date: bool) -> None:
    registry = door(small_registry.host)
    registry.resolve(ImageRef(small_registry.host, "a", "v1", ""))
    # A date has whole seconds: 2 s are at least 1.
    value = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    small_registry.busy = [(429, {"retry-after": value})]
    started = time.monotonic()
    registry.resolve(ImageRef(small_registry.host, "a", "v1", ""))
    assert time.monotonic() - started >= 0.9


def test_who_is_told_to_come_back_too_late_says_so(small_registry: Any, door: Door) -> None:
    small_registry.busy = [(429, {"retry-after": "3600"})] * 2
    with pytest.raises(Unreachable, match="too many requests: HTTP 429"):
        door(small_registry.host).manifest(ImageRef(small_registry.host, "a", "v1", ""))


def test_a_registry_that_stays_busy_is_given_up(small_registry: Any, door: Door) -> None:
    small_registry.busy = [(503, {})] * 10
    with pytest.raises(Unreachable, match="HTTP 503") as caught:
        door(small_registry.host, patience=Patience(3, 0.01, 0.02)).manifest(
            ImageRef(small_registry.host, "a", "v1", "")
        )
    assert len(small_registry.busy) == 7
    assert caught.value.hints


def test_a_redirected_blob_is_asked_for_without_the_login(
    small_registry: Any, start_small: Callable[[], Any], door: Door, docker_login: Any, tmp_path: Path
) -> None:
    storage = start_small()
    source = blob("redirected", 100_000)
    storage.blobs[source.descriptor.digest] = small_registry.blobs[source.descriptor.digest] = content(source)
    small_registry.redirect_blobs_to = f"http://{storage.host}"
    small_registry.busy = [(401, {"www-authenticate": 'Basic realm="tests"'})]
    docker_login(small_registry.host)
    docker_login(small_registry.host)
    door(small_registry.host).blob("a", source.descriptor, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == content(source)
    assert small_registry.asked("GET")[-1][1]["authorization"].startswith("Basic ")
    assert [headers for _, headers in storage.asked("GET") if "authorization" in headers] == []


def test_redirects_without_end(small_registry: Any, door: Door, tmp_path: Path) -> None:
    source = blob("endless", 10)
    small_registry.blobs[source.descriptor.digest] = content(source)
    small_registry.redirect_blobs_to = f"http://{small_registry.host}"
    with pytest.raises(Unreachable, match="from one address to the next"):
        door(small_registry.host).blob("a", source.descriptor, tmp_path / "blob")


def test_a_registry_that_stored_something_else_is_not_believed(small_registry: Any, door: Door) -> None:
    small_registry.lying_digest = "sha256:" + "0" * 64
    with pytest.raises(BuildFailed, match=f"stored {small_registry.lying_digest} where sha256:.* was sent"):
        door(small_registry.host).push_blob("a", blob("lying", 10))


def test_blobs_go_side_by_side_but_not_more_than_asked_for(small_registry: Any, door: Door) -> None:
    together = threading.Barrier(3)
    lock = threading.Lock()
    open_now: list[int] = []
    most = 0

    def opened(source: BlobSource) -> Any:
        nonlocal most
        with lock:
            open_now.append(1)
            most = max(most, len(open_now))
        together.wait(60)  # breaks, and the test with it, unless three are sent at once
        with lock:
            open_now.pop()
        return source.open()

    sources = [blob(f"parallel {number}", 1000) for number in range(9)]
    gated = tuple(BlobSource(source.descriptor, partial(opened, source)) for source in sources)
    registry = door(small_registry.host, parallel=3)
    pushed = registry.push(ImageContent(b"{}", OCI_MANIFEST, gated), ImageRef(small_registry.host, "a", "v1", ""))
    assert (pushed.uploaded, most) == (9, 3)


def test_an_interrupt_ends_a_push_that_hangs(small_registry: Any, tmp_path: Path) -> None:
    """The registry takes no more bytes, so the senders wait in the middle of a write, for two minutes by themselves."""
    small_registry.stalled = threading.Event()
    script = textwrap.dedent(
        """
        import pathlib, sys
        from mlfn.function import ImageRef
        from mlfn.images.contents import OCI_LAYER_GZIP, OCI_MANIFEST, BlobSource, ImageContent
        from mlfn.images.registry import connect
        host = sys.argv[1]
        blobs = tuple(BlobSource.of_bytes(bytes([n]) * (20 << 20), OCI_LAYER_GZIP) for n in range(3))
        with connect(host, environ={}, home=pathlib.Path("/nonexistent")) as registry:
            registry.push(ImageContent(b"{}", OCI_MANIFEST, blobs), ImageRef(host, "a", "v1", ""))
        """
    )
    writer = subprocess.Popen([sys.executable, "-c", script, small_registry.host], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(small_registry.asked("PUT")) < 3:
            assert time.monotonic() < deadline
            assert writer.poll() is None
            threading.Event().wait(0.02)
        writer.send_signal(signal.SIGINT)
        _, told = writer.communicate(timeout=60)
        assert "KeyboardInterrupt" in told
    finally:
        small_registry.stalled.set()
        writer.kill()
        writer.communicate()
