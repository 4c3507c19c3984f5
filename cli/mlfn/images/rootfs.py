"""The part of a base image that tells about its Python, unpacked into a folder: programs, libraries, nothing of /var.

A layer is somebody else's archive: nothing is written outside of the folder whatever names and links it holds, no
device is made, no owner or set-user bit is taken over. Knows nothing of Python.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mlfn.errors import BuildFailed

__all__ = ["inside", "unpack"]

_TOP = frozenset({"bin", "lib", "lib32", "lib64", "nix", "opt", "sbin", "usr"})
_LEFT_OUT = ("usr/share/", "usr/src/", "usr/include/", "usr/games/", "usr/lib/locale/", "usr/lib/gconv/")
_DEEPEST = 40
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


def unpack(layers: Sequence[BinaryIO], root: Path) -> None:
    """Lay layers over each other in ``root``, the lowest first."""
    for number, layer in enumerate(layers, 1):
        try:
            with layer, tarfile.open(fileobj=layer, mode="r|*") as archive:
                for member in archive:
                    _lay(archive, member, root)
        except (tarfile.TarError, EOFError) as error:
            raise BuildFailed(
                f"layer {number} of the base image cannot be read as a tar, plain or compressed by gzip: {error}",
                hints=("mlfn reads gzip layers; a base with zstd layers: build with --builder docker",),
            ) from error


def inside(root: Path, path: str, *, follow_last: bool = True) -> Path | None:
    """Return the place of an absolute path of the image below ``root``, its links followed within; None if endless."""
    todo = [part for part in PurePosixPath(path).parts if part not in ("/", ".")][::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1]
            continue
        place = root.joinpath(*done, part)
        if (todo or follow_last) and place.is_symlink():
            links += 1
            if links > _DEEPEST:
                return None
            target = PurePosixPath(place.readlink())
            done = [] if target.is_absolute() else done
            todo += [part for part in target.parts if part not in ("/", ".")][::-1]
            continue
        done.append(part)
    return root.joinpath(*done)


def _lay(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    path = PurePosixPath("/", member.name)
    parts = path.parts[1:]
    if not parts or ".." in parts or parts[0] not in _TOP or str(path)[1:].startswith(_LEFT_OUT):
        return
    folder = inside(root, str(path.parent))
    if folder is None or not _made(folder):
        return
    if path.name == _OPAQUE:
        for child in folder.iterdir():
            _remove(child)
    elif path.name.startswith(_WHITEOUT):
        _remove(folder / path.name.removeprefix(_WHITEOUT))
    else:
        _put(archive, member, root, folder / path.name)


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, place: Path) -> None:
    if member.isdir():
        if place.is_symlink() or not place.is_dir():
            _remove(place)
            place.mkdir()
        return
    _remove(place)
    if member.issym():
        place.symlink_to(member.linkname)
    elif member.islnk():
        source = inside(root, member.linkname, follow_last=False)
        if source is not None and source.is_file() and not source.is_symlink():
            place.hardlink_to(source)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        with place.open("xb") as file:
            shutil.copyfileobj(content, file)
        place.chmod(0o755 if member.mode & 0o100 else 0o644)


def _made(folder: Path) -> bool:
    """Make a folder unless something else has its name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return False
    return True


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
