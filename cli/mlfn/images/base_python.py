"""The Python of a base image, found in its files: which version, where, over which C library, with byte code or not.

Reads an unpacked base (rootfs.py) and its configuration; runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlfn.errors import BuildFailed, InvalidInput
from mlfn.images.elf import ElfFile, architecture_of
from mlfn.images.rootfs import inside

__all__ = ["BasePython", "find_python", "library_folders", "missing_libraries"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAME = re.compile(r"python3\.(\d+)")
_GLIBC = re.compile(rb"stable release version (\d+\.\d+)")
_OLDEST, _TRIPLETS = 11, {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_LIBRARIES = ("lib", "usr/lib", "lib64", "usr/lib64", "usr/local/lib")


@dataclass(frozen=True, slots=True)
class BasePython:
    """Describe the interpreter of one base image; paths are the image's own."""

    program: str
    """What starts it, without a link in between."""
    version: str
    """``3.13``."""
    patch: str
    """``3.13.1`` where the base says so in PYTHON_VERSION; else ""."""
    stdlib: str
    """Folder of the standard library."""
    has_bytecode: bool
    """Whether the standard library comes compiled."""
    glibc: str
    """``2.36``."""
    loader: str
    """The dynamic loader that its programs name."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> BasePython:
        """Read what ``as_record`` gave."""
        return cls(**{name: record[name] for name in cls.__slots__})

    def as_record(self) -> dict[str, Any]:
        """Return it for the cache."""
        return asdict(self)


def find_python(root: Path, environment: Mapping[str, str], architecture: str) -> BasePython:
    """Find the interpreter in an unpacked base. Raises InvalidInput where there is none that works."""
    program = _program(root, environment)
    real = inside(root, program)
    assert real is not None
    found = _NAME.fullmatch(real.name) or _NAME.match(Path(program).name)
    if found is None:
        raise InvalidInput(f"the base image's {program} does not say in its name which Python it is: {real.name}")
    minor = int(found[1])
    if minor < _OLDEST:
        raise InvalidInput(
            f"the base image has Python 3.{minor}, expected 3.{_OLDEST} or newer",
            hints=("--base (MLFN_BASE_IMAGE) names another, such as docker.io/library/python:3.13-slim",),
        )
    content = real.read_bytes()
    seen = architecture_of(content[:20])
    if seen != architecture:
        raise InvalidInput(f"the base image says it is for {architecture}, but its {program} is for {seen}")
    loader = ElfFile(content).interpreter
    stdlib = _stdlib(root, program, real, minor)
    return BasePython(
        program="/" + str(real.relative_to(root)),
        version=f"3.{minor}",
        patch=_patch(environment, minor),
        stdlib="/" + str(stdlib.relative_to(root)),
        has_bytecode=(stdlib / "__pycache__" / f"os.cpython-3{minor}.pyc").is_file(),
        glibc=_glibc(root, loader, architecture),
        loader=loader,
    )


def missing_libraries(root: Path, needed: frozenset[str], architecture: str) -> list[str]:
    """Return the libraries of ``needed`` that lie in none of the base's library folders."""
    folders = list(library_folders(root, architecture))
    return sorted(name for name in needed if not any((folder / name).exists() for folder in folders))


def library_folders(root: Path, architecture: str) -> Iterator[Path]:
    """Yield the folders in which the base's loader looks, of those that there are."""
    triplet = _TRIPLETS.get(architecture, "")
    for folder in _LIBRARIES:
        for path in (f"{folder}/{triplet}", folder):
            place = inside(root, path)
            if place is not None and place.is_dir():
                yield place


def _program(root: Path, environment: Mapping[str, str]) -> str:
    """Return the path of the first Python in PATH, the plain name first."""
    folders = (environment.get("PATH") or _PATH).split(":")
    for folder in folders:
        names = ["python3", "python"]
        place = inside(root, folder)
        if place is not None and place.is_dir():
            found = [name.name for name in place.iterdir() if _NAME.fullmatch(name.name)]
            names += sorted(found, key=lambda name: -int(name.partition(".")[2]))
        for name in names:
            file = inside(root, f"{folder}/{name}")
            if file is not None and file.is_file() and file.read_bytes()[:4] == b"\x7fELF":
                return f"{folder}/{name}"
    raise InvalidInput(
        f"the base image has no Python: none of python3, python, python3.* lies in {', '.join(folders)}",
        hints=("--base (MLFN_BASE_IMAGE) names another, such as docker.io/library/python:3.13-slim",),
    )


def _stdlib(root: Path, program: str, real: Path, minor: int) -> Path:
    places = [real.parent.parent, Path(str(root) + program).parent.parent, root / "usr", root / "usr/local"]
    for prefix in places:
        place = inside(root, f"{prefix.relative_to(root)}/lib/python3.{minor}")
        if place is not None and (place / "os.py").is_file():
            return place
    raise InvalidInput(f"the base image has {program}, but no standard library of Python 3.{minor} beside it")


def _patch(environment: Mapping[str, str], minor: int) -> str:
    told = environment.get("PYTHON_VERSION", "")
    return told if told.startswith(f"3.{minor}.") else ""


def _glibc(root: Path, loader: str, architecture: str) -> str:
    if "musl" in loader:
        raise BuildFailed(
            f"the base image is built on musl ({loader}), and ONNX Runtime has no wheels for it; expected glibc",
            hints=("--base (MLFN_BASE_IMAGE) names another, such as docker.io/library/python:3.13-slim",),
        )
    for folder in library_folders(root, architecture):
        library = folder / "libc.so.6"
        if library.is_file() and (found := _GLIBC.search(library.read_bytes())):
            return found[1].decode()
    raise InvalidInput(
        "the base image has no C library (libc.so.6) that could be found",
        hints=("--base (MLFN_BASE_IMAGE) names another, such as docker.io/library/python:3.13-slim",),
    )
