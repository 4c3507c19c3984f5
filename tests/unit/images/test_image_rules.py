"""Small rules: which files a function needs, which wheels fit, which inputs make a tag, which lock the runtime has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mlfn.errors import InvalidInput
from mlfn.images import FINDINGS, BuildRequest, requested
from mlfn.images.findings import finding
from mlfn.images.layout_reading import layout_path
from mlfn.images.trimming import is_needed
from mlfn.images.wheels import WheelTarget, runtime_lock
from mlfn.settings.fields import ImageSettings

NEEDED = [
    "numpy/__init__.py",
    "numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so",
    "numpy/_typing/__init__.py",
    "numpy/ma/testutils.py",
    "numpy.libs/libscipy_openblas64_-32a4b2a6.so",
    "onnxruntime/capi/onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so",
    "onnxruntime/capi/onnxruntime_inference_collection.py",
    "onnxruntime/ThirdPartyNotices.txt",
    "onnxruntime/LICENSE",
    "numpy-2.4.6.dist-info/METADATA",
    "numpy-2.4.6.dist-info/licenses/numpy/_core/src/multiarray/dragon4_LICENSE.txt",
    "orjson-3.13.0.dist-info/licenses/LICENSE-MIT",
]
NOT_NEEDED = [
    ".lock",
    "bin/f2py",
    "numpy/__init__.pyi",
    "numpy/py.typed",
    "numpy/_core/tests/test_umath.py",
    "numpy/_core/_umath_tests.cpython-311-x86_64-linux-gnu.so",
    "numpy/_core/include/numpy/arrayobject.h",
    "numpy/_core/lib/libnpymath.a",
    "numpy/f2py/crackfortran.py",
    "numpy/testing/__init__.py",
    "numpy/__pycache__/version.cpython-311.pyc",
    "onnxruntime/capi/libonnxruntime.so.1.32.0",
    "onnxruntime/transformers/optimizer.py",
    "onnxruntime/quantization/__init__.py",
    "onnxruntime/tools/symbolic_shape_infer.py",
    "uvloop/loop.pyx",
    "uvloop/_testbase.py",
    "numpy-2.4.6.dist-info/RECORD",
    "numpy-2.4.6.dist-info/entry_points.txt",
]


@pytest.mark.parametrize("path", NEEDED)
def test_needed(path: str) -> None:
    assert is_needed(path)


@pytest.mark.parametrize("path", NOT_NEEDED)
def test_not_needed(path: str) -> None:
    assert not is_needed(path)


@pytest.mark.parametrize(
    ("architecture", "glibc", "expected"),
    [
        ("amd64", "2.36", "x86_64-manylinux_2_36"),
        ("arm64", "2.30", "aarch64-manylinux_2_28"),
        ("amd64", "2.17", "x86_64-manylinux_2_17"),
        ("arm64", "2.99", "aarch64-manylinux_2_40"),
    ],
)
def test_the_newest_wheels_that_the_c_library_runs(architecture: str, glibc: str, expected: str) -> None:
    assert WheelTarget(architecture, "3.13", glibc).platform == expected


def test_the_runtimes_lock_pins_what_the_project_asks_for_and_no_more(repository: Path) -> None:
    lock = runtime_lock().read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    wanted = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["dependencies"]
    asked = {re.split(r"[><=\[ ]", line)[0].lower() for line in wanted}
    assert pinned == {"onnxruntime", "numpy", "httptools", "uvloop", "orjson"}
    assert pinned <= asked
    base = (repository / ".ci/base.lock").read_text()
    for line in re.findall(r"^[a-z0-9-]+==.*$", lock, re.MULTILINE):
        assert line in base, "run make lock: images and the local platform serve with the same packages"


def test_the_lock_has_wheels_for_both_processors_and_every_python() -> None:
    """One hash for each of five packages, three Pythons and two processors at the least."""
    assert runtime_lock().read_text().count("--hash=") > 5 * 3 * 2
    assert "python_full_version >= '3.12'" in runtime_lock().read_text()


def test_a_request_from_settings() -> None:
    asked = ImageSettings(registry="r.example.com/t", arch="amd64,arm64", lock="~/x.lock")
    request = requested("iris", asked, {"SOURCE_DATE_EPOCH": "12"})
    assert request.architectures == ("amd64", "arm64")
    assert request.lock == Path("~/x.lock").expanduser()
    assert request.epoch == 12
    assert requested("iris", ImageSettings(), {}) == BuildRequest("iris")


@pytest.mark.parametrize("epoch", ["-1", "1.5", "soon", str(2**40)])
def test_an_epoch_that_is_no_time(epoch: str) -> None:
    with pytest.raises(InvalidInput, match="SOURCE_DATE_EPOCH"):
        requested("iris", ImageSettings(), {"SOURCE_DATE_EPOCH": epoch})


def test_a_base_is_a_layout_only_where_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text("{}")
    assert layout_path("python:3.13-slim") is None
    assert layout_path("registry.example.com/team/python@sha256:00") is None
    assert layout_path(str(tmp_path)) == (tmp_path, "")
    assert layout_path(f"oci:{tmp_path}") == (tmp_path, "")
    assert layout_path(f"oci:{tmp_path}:3.11") == (tmp_path, "3.11")


@pytest.mark.parametrize("what", sorted(FINDINGS))
def test_a_finding_says_how_it_is_fixed(what: str) -> None:
    made = finding(what, "message")
    assert made.fix
    assert made.severity is FINDINGS[what][0]


@pytest.mark.parametrize("name", ["image.tar.gz", "image.zip", "image.tgz"])
def test_an_output_of_another_kind_of_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"a file that ends in \.tar") as caught:
        requested("iris", ImageSettings(), {}, tmp_path / name)
    assert caught.value.hints == ("--output image.tar",)
