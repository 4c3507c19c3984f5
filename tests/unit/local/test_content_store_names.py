"""One file deployed under two names: both functions keep their model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mlfn_local.content import ContentStore
from mlfn_local.records import ModelFiles

CONTENT = b"the same bytes"


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    """Return an empty store."""
    (tmp_path / "models").mkdir()
    return ContentStore(tmp_path / "models")


def add(store: ContentStore, folder: Path, name: str) -> Path:
    """Put a file into the store under a name, and return where it lies."""
    (folder / name).write_bytes(CONTENT)
    digest = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    model = ModelFiles(digest, name, (name,), "onnx", len(CONTENT), {})
    store.add(folder, model)
    assert store.holds(model)
    return store.folder(digest) / name


def test_the_second_name_leaves_the_first(store: ContentStore, tmp_path: Path) -> None:
    first = add(store, tmp_path, "first.onnx")
    second = add(store, tmp_path, "second.onnx")
    assert first.read_bytes() == second.read_bytes() == CONTENT


def test_a_damaged_file_is_repaired_and_its_neighbour_left(store: ContentStore, tmp_path: Path) -> None:
    first, second = add(store, tmp_path, "first.onnx"), add(store, tmp_path, "second.onnx")
    first.chmod(0o600)
    first.write_bytes(b"damaged")
    add(store, tmp_path, "first.onnx")
    assert first.read_bytes() == second.read_bytes() == CONTENT
