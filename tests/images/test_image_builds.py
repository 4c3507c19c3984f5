"""Builds of an image into a layout or a tar: what is in it, and that the same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import marshal
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlfn.errors import InvalidInput
from mlfn.images import BuildRequest, BuiltImage

Make = Callable[..., BuiltImage]


@pytest.fixture
def layout(make: Make, request_of: BuildRequest, tmp_path: Path, read_layout: Callable[[Path], Any]) -> Any:
    """The iris image for this machine's architecture, read back."""
    make(request_of, output=tmp_path / "image")
    return read_layout(tmp_path / "image")


def test_an_image_runs_as_nobody_without_a_shell(layout: Any, parts: ModuleType) -> None:
    config = layout.config()["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == [f"/usr/local/bin/python{parts.MINOR}", "-m", "mlfn_runtime"]
    assert "Cmd" not in config
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    env = dict(pair.split("=", 1) for pair in config["Env"])
    assert env["PYTHONPATH"] == "/opt/mlfn"
    assert env["MLFN_MODEL_PATH"] == "/model/model.onnx"
    assert (env["HOST"], env["PORT"], env["MLFN_NAME"], env["LANG"]) == ("0.0.0.0", "8080", "iris", "C.UTF-8")


def test_labels_tell_what_the_function_takes(layout: Any) -> None:
    labels = layout.config()["config"]["Labels"]
    signature = json.loads(labels["dev.mlfn.signature"])
    assert [each["name"] for each in signature["inputs"]] == ["X"]
    model = Path(__file__).parents[2] / "examples/iris/model.onnx"
    assert labels["dev.mlfn.model.digest"] == "sha256:" + hashlib.sha256(model.read_bytes()).hexdigest()
    assert labels["org.opencontainers.image.title"] == "iris"
    assert layout.root["annotations"]["org.opencontainers.image.base.digest"].startswith("sha256:")


def test_every_layer_is_owned_by_root_and_writable_by_nobody_else(layout: Any) -> None:
    for layer in layout.manifest()["layers"][1:]:
        with tarfile.open(fileobj=io.BytesIO(layout.blob(layer["digest"]))) as archive:
            members = archive.getmembers()
            assert members
            files = [member.name for member in members if member.isreg()]
            assert files == sorted(set(files))
        for member in members:
            assert (member.uid, member.gid, member.mtime) == (0, 0, 0), member.name
            assert not member.mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID), member.name


def test_packages_are_trimmed_and_keep_their_licences(layout: Any) -> None:
    names = set(layout.files("dependencies"))
    assert "opt/mlfn/numpy/__init__.py" in names
    assert "opt/mlfn/numpy-1.0.dist-info/METADATA" in names
    assert "opt/mlfn/numpy-1.0.dist-info/licenses/LICENSE" in names
    assert not [name for name in names if re.search(r"/tests/|/include/|\.pyi$|RECORD$|INSTALLER$", name)]


def test_a_library_loses_what_is_never_loaded(layout: Any, parts: ModuleType) -> None:
    library = layout.files("dependencies")["opt/mlfn/numpy/core.so"]
    assert len(library) < 5_000 < len(parts.elf(parts.HERE, debug_bytes=200_000))


def test_byte_code_is_there_and_trusts_no_time(layout: Any, parts: ModuleType) -> None:
    tag = f"cpython-{parts.MINOR.replace('.', '')}"
    runtime = layout.files("runtime")
    sources = [name for name in runtime if name.endswith(".py")]
    assert "opt/mlfn/mlfn_runtime/__main__.py" in sources
    for source in sources:
        folder, _, name = source.rpartition("/")
        compiled = runtime[f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc"]
        assert compiled[4:8] == b"\x01\0\0\0"  # by hash, and the source is not looked at
        assert marshal.loads(compiled[16:]).co_filename == f"/{source}"
    library = layout.files("bytecode")
    assert f"usr/local/lib/python{parts.MINOR}/asyncio/__pycache__/base_events.{tag}.pyc" in library
    assert not [name for name in library if "/test/" in name or "/idlelib/" in name]


def test_the_image_for_another_processor_is_all_of_it(
    make: Make, request_of: BuildRequest, tmp_path: Path, read_layout: Callable[[Path], Any], parts: ModuleType
) -> None:
    both = (parts.HERE, parts.ELSEWHERE)
    built = make(request_of, architectures=both, output=tmp_path / "both")
    image = read_layout(tmp_path / "both")
    assert [each["platform"]["architecture"] for each in image.root["manifests"]] == list(both)
    for architecture in both:
        library = image.files("dependencies", architecture)["opt/mlfn/numpy/core.so"]
        assert library[18] == parts.MACHINES[architecture]
        assert image.config(architecture)["architecture"] == architecture
    # The base for the other processor cannot be run here: its sibling has compiled for it.
    assert image.files("runtime", parts.HERE) == image.files("runtime", parts.ELSEWHERE)
    assert built.findings == ()


def test_the_same_inputs_give_the_same_digest_elsewhere(
    make: Make, request_of: BuildRequest, tmp_path: Path, repository: Path, material: Any
) -> None:
    """Another folder, file name, checkout, cache, umask, locale, time zone, file times; as a process of its own."""
    here = make(request_of, output=tmp_path / "here")
    checkout = tmp_path / "checkout"
    for folder in ("cli", "runtimes", "scheduler_sim", "templates"):
        shutil.copytree(repository / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    model = checkout / "a model" / "renamed.onnx"
    model.parent.mkdir()
    model.write_bytes((repository / "examples/iris/model.onnx").read_bytes())
    os.utime(model, (1, 1))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(str(checkout / f) for f in ("cli", "runtimes", "scheduler_sim", "templates")),
        "XDG_CACHE_HOME": str(tmp_path / "other cache"),
        "LC_ALL": "C",
        "TZ": "Pacific/Auckland",
        "PYTHONHASHSEED": "7",
    }
    command: list[str | Path] = [
        sys.executable,
        "-c",
        "from mlfn.command import mlfn; mlfn()",
        "build",
        model,
        "--name",
        "iris",
    ]
    command += ["--base", f"oci:{material.base}", "--lock", material.lock, "--wheel-dir", material.wheels]
    command += ["--arch", request_of.architectures[0], "--output", tmp_path / "there", "-o", "json"]
    done = subprocess.run(
        command, env=env, umask=0o077, capture_output=True, text=True, check=False, timeout=100, cwd=checkout
    )
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    assert there["digest"] == here.ref.digest
    assert there["tag"] == here.ref.tag


@pytest.mark.parametrize(
    "changes",
    [{"name": "other"}, {"epoch": 86400}, {"environment": {"MLFN_THREADS": "1"}}],
    ids=["name", "epoch", "environment"],
)
def test_other_inputs_give_another_tag(
    make: Make, request_of: BuildRequest, tmp_path: Path, changes: dict[str, Any]
) -> None:
    one = make(request_of, output=tmp_path / "one.tar")
    other = make(request_of, output=tmp_path / "other.tar", **changes)
    assert other.ref.tag != one.ref.tag
    assert other.ref.digest != one.ref.digest


def test_the_time_is_the_one_that_was_asked_for(
    make: Make, request_of: BuildRequest, tmp_path: Path, read_layout: Callable[[Path], Any]
) -> None:
    make(request_of, epoch=86400, output=tmp_path / "later")
    image = read_layout(tmp_path / "later")
    assert image.config()["created"] == "1970-01-02T00:00:00Z"
    with tarfile.open(fileobj=io.BytesIO(image.blob(image.manifest()["layers"][-1]["digest"]))) as archive:
        assert {member.mtime for member in archive} == {86400}


def test_a_layout_is_whole_and_lists_the_bill_of_materials(
    make: Make, request_of: BuildRequest, tmp_path: Path, read_layout: Callable[[Path], Any]
) -> None:
    built = make(request_of, output=tmp_path / "image")
    for blob in (tmp_path / "image/blobs/sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    index = json.loads((tmp_path / "image/index.json").read_text())
    image, artifact = index["manifests"]
    assert image["digest"] == built.ref.digest
    read = read_layout(tmp_path / "image")
    attached = json.loads(read.blob(artifact["digest"]))
    assert attached["subject"]["digest"] == built.ref.digest
    assert attached["artifactType"] == "application/vnd.cyclonedx+json"
    bill = json.loads(read.blob(attached["layers"][0]["digest"]))
    assert {(each["name"], each.get("version")) for each in bill["components"]} >= {("numpy", "1.0"), ("orjson", "1.0")}
    assert bill["metadata"]["timestamp"].startswith("1970-01-01T00:00:00")
    assert bill["serialNumber"].startswith("urn:uuid:")


def test_a_tar_is_read_by_old_and_new_engines(make: Make, request_of: BuildRequest, tmp_path: Path) -> None:
    built = make(request_of, output=tmp_path / "one.tar")
    make(request_of, output=tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:

        def read(name: str) -> bytes:
            content = archive.extractfile(name)
            assert content is not None
            return content.read()

        (older,) = json.loads(read("manifest.json"))
        assert older["RepoTags"] == [built.ref.tagged]
        config = json.loads(read(older["Config"]))
        assert len(older["Layers"]) == len(config["rootfs"]["diff_ids"]) == len(built.layers)
        assert all(read(layer) for layer in older["Layers"])
        (entry,) = json.loads(read("index.json"))["manifests"]
        assert entry["annotations"]["io.containerd.image.name"] == built.ref.tagged
        assert read(f"blobs/{entry['digest'].replace(':', '/')}")


def test_a_tar_of_an_image_can_be_a_base(make: Make, request_of: BuildRequest, tmp_path: Path) -> None:
    make(request_of, output=tmp_path / "first.tar")
    again = make(request_of, base=str(tmp_path / "first.tar"), output=tmp_path / "second.tar")
    assert len([layer for layer in again.layers if layer.kind == "base"]) == 5
    assert "bytecode" not in {layer.kind for layer in again.layers}  # the base has it now


def test_nothing_of_a_folder_that_is_no_layout_is_touched(make: Make, request_of: BuildRequest, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("keep")
    with pytest.raises(InvalidInput, match="is no OCI layout"):
        make(request_of, output=tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]
