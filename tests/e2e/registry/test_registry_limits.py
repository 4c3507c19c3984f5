"""What a registry and this machine bear: a disk that fills up, and a model of 2 GB in 200 MB of memory."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import Unreachable
from mlfn.images.contents import OCI_LAYER_GZIP, BlobSource
from mlfn.images.registry import Patience, RegistrySettings, connect

pytestmark = pytest.mark.e2e

LARGE_BYTES = 2 << 30
MOST_RSS_BYTES = 200 << 20
SEND_AND_FETCH = textwrap.dedent(
    """
    import json, pathlib, sys
    from mlfn.images.contents import OCI_LAYER_GZIP, BlobSource
    from mlfn.images.registry import connect
    host, path, to = sys.argv[1:]
    def peak_rss():
        # Not ru_maxrss: that counts the test's own process too, from before the exec.
        status = pathlib.Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    with connect(host, environ={}, home=pathlib.Path("/nonexistent")) as registry:
        source = BlobSource.of_file(pathlib.Path(path), OCI_LAYER_GZIP)
        sent = registry.push_blob("large", source)
        sent_peak = peak_rss()
        registry.blob("large", source.descriptor, pathlib.Path(to))
        peak = peak_rss()
    print(json.dumps({"sent": sent, "sent_peak": sent_peak, "peak": peak}))
    """
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("a file system of 16 MiB is mounted, which needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("chunk_bytes", [1 << 20, 64 << 20], ids=["chunks", "one-piece"])
def test_a_full_disk_is_named_at_once(
    start_registry: Callable[[Path], Any], small_disk: Path, tmp_path: Path, chunk_bytes: int
) -> None:
    running = start_registry(small_disk)
    # So patient that trying again would outlast the test.
    settings = RegistrySettings(chunk_bytes=chunk_bytes, patience=Patience(50, 20.0, 60.0))
    with connect(running.host, settings, environ={}, home=tmp_path) as registry:
        small = BlobSource.of_bytes(random.Random(1).randbytes(1 << 20), OCI_LAYER_GZIP)
        registry.push_blob("a", small)
        large = BlobSource.of_bytes(random.Random(2).randbytes(32 << 20), OCI_LAYER_GZIP)
        with pytest.raises(Unreachable, match="the registry's disk is full") as caught:
            registry.push_blob("a", large)
        assert "free space" in caught.value.hints[0]
        assert not registry.has_blob("a", large.descriptor)
        assert registry.has_blob("a", small.descriptor)


@pytest.mark.timeout(600)
def test_2_gb_go_through_in_200_mb_of_memory(start_registry: Callable[[Path], Any], tmp_path: Path) -> None:
    running = start_registry(tmp_path / "registry")
    model, fetched = tmp_path / "model", tmp_path / "fetched"
    with model.open("wb") as stream:
        stream.truncate(LARGE_BYTES)
    try:
        done = subprocess.run(
            [sys.executable, "-c", SEND_AND_FETCH, running.host, model, fetched],
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["sent"] == fetched.stat().st_size == LARGE_BYTES
        assert told["sent_peak"] <= told["peak"] <= MOST_RSS_BYTES
    finally:
        fetched.unlink(missing_ok=True)
        running.blob_file("sha256:a7c744c13cc101ed66c29f672f92455547889cc586ce6d44fe76ae824958ea51").unlink(
            missing_ok=True
        )
