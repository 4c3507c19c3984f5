"""Which files of installed packages a function needs: a list of what it does not, each with its reason.

Pure: paths go in, a decision comes out. Licences always stay.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

__all__ = ["is_needed"]

_FOLDERS = frozenset({"__pycache__", "test", "tests"})
_PATHS = re.compile(
    "|".join(
        (
            r"\.",  # what installers leave behind
            r"bin/",  # commands: nothing in an image calls them
            r"include/|share/man/",
            r"numpy/(f2py|distutils|testing|typing|doc|_pyinstaller|conftest\.py)",  # to build and test extensions
            r"onnxruntime/(tools|transformers|quantization|datasets|backend)(/|$)",  # to prepare models (3 MB)
            r"onnxruntime/capi/libonnxruntime\.so",  # what the extension has in itself (35 MB)
            # Other processors' plug-ins; their bridge (_shared, 15 kB) is asked for at every start.
            r"onnxruntime/capi/libonnxruntime_providers_(cuda|tensorrt)\.so",
            r"numpy/_core/_[a-z_]+_tests\.",
            r"uvloop/_testbase\.py",
        )
    )
)
_SUFFIXES = frozenset(
    [
        ".a",
        ".c",
        ".cmake",
        ".cpp",
        ".f",
        ".f90",
        ".h",
        ".hpp",
        ".la",
        ".lib",
        ".pxd",
        ".pxi",
        ".pyc",
        ".pyf",
        ".pyi",
        ".pyo",
        ".pyx",
        ".whl",
    ]
)  # sources, headers, stubs, static libraries
_NAMES = frozenset({"py.typed"})
_METADATA = re.compile(
    r"[^/]+\.dist-info/(METADATA|(.*/)?(AUTHORS|COPYING|LICEN[CS]E|NOTICE)[^/]*|licenses/.*|sboms/.*)", re.I
)


def is_needed(path: str) -> bool:
    """Tell whether a file belongs into an image; ``path`` is relative to the folder of all packages."""
    parts = PurePosixPath(path)
    if ".dist-info/" in path:
        # METADATA names package, version and licence for scanners and importlib.metadata; the rest serves installers.
        return _METADATA.fullmatch(path) is not None
    if _is_licence(parts.name):
        return True
    return (
        not _FOLDERS.intersection(parts.parts[:-1])
        and parts.suffix.lower() not in _SUFFIXES
        and parts.name not in _NAMES
        and not _PATHS.match(path)
    )


def _is_licence(name: str) -> bool:
    return name.upper().startswith(("LICENSE", "LICENCE", "NOTICE", "COPYING", "THIRDPARTYNOTICES"))
