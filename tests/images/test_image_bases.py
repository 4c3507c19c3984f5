"""Bases that cannot be built upon are refused with what is wrong; odd ones that can are built upon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlfn.errors import InvalidInput, MlfnError, NotFound
from mlfn.images import BuildRequest, BuiltImage
from mlfn.images.build import WITHOUT_BYTECODE

Make = Callable[..., BuiltImage]


@pytest.fixture
def stub(parts: ModuleType, tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a stub base for the other architecture, with changes."""

    def written(change: Callable[[dict[str, Any]], None] = lambda files: None, **options: Any) -> str:
        base = parts.stub_base(parts.ELSEWHERE, **options)
        files = dict(base.files)
        change(files)
        folder = tmp_path / "base"
        parts.write_layout(folder, {parts.ELSEWHERE: [parts.Layer(files, base.links)]})
        return f"oci:{folder}"

    return written


@pytest.fixture
def refused(make: Make, request_of: BuildRequest, parts: ModuleType, tmp_path: Path) -> Callable[[str], MlfnError]:
    """Return a function that builds upon a base for the other architecture, and returns the refusal."""

    def refusal(base: str) -> MlfnError:
        with pytest.raises(MlfnError) as told:
            make(request_of, base=base, architectures=(parts.ELSEWHERE,), output=tmp_path / "x.tar")
        assert not (tmp_path / "x.tar").exists()
        return told.value

    return refusal


def test_no_python(stub: Any, refused: Any, parts: ModuleType) -> None:
    error = refused(stub(lambda files: files.pop(f"usr/local/bin/python{parts.MINOR}")))
    assert "has no Python" in error.message
    assert any("--base" in hint for hint in error.hints)


def test_an_old_python(stub: Any, refused: Any) -> None:
    assert "has Python 3.9, expected 3.11 or newer" in refused(stub(python="3.9")).message


def test_musl(stub: Any, refused: Any) -> None:
    assert "musl" in refused(stub(loader="/lib/ld-musl-aarch64.so.1")).message


def test_a_c_library_that_is_too_old(stub: Any, refused: Any) -> None:
    assert "glibc 2.12" in refused(stub(glibc="2.12")).message


def test_a_base_that_lies_about_its_processor(stub: Any, refused: Any, parts: ModuleType) -> None:
    wrong = {f"usr/local/bin/python{parts.MINOR}": parts.elf(parts.HERE)}
    message = refused(stub(lambda files: files.update(wrong))).message
    assert f"says it is for {parts.ELSEWHERE}" in message
    assert f"is for {parts.HERE}" in message


def test_a_base_for_other_processors_only(make: Make, request_of: BuildRequest, stub: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not for") as told:
        make(request_of, base=stub(), output=tmp_path / "x.tar")
    assert any("--arch" in hint for hint in told.value.hints)


def test_a_base_that_is_not_there(make: Make, request_of: BuildRequest, registry: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        make(request_of, base=f"oci:{tmp_path / 'nothing'}", output=tmp_path / "x.tar")
    with pytest.raises(NotFound, match="does not exist"):
        make(request_of, base=f"{registry.host}/no/base:1", output=tmp_path / "x.tar")


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_layer(
    make: Make, request_of: BuildRequest, stub: Any, parts: ModuleType, tmp_path: Path, damage: str
) -> None:
    base = stub(python="3.14" if damage == "cut" else "3.13")
    largest = max((tmp_path / "base/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[:-9] if damage == "cut" else content[:99] + bytes(4) + content[103:])
    with pytest.raises(MlfnError, match="damaged"):
        make(request_of, base=base, architectures=(parts.ELSEWHERE,), output=tmp_path / "x.tar")


def test_a_library_that_the_base_lacks(
    make: Make, request_of: BuildRequest, parts: ModuleType, tmp_path: Path, stub: Any
) -> None:
    wheels = parts.write_wheelhouse(tmp_path / "wheels")
    library = parts.elf(parts.ELSEWHERE, needed="libmissing.so.7")
    for old in wheels.glob("orjson-*.whl"):
        old.unlink()
    parts.write_wheel(
        wheels,
        "orjson",
        {"orjson/__init__.py": b"", "orjson/it.so": library},
        f"py3-none-{parts.WHEEL_TAGS[parts.ELSEWHERE]}",
    )
    lock = parts.write_lock(wheels, tmp_path / "lock")
    with pytest.raises(InvalidInput, match=r"lacks libmissing\.so\.7"):
        make(
            request_of,
            base=stub(),
            architectures=(parts.ELSEWHERE,),
            wheel_dir=wheels,
            lock=lock,
            output=tmp_path / "x.tar",
        )


def test_without_an_interpreter_the_image_says_so(
    make: Make, request_of: BuildRequest, parts: ModuleType, stub: Any, tmp_path: Path
) -> None:
    """A Python of the future, for another processor: nothing here can compile for it."""
    built = make(request_of, base=stub(python="3.99"), architectures=(parts.ELSEWHERE,), output=tmp_path / "x.tar")
    (told,) = built.findings
    assert told.what == "no-bytecode"
    assert "3.99" in told.message
    assert built.ref.tag.endswith(WITHOUT_BYTECODE)
    assert "bytecode" not in {layer.kind for layer in built.layers}
