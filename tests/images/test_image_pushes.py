"""Builds into a real registry: what is there is not sent, what is next door is mounted, the tag comes last."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mlfn.errors import InvalidInput, MlfnError, Unreachable
from mlfn.function import ImageRef
from mlfn.images import BuildRequest, BuiltImage
from mlfn.images.contents import Descriptor
from mlfn.images.registry import connect

Make = Callable[..., BuiltImage]


@pytest.fixture
def target(registry: Any, request: pytest.FixtureRequest) -> str:
    """Return a place in the registry that no other test uses."""
    return f"{registry.host}/t{random.Random(request.node.nodeid).getrandbits(64):x}"


def _model(path: Path, megabytes: int, seed: int) -> Path:
    """Write a model of random weights, which no compression makes smaller."""
    weights = np.random.default_rng(seed).standard_normal((256, 1024 * megabytes), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1024 * megabytes])],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def _with_external_weights(folder: Path, megabytes: int) -> Path:
    """Write a model whose weights, all zero, lie in a file beside it."""
    size = megabytes * 2**20
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(size)
    columns = size // 4 // 256
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[256, columns])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(size))):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", columns])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "large.onnx").write_bytes(model.SerializeToString())
    return folder / "large.onnx"


def test_an_image_is_there_by_tag_and_digest_with_its_bill(make: Make, request_of: BuildRequest, target: str) -> None:
    built = make(request_of, registry=target)
    assert built.changed
    assert built.ref.name == f"{target}/iris"
    with connect(built.ref.registry, environ={}) as door:
        by_tag = door.resolve(ImageRef(built.ref.registry, built.ref.repository, built.ref.tag, ""))
        assert by_tag is not None
        assert by_tag.digest == built.ref.digest
        (bill,) = door.referrers(built.ref.repository, built.ref.digest)
        assert bill.artifact_type == "application/vnd.cyclonedx+json"
        for layer in built.layers:
            assert door.has_blob(built.ref.repository, Descriptor("", layer.digest, layer.size))
    assert built.size == sum(layer.size for layer in built.layers)


def test_nothing_changed_is_one_question_and_no_byte(
    make: Make, request_of: BuildRequest, target: str, registry: Any
) -> None:
    first = make(request_of, registry=target)
    before = len(registry.requests("[A-Z]+ /v2/"))
    again = make(request_of, registry=target)
    assert not again.changed
    assert again.pushed_bytes == 0
    assert (again.ref, again.size, again.layers) == (first.ref, first.size, first.layers)
    asked = registry.requests("[A-Z]+ /v2/")[before:]
    # The second build of a process has no connection yet: it greets, asks, and is told once what lies there.
    assert not [line for line in asked if '"GET /v2/' not in line and '"HEAD /v2/' not in line]
    assert len([line for line in asked if "/blobs/" in line]) == 0


def test_a_changed_model_sends_itself_and_nothing_else(
    make: Make, request_of: BuildRequest, target: str, tmp_path: Path
) -> None:
    make(request_of, _model(tmp_path / "a.onnx", 1, seed=1), registry=target)
    changed = _model(tmp_path / "a.onnx", 1, seed=2)
    again = make(request_of, changed, registry=target)
    assert again.changed
    size = changed.stat().st_size
    assert size <= again.pushed_bytes <= 1.02 * size


def test_a_base_of_the_same_registry_is_mounted(
    make: Make, request_of: BuildRequest, target: str, registry: Any, tmp_path: Path
) -> None:
    first = make(request_of, registry=target)
    with_base = make(request_of, registry=target, base=f"{first.ref.tagged}", name="upon")
    assert with_base.changed
    inherited = [layer for layer in with_base.layers if layer.kind == "base"]
    assert [layer.digest for layer in inherited] == [layer.digest for layer in first.layers]
    mounts = registry.requests(f"POST /v2/{with_base.ref.repository}/blobs/uploads/[^ ]*mount=")
    assert len(mounts) >= len(inherited)
    assert with_base.pushed_bytes < 100_000


def test_two_architectures_are_one_index(make: Make, request_of: BuildRequest, target: str, parts: Any) -> None:
    built = make(request_of, registry=target, architectures=(parts.HERE, parts.ELSEWHERE))
    with connect(built.ref.registry, environ={}) as door:
        found, index = door.manifest(built.ref)
    assert found.media_type == parts.INDEX
    children = json.loads(index)["manifests"]
    assert {each["platform"]["architecture"] for each in children} == {parts.HERE, parts.ELSEWHERE}
    again = make(request_of, registry=target, architectures=(parts.HERE, parts.ELSEWHERE))
    assert not again.changed
    assert again.layers == built.layers


def test_weights_stream_through(request_of: BuildRequest, target: str, tmp_path: Path) -> None:
    """A model of 256 MB is never held: the whole process stays far below its size."""
    model = _with_external_weights(tmp_path, 256)
    # The peak of the process itself; what getrusage tells includes the test that it was forked from.
    code = (
        "import re, sys; from mlfn.command.main import main; code = main(sys.argv[1:]); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr); sys.exit(code)"
    )
    assert request_of.lock is not None
    command: list[str | Path] = [sys.executable, "-c", code, "build", model, "-r", target, "--base", request_of.base]
    command += ["--lock", request_of.lock, "--wheel-dir", str(request_of.wheel_dir)]
    command += ["--arch", request_of.architectures[0], "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pushed_bytes"] >= 256 * 2**20
    assert int(done.stderr.split()[-1]) < 200_000, done.stderr


def test_a_model_that_changes_meanwhile_is_refused(
    request_of: BuildRequest, target: str, tmp_path: Path, make: Make
) -> None:
    from dataclasses import replace

    from mlfn.images import build
    from mlfn.models import open_model

    package = open_model(_model(tmp_path / "a.onnx", 1, seed=1))
    content = bytearray((tmp_path / "a.onnx").read_bytes())
    content[-1] ^= 0xFF

    def meddle(stage: str) -> None:
        if stage.startswith("sending"):
            (tmp_path / "a.onnx").write_bytes(content)

    with pytest.raises(MlfnError, match="changed while"):
        build(package, replace(request_of, registry=target), meddle)
    host, _, repository = f"{target}/iris".partition("/")
    with connect(host, environ={}) as door:
        layer = "sha256:" + hashlib.sha256(bytes(content)).hexdigest()
        assert not door.has_blob(repository, Descriptor("", layer, len(content)))


def test_a_registry_that_is_not_there(make: Make, request_of: BuildRequest) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable):
        make(request_of, registry="127.0.0.1:9/nobody")
    assert time.monotonic() - began < 60


def test_no_registry_is_assumed(make: Make, request_of: BuildRequest) -> None:
    with pytest.raises(InvalidInput, match="no registry given") as refused:
        make(request_of)
    assert any("MLFN_REGISTRY" in hint for hint in refused.value.hints)
