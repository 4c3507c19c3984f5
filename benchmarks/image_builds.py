"""`mlfn build` against a registry of this machine: sizes, builds that change nothing or only the model, a large model.

Needs Debian's docker-registry, and mmdebstrap for the base image (tests/e2e/base_image.py); both cores, as for a user.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
from options import Options
from prepare import PEER_PACKAGES, Home
from rows import Row

MIB = 2**20
BASE_IMAGE = Path(__file__).resolve().parent.parent / "tests" / "e2e" / "base_image.py"
MODEL_BYTES = 64 * MIB
LARGE_BYTES = 2 * 2**30
SETS = {"FastAPI": ("onnxruntime", *PEER_PACKAGES), "KServe": ("onnxruntime", "kserve")}
"""What `pip install` of each brings along; KServe's server is the SDK with a model class of one's own."""
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""
"""Runs a command and prints, last, the largest resident set of it and of whatever it started."""


@dataclass(frozen=True)
class Workshop:
    """Build into one registry, with one cache."""

    home: Home
    registry: str
    cache: Path

    def build(self, model: Path, repository: str, cache: Path | None = None) -> tuple[dict[str, Any], float]:
        """Build and push; return what was told and the seconds of the whole command."""
        began = time.perf_counter()
        done = self.run([], model, repository, cache)
        return json.loads(done), time.perf_counter() - began

    def peak_bytes(self, model: Path, repository: str) -> tuple[dict[str, Any], int]:
        """Build and push; return what was told and the peak of its memory."""
        told, _, peak = self.run([sys.executable, "-c", PEAK], model, repository).rstrip().rpartition("\n")
        return json.loads(told), int(peak)

    def run(self, before: list[str], model: Path, repository: str, cache: Path | None = None) -> str:
        """Run `mlfn build` and return its output."""
        command = [self.home.mlfn, "build", str(model), "--name", "bench", "-r", f"{self.registry}/{repository}"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFN_")}
        kept["UV_CACHE_DIR"] = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
        settings = {"XDG_CACHE_HOME": str(cache or self.cache), "MLFN_BASE_IMAGE": f"{self.registry}/base/python:3.11"}
        argv = [*before, *command, "-o", "json"]
        done = subprocess.run(argv, env=kept | settings, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr}")
        return done.stdout


def measure(home: Home, options: Options) -> Iterator[Row]:
    """Yield the rows of images."""
    with tempfile.TemporaryDirectory(prefix="mlfn-bench-") as name:
        folder = Path(name)
        with _registry(folder) as registry:
            shop = Workshop(home, registry, folder / "cache")
            yield from _sizes(shop)
            yield from _nothing_changed(shop, options)
            yield from _model_changed(shop, folder, options)
            yield _cold(shop, folder, options)
            yield _large(shop, folder)


@contextmanager
def _registry(folder: Path) -> Iterator[str]:
    """Run a registry with the base image in it."""
    program = shutil.which("docker-registry")
    if program is None:
        raise SystemExit("docker-registry is not installed: apt-get install docker-registry")
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/store}}}}\n"
    )
    log = folder / "registry.log"
    argv = ["env", "REGISTRY_HTTP_ADDR=127.0.0.1:{port}", program, "serve", str(settings)]
    with machine.running(argv, {}, log) as server:
        machine.wait_for_port(server)
        registry = f"127.0.0.1:{server.port}"
        push = [sys.executable, str(BASE_IMAGE), "--push", f"{registry}/base/python:3.11"]
        subprocess.run(push, check=True, stdout=sys.stderr)
        yield registry


def _sizes(shop: Workshop) -> Iterator[Row]:
    """Compare what is sent, and what is installed, with what peers install."""
    told, _ = shop.build(shop.home.model("iris"), "sizes")
    own = {layer["kind"]: layer["size"] for layer in told["layers"] if layer["kind"] != "base"}
    figures: dict[str, object] = {f"{kind} MiB": round(size / MIB, 2) for kind, size in own.items()}
    yield Row("image: compressed size above the base", sum(own.values()) / MIB, "MiB", "<=", 60, figures)
    installed = _unpacked_bytes(shop, told, ("dependencies", "runtime"))
    for peer, target in (("FastAPI", 0.6), ("KServe", 0.2)):
        theirs, packages = _set_bytes(shop.home, peer)
        figures = {
            "mlfn MB": round(installed / 1e6, 1),
            f"{peer} MB": round(theirs / 1e6, 1),
            f"{peer} distributions": packages,
        }
        yield Row(f"image: installed packages vs {peer}'s", installed / theirs, "x", "<=", target, figures)


def _unpacked_bytes(shop: Workshop, told: dict[str, Any], kinds: tuple[str, ...]) -> int:
    """Return the bytes of the files in some layers, byte code included."""
    import io
    import tarfile

    total = 0
    for layer in told["layers"]:
        if layer["kind"] in kinds:
            url = f"http://{shop.registry}/v2/sizes/bench/blobs/{layer['digest']}"
            with urllib.request.urlopen(url) as answer, tarfile.open(fileobj=io.BytesIO(answer.read())) as tar:
                total += sum(member.size for member in tar)
    return total


def _set_bytes(home: Home, peer: str) -> tuple[int, int]:
    """Return bytes and number of the distributions that a peer's set installs, with compiled byte code."""
    folder = home.folder / "sets" / peer
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        install = [
            uv,
            "pip",
            "install",
            "-q",
            "--python",
            sys.executable,
            "--target",
            str(folder),
            "--compile-bytecode",
        ]
        subprocess.run([*install, *SETS[peer]], check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    return size, len(list(folder.glob("*.dist-info")))


def _nothing_changed(shop: Workshop, options: Options) -> Iterator[Row]:
    shop.build(shop.home.model("iris"), "unchanged")
    again = [shop.build(shop.home.model("iris"), "unchanged") for _ in range(options.samples)]
    seconds = [each for _, each in again]
    assert not any(told["changed"] for told, _ in again)
    figures = {"seconds": [round(each, 3) for each in seconds]}
    yield Row("image: build with nothing changed", statistics.median(seconds), "s", "<=", 0.5, figures)
    yield Row("image: bytes moved with nothing changed", max(told["pushed_bytes"] for told, _ in again), "B", "<=", 0)


def _model_changed(shop: Workshop, folder: Path, options: Options) -> Iterator[Row]:
    """Compare with one hash and one plain upload of the same bytes, taken in turns."""
    model = _model(folder / "changing", MODEL_BYTES)
    weights = model.with_suffix(".bin")
    shop.build(model, "changing")
    beyond, moved, details = [], [], []
    for number in range(options.samples):
        with weights.open("r+b") as file:
            file.write(number.to_bytes(4, "little") + os.urandom(28))
        least = _hash_and_upload_s(shop.registry, weights)
        told, seconds = shop.build(model, "changing")
        beyond.append(seconds - least)
        moved.append(told["pushed_bytes"] / weights.stat().st_size)
        details.append({"build": round(seconds, 3), "hash and upload": round(least, 3)})
    what = f"image: model of {MODEL_BYTES // MIB} MiB changed"
    figures: dict[str, object] = {"seconds": details}
    yield Row(f"{what}, beyond one hash and upload", statistics.median(beyond), "s", "<=", 1.0, figures)
    yield Row(f"{what}, bytes moved / model", max(moved), "x", "<=", 1.02)


def _hash_and_upload_s(registry: str, file: Path) -> float:
    """Return the seconds that a hash and an upload of a file take at least."""
    began = time.perf_counter()
    with file.open("rb") as stream:
        digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    begin = urllib.request.Request(f"http://{registry}/v2/plain/blobs/uploads/", method="POST")
    with urllib.request.urlopen(begin) as answer:
        place = answer.headers["Location"]
    with file.open("rb") as stream:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
        put = urllib.request.Request(f"{place}&digest={digest}", stream, headers, method="PUT")
        urllib.request.urlopen(put).close()
    return time.perf_counter() - began


def _cold(shop: Workshop, folder: Path, options: Options) -> Row:
    """Build with an empty cache of mlfn's own; uv has the wheels."""
    seconds = []
    for number in range(min(3, options.samples)):
        told, took = shop.build(shop.home.model("iris"), f"cold{number}", folder / f"cold{number}")
        assert told["changed"]
        seconds.append(took)
    figures = {"seconds": [round(each, 2) for each in seconds]}
    return Row("image: cold build with warm wheel cache", statistics.median(seconds), "s", "<=", 15, figures)


def _large(shop: Workshop, folder: Path) -> Row:
    """Build a model with 2 GiB of weights."""
    model = _model(folder / "large", LARGE_BYTES)
    told, peak = shop.peak_bytes(model, "large")
    model.with_suffix(".bin").unlink()
    figures = {"pushed MB": round(told["pushed_bytes"] / 1e6, 1), "seconds": told["seconds"]}
    return Row("image: peak memory of building a 2 GiB model", peak / 1e6, "MB", "<=", 200, figures)


def _model(folder: Path, size: int) -> Path:
    """Make a model whose weights of ``size`` bytes lie in a file of their own."""
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir()
    columns = size // 16
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[4, columns])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "model.bin"), ("offset", "0"), ("length", str(size))):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "weights"], ["Y"])],
        "large",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", columns])],
        [weights],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    with (folder / "model.bin").open("wb") as file:
        file.truncate(size)
    return folder / "model.onnx"
