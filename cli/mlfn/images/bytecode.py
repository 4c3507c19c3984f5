"""Byte code for an image, made when it is built: a read-only container could never keep what it compiles at a start.

Files are "unchecked hash-based" (PEP 552): they hold no time, and the interpreter does not read the source to see
whether they are current. The interpreter must be of the base's minor version. The base's own comes first, run out of
the unpacked base by the base's own loader, since every machine then gets the same bytes; next one of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlfn.errors import BuildFailed, MissingExtra
from mlfn.images.base_python import BasePython, library_folders
from mlfn.images.bases import this_machine
from mlfn.images.rootfs import inside
from mlfn.shell import run

__all__ = ["Interpreter", "UnpackedBase", "compile_files", "find_interpreter", "standard_modules"]

_PROBE = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
_SCRIPT = """
import json, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for source, target, shown in json.load(open(sys.argv[1], encoding="utf-8")):
    try:
        py_compile.compile(source, target, shown, doraise=True, optimize=0, invalidation_mode=mode)
    except (py_compile.PyCompileError, UnicodeDecodeError, ValueError):
        pass  # templates and examples of packages: whoever imports one gets the error then
"""
# What a server never imports, by its first part; test suites and teaching material above all.
_LEFT_OUT = re.compile(
    r"(__phello__|config|curses|dbm|dist-packages|distutils|ensurepip|idlelib|lib-dynload|lib2to3|msilib|pydoc_data"
    r"|site-packages|sqlite3|test|tkinter|turtle|turtledemo|unittest|venv|wsgiref|xml|xmlrpc"
    r"|aifc|antigravity|asynchat|asyncore|bdb|cgi|cgitb|chunk|cmd|code|codeop|cProfile|doctest|filecmp|ftplib|imaplib"
    r"|mailbox|mailcap|netrc|nntplib|pdb|pickletools|pipes|poplib|profile|pstats|pty|pyclbr|pydoc|rlcompleter|sched|shelve"
    r"|smtpd|smtplib|sndhdr|sunau|tabnanny|telnetlib|this|trace|uu|wave|webbrowser|xdrlib|zipapp)(-|$)"
)
_ENCODINGS = re.compile(r"__init__|aliases|ascii|cp437|idna|latin_1|punycode|utf_16|utf_8|utf_8_sig")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Say how to run a Python."""

    command: tuple[str, ...]
    home: str = ""
    """PYTHONHOME, for one that does not lie where it was built for."""
    patch: str = ""
    is_of_base: bool = False


@dataclass(frozen=True, slots=True)
class UnpackedBase:
    """Hold an unpacked base with what is known of its Python."""

    root: Path
    architecture: str
    python: BasePython


def find_interpreter(base: UnpackedBase, siblings: Sequence[UnpackedBase] = ()) -> Interpreter | None:
    """Return an interpreter of the base's minor version that runs here, or None.

    ``siblings`` are other architectures of the same base: byte code is the same on all.
    """
    for candidate in _candidates(base, siblings):
        told = _output([*candidate.command, "-c", _PROBE], candidate.home)
        if told.startswith(f"{base.python.version}."):
            return Interpreter(candidate.command, candidate.home, told, candidate.is_of_base)
    return None


def compile_files(interpreter: Interpreter, jobs: Sequence[tuple[Path, Path, str]]) -> None:
    """Compile sources to targets; each job names the path that tracebacks show."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder, "jobs.json")
        listing.write_text(json.dumps([[str(a), str(b), shown] for a, b, shown in jobs]), encoding="utf-8")
        ended = run([*interpreter.command, "-c", _SCRIPT, str(listing)], environment=_clean(interpreter.home))
    if ended.code:
        raise BuildFailed("the byte code of the image cannot be compiled", details=ended.as_details())


def standard_modules(stdlib: Path) -> list[Path]:
    """Return the modules of a standard library that are worth compiling, relative to it."""
    kept = []
    for path in sorted(stdlib.rglob("*.py")):
        # Debian's sitecustomize.py is a link to /etc, and here that would be this machine's.
        if path.is_symlink():
            continue
        relative = path.relative_to(stdlib)
        first = relative.parts[0].removesuffix(".py")
        if _LEFT_OUT.match(first) or "test" in relative.parts or "tests" in relative.parts:
            continue
        if first == "encodings" and not _ENCODINGS.fullmatch(path.stem):
            continue
        kept.append(relative)
    return kept


def _candidates(base: UnpackedBase, siblings: Sequence[UnpackedBase]) -> Iterator[Interpreter]:
    for each in (base, *siblings):
        if each.architecture == this_machine() and each.python.version == base.python.version:
            yield _of_base(each)
    version = base.python.version
    names = [sys.executable, shutil.which(f"python{version}"), _found_by_uv(version)]
    for name in dict.fromkeys(name for name in names if name):
        yield Interpreter((name, "-s", "-S", "-P", "-B"))


def _of_base(base: UnpackedBase) -> Interpreter:
    loader = inside(base.root, base.python.loader)
    folders = ":".join(str(folder) for folder in library_folders(base.root, base.architecture))
    home = Path(str(base.root) + base.python.stdlib).parent.parent
    program = str(base.root) + base.python.program
    return Interpreter(
        (str(loader), "--library-path", folders, program, "-s", "-S", "-P", "-B"),
        str(home),
        is_of_base=True,
    )


def _found_by_uv(version: str) -> str:
    from mlfn.images.wheels import uv_program

    return _output([uv_program(), "python", "find", "--no-python-downloads", "--no-project", version])


def _output(command: Sequence[str], home: str = "") -> str:
    """Return what a program prints, "" where it fails: the next candidate is tried, or a file has no byte code."""
    try:
        ended = run(command, environment=_clean(home))
    except (MissingExtra, OSError):
        return ""
    return ended.out.strip() if ended.code == 0 else ""


def _clean(home: str) -> dict[str, str]:
    """Return an environment in which nothing of the user's changes what is compiled."""
    unset = {name: "" for name in os.environ if name.startswith(("PYTHON", "LD_"))}
    return {**unset, "PYTHONHOME": home, "PYTHONHASHSEED": "0"}
