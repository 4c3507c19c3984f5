"""Layers of somebody else's making: laid over each other rightly, and never outside of their folder."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from mlfn.errors import BuildFailed
from mlfn.images.rootfs import inside, unpack


def _layer(*entries: tuple[str, str, str]) -> io.BytesIO:
    """Make a layer of (kind, name, content or target)."""
    out = io.BytesIO()
    kinds = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, name, value in entries:
            entry = tarfile.TarInfo(name)
            if kind == "device":
                entry.type = tarfile.CHRTYPE
            else:
                entry.type = kinds[kind]
            if kind == "file":
                entry.size, entry.mode = len(value), 0o4777
                archive.addfile(entry, io.BytesIO(value.encode()))
            else:
                entry.linkname = value
                archive.addfile(entry)
    return io.BytesIO(gzip.compress(out.getvalue()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_later_layers_replace_and_remove(root: Path) -> None:
    unpack(
        [
            _layer(("file", "usr/a", "1"), ("file", "usr/b", "1"), ("file", "usr/lib/old/x", "1")),
            _layer(("file", "usr/a", "2"), ("file", "usr/.wh.b", ""), ("file", "usr/lib/old/.wh..wh..opq", "")),
            _layer(("file", "usr/lib/old/y", "3")),
        ],
        root,
    )
    assert {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()} == {
        "usr/a": "2",
        "usr/lib/old/y": "3",
    }


def test_links_of_folders_are_followed_within(root: Path) -> None:
    """A layer may write through /lib where the one below made it a link to usr/lib."""
    unpack([_layer(("dir", "usr/lib", ""), ("link", "lib", "/usr/lib")), _layer(("file", "lib/x", "new"))], root)
    assert (root / "usr/lib/x").read_text() == "new"
    assert inside(root, "/lib/x") == root / "usr/lib/x"


@pytest.mark.parametrize(
    "entries",
    [
        (("file", "../outside/x", "bad"),),
        (("file", "/usr/../../outside/x", "bad"),),
        (("link", "usr", "../outside"), ("file", "usr/x", "bad")),
        (("link", "usr", "/../../outside"), ("file", "usr/x", "bad")),
        (("hard", "usr/x", "../outside/secret"),),
        (("link", "usr/loop", "loop"), ("file", "usr/loop/x", "bad")),
    ],
    ids=["dots", "dots-within", "link-out", "absolute-link", "hard-link", "loop"],
)
def test_nothing_gets_out(root: Path, entries: tuple[tuple[str, str, str], ...]) -> None:
    secret = root.parent / "outside" / "secret"
    secret.write_text("mine")
    unpack([_layer(*entries)], root)
    assert [path.name for path in (root.parent / "outside").iterdir()] == ["secret"]
    assert secret.read_text() == "mine"
    assert not [path for path in root.rglob("*") if path.is_file() and path.read_text() == "mine"]


def test_no_devices_and_no_set_user_bits(root: Path) -> None:
    unpack([_layer(("device", "usr/null", ""), ("file", "usr/bin/su", "x"), ("file", "var/big", "x"))], root)
    assert not (root / "usr/null").exists()
    assert (root / "usr/bin/su").stat().st_mode & 0o7777 == 0o755
    assert not (root / "var").exists()


def test_a_layer_that_is_no_tar_is_named(root: Path) -> None:
    with pytest.raises(BuildFailed, match="layer 2 of the base image"):
        unpack([_layer(("file", "usr/a", "1")), io.BytesIO(b"\x28\xb5\x2f\xfd zstd " * 100)], root)
