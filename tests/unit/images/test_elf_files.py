"""ELF files: their processor, what they load, and the sections that nobody loads."""

from __future__ import annotations

import struct
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn.images.elf import ElfFile, architecture_of, is_elf, without_debug_sections


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_processor_interpreter_and_libraries(parts: ModuleType, architecture: str) -> None:
    content = parts.elf(architecture, interpreter="/lib/ld-x.so", needed="libz.so.1")
    assert is_elf(content)
    assert architecture_of(content) == architecture
    assert ElfFile(content).interpreter == "/lib/ld-x.so"
    assert ElfFile(content).needed == ("libz.so.1",)


def test_a_processor_nobody_named_has_its_number() -> None:
    assert architecture_of(b"\x7fELF\x02\x01" + bytes(12) + struct.pack("<H", 9999)) == "machine 9999"


def test_debug_sections_go_and_the_rest_stays(parts: ModuleType) -> None:
    content = parts.elf("amd64", debug_bytes=100_000, needed="libc.so.6")
    thin = without_debug_sections(content)
    assert len(thin) < 2_000
    assert ElfFile(thin).needed == ("libc.so.6",)
    assert [section.is_loaded for section in ElfFile(thin).sections()] == [False, True, False]
    assert without_debug_sections(thin) == thin


def test_what_stands_behind_the_last_section_is_somebodys_own(parts: ModuleType) -> None:
    content = parts.elf("amd64", debug_bytes=1000) + b"appended"
    assert without_debug_sections(content) == content


def test_a_real_extension_can_still_be_imported(tmp_path: Path) -> None:
    """Every extension of this Python's library, without what is never loaded, is loaded by the system's own loader."""
    import subprocess

    folder = Path(sysconfig.get_path("stdlib")) / "lib-dynload"
    names = [name for name in ("_struct", "_json", "math", "zlib") if any(folder.glob(f"{name}.*.so"))]
    for name in names:
        (extension,) = folder.glob(f"{name}.*.so")
        (tmp_path / extension.name).write_bytes(without_debug_sections(extension.read_bytes()))
    assert names
    code = "import sys, importlib; print([importlib.import_module(n).__file__ for n in sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *names],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(tmp_path)) == len(names)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_break_it(tail: bytes) -> None:
    content = b"\x7fELF\x02\x01\x01" + tail
    thin = without_debug_sections(content)
    assert len(thin) <= len(content) + 1000
