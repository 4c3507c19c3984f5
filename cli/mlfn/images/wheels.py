"""Wheels for another machine: uv installs a hashed lock for the image's processor, Python and C library into a folder.

Nothing is built from source and nothing runs. Credentials of an index travel in the environment only, and are taken out
of what uv tells.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlfn.errors import BuildFailed, InvalidInput, MissingExtra, MlfnError, NotAuthorised, Unreachable
from mlfn.shell import run

__all__ = ["WheelSources", "WheelTarget", "install_wheels", "runtime_lock", "uv_program"]

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_MANYLINUX = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
"""Minor versions of glibc that uv knows as platforms."""
_NO_ROUTE = (
    "error sending request",
    "connection refused",
    "dns error",
    "timed out",
    "failed to fetch",
    "tls",
    "certificate",
)
_NO_ENTRY = ("401 unauthorized", "403 forbidden", "authentication credentials")


@dataclass(frozen=True, slots=True)
class WheelTarget:
    """Say for which machine wheels are."""

    architecture: str
    python: str
    """``3.13``."""
    glibc: str
    """``2.36``."""

    @property
    def platform(self) -> str:
        """Return the newest platform of uv's that the C library can run."""
        major, _, minor = self.glibc.partition(".")
        fitting = [known for known in _MANYLINUX if major == "2" and known <= int(minor)]
        if not fitting or self.architecture not in _MACHINES:
            raise InvalidInput(f"there are no wheels for {self.architecture} with glibc {self.glibc}")
        return f"{_MACHINES[self.architecture]}-manylinux_2_{fitting[-1]}"


@dataclass(frozen=True, slots=True)
class WheelSources:
    """Say where wheels come from; all empty: PyPI, or what uv is set to."""

    wheel_dir: Path | None = None
    index_url: str = ""
    ca_file: Path | None = None


def runtime_lock() -> Path:
    """Return the function server's own pinned and hashed requirements."""
    from importlib.resources import files

    return Path(str(files("mlfn_runtime") / "requirements.lock"))


def uv_program() -> str:
    """Return the path of uv."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise MissingExtra("uv is not installed, which chooses the wheels of an image", hints=("pip install uv",))
    return found


def install_wheels(lock: Path, target: WheelTarget, sources: WheelSources, to: Path) -> None:
    """Install the wheels that a lock pins for ``target`` into the folder ``to``."""
    if sources.wheel_dir is not None and not sources.wheel_dir.is_dir():
        raise InvalidInput(f"--wheel-dir: {sources.wheel_dir} is no folder; expected one with files that end in .whl")
    command = [uv_program(), "pip", "install", "--quiet", "--no-progress", "--target", str(to)]
    command += ["--python", sys.executable, "--python-version", target.python, "--python-platform", target.platform]
    # Copies: the folder is read once and deleted, and nothing in it may be the file in uv's cache.
    command += [
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--no-deps",
        "--no-compile-bytecode",
        "--link-mode",
        "copy",
    ]
    if sources.wheel_dir is not None:
        command += ["--no-index", "--find-links", str(sources.wheel_dir.absolute())]
    command += ["-r", str(lock.absolute())]
    with tempfile.TemporaryDirectory() as elsewhere:  # no uv.toml or pyproject.toml of the current folder has a say
        surroundings = _environment(os.environ, sources)
        if sources.ca_file is not None:
            surroundings["SSL_CERT_FILE"] = str(_trusted(sources.ca_file, Path(elsewhere)))
        ended = run([*command, "--directory", elsewhere], environment=surroundings)
    if ended.code:
        raise _failure(ended.err, _Wanted(lock, target, sources))


def _environment(env: Mapping[str, str], sources: WheelSources) -> dict[str, str]:
    """Return what uv gets beside the user's own: the index that was asked for."""
    given: dict[str, str] = {}
    named = any(env.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX"))
    index = sources.index_url or ("" if named else env.get("PIP_INDEX_URL", ""))
    if index:
        given["UV_DEFAULT_INDEX"] = index
    return given


def _trusted(ca_file: Path, folder: Path) -> Path:
    """Write the public authorities and a private one into one file: uv trusts a file alone, or the public ones."""
    import certifi

    if b"-----BEGIN CERTIFICATE-----" not in ca_file.read_bytes():
        raise InvalidInput(
            f"--ca-file: {ca_file} holds no certificate; expected PEM, with -----BEGIN CERTIFICATE-----",
            hints=("openssl x509 -inform der -in FILE -out FILE.pem turns the binary form into it",),
        )
    before = Path(os.environ.get("SSL_CERT_FILE") or certifi.where())
    merged = folder / "authorities.pem"
    merged.write_bytes(b"\n".join(path.read_bytes() for path in (before, ca_file) if path.is_file()))
    return merged


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Hold what was looked for, and where, for the message of a failure."""

    lock: Path
    target: WheelTarget
    sources: WheelSources

    def __str__(self) -> str:
        return f"{self.target.architecture}, Python {self.target.python}, glibc {self.target.glibc}"


def _failure(told: str, wanted: _Wanted) -> MlfnError:
    said = told.strip()
    lowered = said.lower()
    if "`--require-hashes` mode" in lowered:
        return InvalidInput(
            f"the lock {wanted.lock} does not pin each package by version and hash",
            details=said,
            hints=("write it so: uv pip compile --generate-hashes --universal IN -o LOCK",),
        )
    if "hash mismatch" in lowered or ("hashes" in lowered and "require" in lowered):
        return BuildFailed(
            f"the wheels for {wanted} are not the ones that {wanted.lock} pins",
            details=said,
            hints=("write the lock with hashes: uv pip compile --generate-hashes --universal IN -o LOCK",),
        )
    if any(word in lowered for word in _NO_ENTRY):
        return NotAuthorised(
            f"the package index refuses to give the wheels for {wanted}: it wants another login",
            details=said,
            hints=("put the login into the environment: MLFN_IMAGE_INDEX_URL=https://USER:PASSWORD@HOST/simple",),
        )
    if any(word in lowered for word in _NO_ROUTE):
        return Unreachable(
            f"the package index with the wheels for {wanted} cannot be reached",
            details=said,
            hints=("--index-url names another index, --ca-file its certificates, --wheel-dir a folder of wheels",),
        )
    return _missing(said, wanted)


def _missing(said: str, wanted: _Wanted) -> BuildFailed:
    folder = wanted.sources.wheel_dir
    where = f" in {folder}" if folder else ""
    first = "put them there: pip download --only-binary :all: --no-deps -d FOLDER -r LOCK" if folder else ""
    hints = (
        first or "--index-url names another index, --wheel-dir a folder of wheels",
        "another base (--base) may have a Python or glibc that the wheels are for",
        "--lock takes another lock",
    )
    return BuildFailed(f"there are no wheels for {wanted} that {wanted.lock} pins{where}", details=said, hints=hints)
