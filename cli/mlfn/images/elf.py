"""What matters of ELF files: for which processor they are, what they load, and what of them is never loaded.

Reads the few fields it needs, of 64-bit little-endian files (amd64, arm64); knows nothing of images.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["ElfFile", "architecture_of", "is_elf", "without_debug_sections"]

_MACHINES = {3: "386", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64", 21: "ppc64le", 22: "s390x"}
_HEAD_BYTES, _SEGMENT_BYTES, _SECTION_BYTES = 64, 56, 64
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRING_TABLE = 1, 5
_NO_BITS, _ALLOCATED = 8, 2


def is_elf(head: bytes) -> bool:
    """Tell whether bytes begin an ELF file."""
    return head[:4] == b"\x7fELF"


def architecture_of(head: bytes) -> str:
    """Return the processor that the first 20 bytes of an ELF file name, in the words of OCI images."""
    order = ">" if head[5:6] == b"\x02" else "<"
    (machine,) = struct.unpack_from(f"{order}H", head, 18)
    return _MACHINES.get(machine, f"machine {machine}")


@dataclass(frozen=True, slots=True)
class _Section:
    """Hold the fields of a section header that say where it lies."""

    kind: int
    flags: int
    offset: int
    size: int

    @property
    def is_loaded(self) -> bool:
        return bool(self.flags & _ALLOCATED)

    @property
    def end(self) -> int:
        return self.offset + (0 if self.kind == _NO_BITS else self.size)


class ElfFile:
    """Read a 64-bit little-endian ELF file that is in memory (or mapped). Raises ValueError where it is none."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = content
        if len(content) < _HEAD_BYTES or not is_elf(bytes(content[:4])) or bytes(content[4:6]) != b"\x02\x01":
            raise ValueError("not a 64-bit little-endian ELF file")
        self._segments_at, self.sections_at = struct.unpack_from("<QQ", content, 32)
        self._segment_count, _, self.section_count = struct.unpack_from("<HHH", content, 56)

    @property
    def interpreter(self) -> str:
        """Return the program that loads it (PT_INTERP), or ""."""
        for kind, offset, _, size in self._segments():
            if kind == _INTERPRETER:
                return bytes(self._content[offset : offset + size]).rstrip(b"\0").decode()
        return ""

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the names of the libraries that it loads (DT_NEEDED)."""
        dynamic = [(offset, size) for kind, offset, _, size in self._segments() if kind == _DYNAMIC]
        if not dynamic:
            return ()
        offset, size = dynamic[0]
        entries = [struct.unpack_from("<QQ", self._content, at) for at in range(offset, offset + size - 15, 16)]
        strings = self._offset_of(next((value for tag, value in entries if tag == _STRING_TABLE), 0))
        return tuple(self._string(strings + value) for tag, value in entries if tag == _NEEDED)

    def sections(self) -> list[_Section]:
        """Return the sections."""
        found = []
        for number in range(self.section_count):
            _, kind, flags, _, offset, size = struct.unpack_from(
                "<IIQQQQ", self._content, self.sections_at + number * _SECTION_BYTES
            )
            found.append(_Section(kind, flags, offset, size))
        return found

    def _segments(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield kind, offset, address and size of each segment."""
        for number in range(self._segment_count):
            kind, _, offset, address, _, size = struct.unpack_from(
                "<IIQQQQ", self._content, self._segments_at + number * _SEGMENT_BYTES
            )
            yield kind, offset, address, size

    def _offset_of(self, address: int) -> int:
        for kind, offset, start, size in self._segments():
            if kind == _LOAD and start <= address < start + size:
                return offset + address - start
        raise ValueError(f"address {address:#x} is in no segment")

    def _string(self, at: int) -> str:
        end = at
        while self._content[end]:
            end += 1
        return bytes(self._content[at:end]).decode()


def without_debug_sections(content: bytes, *, worth_bytes: int = 0) -> bytes:
    """Return a library without the sections that are never loaded (debug information, symbols), else as it is.

    uvloop's wheel carries 12 MB of them; less than ``worth_bytes`` stay. Only the plain case is touched: everything
    that is loaded lies before everything that is not, so that no number of a section changes and nothing that the
    loader reads moves.
    """
    try:
        file = ElfFile(content)
        sections = file.sections()
    except (ValueError, struct.error):
        return content
    kept = [section for section in sections[1:] if section.is_loaded]
    dropped = sections[1 + len(kept) :]
    if not kept or not dropped or any(section.is_loaded for section in dropped):
        return content
    end = max(section.end for section in kept)
    table_end = file.sections_at + file.section_count * _SECTION_BYTES
    if len(content) - end < max(worth_bytes, 1):
        return content
    covered = max(table_end, *(section.end for section in dropped))
    # Data behind the last section is somebody's own; a section in between cannot be cut off.
    if covered != len(content) or file.sections_at < end or any(s.offset < end and s.size for s in dropped):
        return content
    return _rebuilt(content, file, end, len(kept))


def _rebuilt(content: bytes, file: ElfFile, end: int, kept: int) -> bytes:
    """Write the loaded part, a table of its sections, and their names anew."""
    old = [file.sections_at + number * _SECTION_BYTES for number in range(file.section_count)]
    (names_number,) = struct.unpack_from("<H", content, 62)
    names_at, names_size = struct.unpack_from("<QQ", content, old[names_number] + 24)
    names = content[names_at : names_at + names_size]
    names_start = end + -end % 8
    table_start = names_start + names_size + -names_size % 8
    table = [content[at : at + _SECTION_BYTES] for at in old[: kept + 1]]
    name_of_names = content[old[names_number] : old[names_number] + 4]
    table.append(name_of_names + struct.pack("<IQQQQIIQQ", 3, 0, 0, names_start, names_size, 0, 0, 1, 0))
    head = bytearray(content[:end])
    struct.pack_into("<Q", head, 40, table_start)
    struct.pack_into("<HH", head, 60, len(table), len(table) - 1)
    padding = bytes(names_start - end), bytes(table_start - names_start - names_size)
    return bytes(head) + padding[0] + names + padding[1] + b"".join(table)
