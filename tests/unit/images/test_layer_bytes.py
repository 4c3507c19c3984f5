"""Layers as bytes: readable by others, the same each time, and never of the wrong length."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn.errors import Conflict
from mlfn.images.layers import LayerFile, TarRecipe, write_gzip_layer, zlib_is_standard

NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="/\x7f"), min_size=1, max_size=120
)


@given(st.dictionaries(NAMES, st.binary(max_size=2000), min_size=1, max_size=6))
def test_pythons_tarfile_reads_what_was_put_in(files: dict[str, bytes]) -> None:
    files = {name: content for name, content in files.items() if name not in (".", "..")}
    recipe = TarRecipe(tuple(LayerFile(f"model/{name}", content) for name, content in files.items()), 7)
    content = recipe.open().read()
    assert len(content) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        found = {}
        for member in archive:
            assert (member.uid, member.gid, member.mtime) == (0, 0, 7)
            if member.isreg():
                reader = archive.extractfile(member)
                assert reader is not None
                found[member.name] = reader.read()
    assert found == {f"model/{name}": content for name, content in files.items()}
    assert recipe.measure() == (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))


def test_neither_order_nor_times_nor_modes_of_files_matter(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = TarRecipe(tuple(LayerFile(name, tmp_path / name) for name in ("a", "b")), 0).measure()
    os.utime(tmp_path / "a", (5, 5))
    (tmp_path / "b").chmod(0o600)
    assert TarRecipe(tuple(LayerFile(name, tmp_path / name) for name in ("b", "a")), 0).measure() == first


def test_a_gzip_layer_names_both_its_digests() -> None:
    out = io.BytesIO()
    written = write_gzip_layer([LayerFile("x", b"content" * 1000, executable=True)], out, 0)
    packed = out.getvalue()
    assert written.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert written.size == len(packed)
    assert written.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}"
    assert written.content_bytes == 7000
    assert packed[4:8] == bytes(4)  # no time


def test_this_pythons_zlib_is_known() -> None:
    """The tests run on plain zlib; that variants are told apart was tried with zlib-ng."""
    assert zlib_is_standard()


@pytest.mark.parametrize("content", ["shorter", "much longer than it was before"])
def test_a_file_of_another_length_than_planned_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weights"
    path.write_text("just as long")
    recipe = TarRecipe((LayerFile("weights", path),), 0)
    path.write_text(content)
    with pytest.raises(Conflict, match="changed while the image was built"):
        recipe.measure()
