"""Formats come from an entry-point table: others can add theirs, and one that is broken is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlfn.errors import MlfnError
from mlfn.models import ModelFormat, example_body, open_model
from mlfn.models.mlflow_format import FORMAT as MLFLOW
from mlfn.models.onnx_format import FORMAT as ONNX

PLUGIN = '''\
from dataclasses import dataclass, replace
from mlfn.models.onnx_format import FORMAT as ONNX

@dataclass(frozen=True)
class Wrapped:
    """An ONNX file behind eight bytes of our own."""
    name: str = "wrapped"
    def detect(self, path):
        return path.is_file() and path.read_bytes()[:8] == b"WRAPPED1"
    def read(self, path):
        return replace(ONNX.read(path.with_suffix(".onnx")), format=self.name)

@dataclass(frozen=True)
class Broken:
    name: str = "broken"
    def detect(self, path):
        return path.suffix == ".odd"
    def read(self, path):
        return {}["surprise"]

FORMAT, BROKEN, NO_FORMAT = Wrapped(), Broken(), object()
'''

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that puts a distribution with one entry point on the path."""

    def installed(entry: str) -> None:
        site = tmp_path / "site"
        info = site / "acme_formats-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "acme_formats.py").write_text(PLUGIN)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-formats\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[mlfn.formats]\n{entry}\n")
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, "acme_formats", raising=False)

    return installed


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Return a file that the plugin's formats know."""
    path = tmp_path / "model.odd"
    path.write_bytes(b"WRAPPED1")
    return path


def test_the_built_in_formats_keep_the_protocol() -> None:
    assert isinstance(ONNX, ModelFormat)
    assert isinstance(MLFLOW, ModelFormat)


def test_a_format_of_another_package(install: Install, odd: Path, repository: Path) -> None:
    install("wrapped = acme_formats:FORMAT")
    odd.with_suffix(".onnx").write_bytes((repository / "examples/iris/model.onnx").read_bytes())
    assert open_model(odd).format == "wrapped"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("broken = acme_formats:BROKEN", "KeyError: 'surprise'"),
        ("absent = acme_formats:ABSENT", "ABSENT"),
        ("nowhere = acme_nowhere:FORMAT", "acme_nowhere"),
        ("odd = acme_formats:NO_FORMAT", "lacks name, detect or read"),
    ],
    ids=["raises", "attribute", "module", "no format"],
)
def test_a_broken_format_is_named_and_hides_no_other(
    install: Install, odd: Path, repository: Path, entry: str, says: str
) -> None:
    install(entry)
    assert open_model(repository / "examples/iris/model.onnx").format == "onnx"
    with pytest.raises(MlfnError) as caught:
        open_model(odd)
    assert entry.partition(" ")[0] in caught.value.message
    assert says in caught.value.message + "".join(caught.value.hints)


def test_only_the_formats_that_are_given(repository: Path) -> None:
    with pytest.raises(MlfnError):
        open_model(repository / "examples/iris/model.onnx", [MLFLOW])


def test_an_example_is_made_from_the_signature(repository: Path) -> None:
    body = example_body(open_model(repository / "examples/iris/model.onnx"))
    inputs = body["inputs"]
    assert isinstance(inputs, list)
    (tensor,) = inputs
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("X", "FP32", [1, 4])
    assert len(tensor["data"]) == 4
