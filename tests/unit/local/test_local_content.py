"""The content store: checked copies under their digest."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from mlfn_local.content import ContentStore
from mlfn_local.errors import Kind, LocalError
from mlfn_local.records import ModelFiles


def files_of(root: Path, **content: bytes) -> ModelFiles:
    """Write files and return them as a model."""
    root.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for key, data in content.items():
        name = key.replace("__", "/")
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    if len(hashes) == 1:
        digest = next(iter(hashes.values()))
    else:
        listing = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
        digest = hashlib.sha256(listing.encode()).hexdigest()
    files = tuple(sorted(hashes))
    return ModelFiles("sha256:" + digest, files[0], files, "onnx", sum(map(len, content.values())), {})


def names(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    (tmp_path / "models").mkdir()
    return ContentStore(tmp_path / "models")


@pytest.mark.parametrize(
    "content", [{"m": b"one"}, {"m": b"one", "data__weights": b"two" * 500_000}], ids=["one", "two"]
)
def test_a_model_is_copied_read_only_and_found_again(
    store: ContentStore, tmp_path: Path, content: dict[str, bytes]
) -> None:
    model = files_of(tmp_path / "source", **content)
    assert not store.holds(model)
    assert store.add(tmp_path / "source", model)
    assert store.holds(model)
    assert not store.add(tmp_path / "source", model)
    for name in model.files:
        copy = store.folder(model.digest) / name
        assert copy.read_bytes() == (tmp_path / "source" / name).read_bytes()
        assert copy.stat().st_ino != (tmp_path / "source" / name).stat().st_ino
        assert stat.S_IMODE(copy.stat().st_mode) == 0o400


def test_a_copy_that_was_damaged_is_made_anew(store: ContentStore, tmp_path: Path) -> None:
    model = files_of(tmp_path / "source", m=b"good")
    store.add(tmp_path / "source", model)
    copy = store.folder(model.digest) / "m"
    copy.chmod(0o600)
    copy.write_bytes(b"evil")
    assert store.add(tmp_path / "source", model)
    assert copy.read_bytes() == b"good"


def test_a_file_that_changed_is_refused_and_nothing_stays(store: ContentStore, tmp_path: Path) -> None:
    model = files_of(tmp_path / "source", m=b"then")
    (tmp_path / "source" / "m").write_bytes(b"now")
    with pytest.raises(LocalError) as failure:
        store.add(tmp_path / "source", model)
    assert failure.value.kind is Kind.CONFLICT
    assert names(tmp_path / "models") == []


def test_a_cancelled_copy_leaves_nothing(store: ContentStore, tmp_path: Path) -> None:
    model = files_of(tmp_path / "source", m=b"x" * 3_000_000)
    with pytest.raises(LocalError, match="cancelled"):
        store.add(tmp_path / "source", model, cancelled=lambda: True)
    assert names(tmp_path / "models") == []


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../outside"])
def test_files_outside_the_model_are_refused(store: ContentStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalError) as failure:
        store.add(tmp_path, ModelFiles("sha256:00", name, (name,), "onnx", 1, {}))
    assert failure.value.kind is Kind.INVALID_INPUT


def test_prune_keeps_what_is_used_and_what_is_being_copied(store: ContentStore, tmp_path: Path) -> None:
    used, unused = files_of(tmp_path / "a", m=b"used"), files_of(tmp_path / "b", m=b"not used")
    store.add(tmp_path / "a", used)
    store.add(tmp_path / "b", unused)
    (tmp_path / "models" / ".staging-1").mkdir()
    assert store.prune(frozenset({used.digest})) == ([unused.digest], 8)
    assert store.holds(used)
    assert (tmp_path / "models" / ".staging-1").exists()
    store.sweep()
    assert names(tmp_path / "models") == [used.digest.replace(":", "-")]
