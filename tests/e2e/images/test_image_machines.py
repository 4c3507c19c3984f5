"""Images for another processor, of a large model, and the same image from two machines that have little in common."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PEAK_BYTES = 200e6
# The peak of a command and of whatever it starts; written last, after the command's own output.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


def unpack(layout: Path, architecture: str, root: Path) -> dict[str, Any]:
    """Lay the image of one architecture out in a folder, and return its configuration."""

    def document(digest: str) -> Any:
        return json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())

    listed = json.loads((layout / "index.json").read_text())["manifests"]
    (entry,) = [each for each in listed if each["mediaType"].endswith("image.index.v1+json")]
    index = document(entry["digest"])
    (chosen,) = [each for each in index["manifests"] if each["platform"]["architecture"] == architecture]
    manifest = document(chosen["digest"])
    for layer in manifest["layers"]:
        with tarfile.open(layout / "blobs" / layer["digest"].replace(":", "/")) as tar:
            tar.extractall(root, filter="tar")
    configuration: dict[str, Any] = document(manifest["config"]["digest"])["config"]
    return configuration


@pytest.fixture(scope="module")
def arm64(builds: Any, iris: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict[str, str]]:
    """Unpack an arm64 image of a build for both architectures: its root, how to run its Python here, its variables."""
    emulator = shutil.which("qemu-aarch64-static")
    assert emulator, "qemu-aarch64-static is not installed: apt-get install qemu-user-static"
    layout, root = tmp_path_factory.mktemp("both") / "layout", tmp_path_factory.mktemp("arm64")
    builds.ok(iris, "--name", "iris", "--arch", "amd64,arm64", "--output", layout)
    run = unpack(layout, "arm64", root)
    shutil.copy(emulator, root / "emulator")
    (root / "emulator").chmod(0o755)
    root.chmod(0o755)
    variables = dict(pair.split("=", 1) for pair in run["Env"])
    return root, ["chroot", "--userspec=65532:65532", str(root), "/emulator", run["Entrypoint"][0]], variables


def test_every_module_of_the_other_processor_is_imported(arm64: tuple[Path, list[str], dict[str, str]]) -> None:
    _, python, variables = arm64
    code = (
        "import platform, httptools, numpy, onnxruntime, orjson, uvloop, mlfn_runtime.server, mlfn_policies;"
        "print(platform.machine(), onnxruntime.__version__, numpy.arange(4).sum())"
    )
    done = subprocess.run(
        [*python, "-c", code], env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "aarch64"
    assert done.stdout.split()[2] == "6"


def test_the_other_processor_answers(
    arm64: tuple[Path, list[str], dict[str, str]], repository: Path, tmp_path: Path, serving: Callable[..., Any]
) -> None:
    _, python, variables = arm64
    with serving([*python, "-m", "mlfn_runtime"], variables, tmp_path) as url:
        request = json.loads((repository / "examples/iris/request.json").read_text())
        answer = httpx.post(f"{url}/v2/models/iris/infer", json=request, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    assert outputs["label"] == [0, 1, 2]


@pytest.fixture
def large_model(tmp_path: Path) -> Iterator[Path]:
    """Make a model whose weights, 2 GiB, lie in a file of their own."""
    columns = 2**27
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[4, columns])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "large.bin"), ("offset", "0"), ("length", str(16 * columns))):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "weights"], ["Y"])],
        "large",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", columns])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "large.onnx")
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(16 * columns)
    yield tmp_path / "large.onnx"
    (tmp_path / "large.bin").unlink()


def test_two_gigabytes_stream_through(builds: Any, large_model: Path, registry: str, iris: Path) -> None:
    builds.ok(iris, "--name", "iris", "-r", f"{registry}/large")  # what is not the model is there already
    mlfn = str(Path(sys.executable).with_name("mlfn"))
    command = [mlfn, "build", str(large_model), "--name", "large", "-r", f"{registry}/large", "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command],
        env=builds.surroundings(),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told, _, peak = done.stdout.rstrip().rpartition("\n")
    image = json.loads(told)
    size = large_model.with_suffix(".bin").stat().st_size
    assert size <= image["pushed_bytes"] <= 1.02 * size
    assert int(peak) <= PEAK_BYTES, f"{int(peak) / 1e6:.0f} MB at the peak"
    served = httpx.get(
        f"http://{registry}/v2/large/large/manifests/{image['digest']}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        trust_env=False,
    )
    assert served.json()["layers"][-1]["size"] > size


# -- two machines -----------------------------------------------------------------------------------------------------


@pytest.fixture
def other_machine(tmp_path: Path, repository: Path, base_layout: Callable[..., str]) -> list[str]:
    """Make another Debian with another Python, a checkout elsewhere, another umask and time zone; give its `mlfn`."""
    root = tmp_path / "machine"
    layout = Path(base_layout("3.13"))
    index = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    blobs = layout / "blobs" / "sha256"
    (entry,) = [
        each
        for each in json.loads((blobs / index.partition(":")[2]).read_text())["manifests"]
        if each["platform"]["architecture"] == "amd64"
    ]
    manifest = json.loads((blobs / entry["digest"].partition(":")[2]).read_text())
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].partition(":")[2]) as tar:
            tar.extractall(root, filter="tar")
    packages, checkout = root / "packages", root / "srv" / "elsewhere"
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    install = [uv, "pip", "install", "-q", "--target", str(packages), "--python-version", "3.13", "--no-deps"]
    install += ["--python-platform", "x86_64-manylinux_2_40", "--only-binary", ":all:", "--require-hashes"]
    subprocess.run([*install, "-r", str(repository / ".ci" / "base.lock")], check=True, timeout=600)
    (metadata,) = Path(sysconfig.get_path("purelib")).glob("mlfn-*.dist-info")  # its tables name formats and platforms
    shutil.copytree(metadata, packages / metadata.name)
    for source in ("cli", "runtimes", "scheduler_sim", "templates"):
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / source, checkout / source, ignore=leave, copy_function=shutil.copyfile)
    shutil.copytree(base_layout("3.11"), root / "base")
    shutil.copy(repository / "examples/iris/model.onnx", root / "model.onnx")
    for place in ("dev", "proc", "root", "uv-cache", "etc/ssl"):
        (root / place).mkdir(parents=True, exist_ok=True)
    cache = subprocess.run([uv, "cache", "dir"], check=True, capture_output=True, text=True).stdout.strip()
    mounts = [("/dev", "dev"), ("/proc", "proc"), (cache, "uv-cache"), ("/etc/ssl", "etc/ssl")]
    steps = [f"mount --rbind {source} {root}/{target}" for source, target in mounts]
    steps += [f"cp /etc/resolv.conf {root}/etc/resolv.conf", "umask 077", f'exec {shutil.which("chroot")} {root} "$@"']
    start = ["/usr/bin/python3.13", "-c", "from mlfn.command import mlfn; mlfn()"]
    return ["unshare", "--mount", "--fork", "sh", "-ec", "\n".join(steps), "sh", *start]


def test_two_machines_make_the_same_image(
    builds: Any, iris: Path, other_machine: list[str], base_layout: Callable[..., str], tmp_path: Path
) -> None:
    arguments = ["--name", "iris", "--arch", "amd64,arm64", "-o", "json"]
    here = builds.ok(iris, *arguments[:-2], "--base", f"oci:{base_layout()}", "--output", tmp_path / "here", TZ="UTC")
    sources = ":".join(f"/srv/elsewhere/{each}" for each in ("cli", "runtimes", "scheduler_sim", "templates"))
    environment = {
        "PATH": "/usr/bin:/bin:/packages/bin",
        "PYTHONPATH": f"{sources}:/packages",
        "PYTHONHASHSEED": "12345",
        "HOME": "/root",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        **{name: value for name, value in os.environ.items() if name.startswith(("SSL_", "UV_", "PIP_INDEX"))},
        "UV_CACHE_DIR": "/uv-cache",
    }
    done = subprocess.run(
        [*other_machine, "build", "/model.onnx", *arguments, "--base", "oci:/base", "--output", "/there"],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    assert [layer["digest"] for layer in there["layers"]] == [layer["digest"] for layer in here["layers"]]
    assert there["digest"] == here["digest"]
    assert there["tag"] == here["tag"]
