"""Limit and measure the memory of an instance: a memory cgroup (v1 or v2) where we may make one, else by watching.

Both count what the instance has for itself: pages shared with the warm parent are nobody's limit. Linux only; elsewhere
nothing is limited and every size reads 0.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MemoryGroup", "own_bytes", "proportional_bytes", "sweep_groups"]

_MOUNT = Path("/sys/fs/cgroup")
_V1, _V2 = "v1", "v2"
_FILES = {
    _V1: ("memory.limit_in_bytes", "memory.oom_control", "memory.max_usage_in_bytes"),
    _V2: ("memory.max", "memory.events", "memory.peak"),
}


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """Hold the cgroup of one instance."""

    folder: Path
    version: str

    @classmethod
    def create(cls, name: str, limit_bytes: int) -> MemoryGroup | None:
        """Make a group that limits memory, None where this process may not."""
        for version, parent in _parents():
            folder = parent / name
            limit, _, _ = _FILES[version]
            try:
                folder.mkdir()
                if (folder / limit).exists():
                    (folder / limit).write_text(str(limit_bytes))
                    _forbid_swap(folder, version, limit_bytes)
                    return cls(folder, version)
            except OSError:
                pass
            with contextlib.suppress(OSError):
                folder.rmdir()
        return None

    @property
    def processes(self) -> Path:
        """Return the file that an instance writes itself into."""
        return self.folder / "cgroup.procs"

    def killed(self) -> bool:
        """Say whether the kernel has killed a process of the group for memory."""
        for line in _read(self.folder / _FILES[self.version][1]).splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1]) > 0
        return False

    def peak_bytes(self) -> int:
        """Return the most that was in use, 0 where the kernel does not tell."""
        text = _read(self.folder / _FILES[self.version][2]).strip()
        return int(text) if text.isdecimal() else 0

    def remove(self) -> bool:
        """Remove the group; False while a process is still in it."""
        try:
            self.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def sweep_groups(prefix: str) -> None:
    """Remove the empty groups that a killed service left behind."""
    for _, parent in _parents():
        with contextlib.suppress(OSError):
            for folder in parent.glob(f"{prefix}*"):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def own_bytes(pid: int) -> int:
    """Return what a process has for itself alone."""
    sizes = _rollup(pid)
    return sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0)


def proportional_bytes(pid: int) -> int:
    """Return a process's proportional set size: shared pages divided among those who share them."""
    return _rollup(pid).get("Pss", 0)


def _rollup(pid: int) -> dict[str, int]:
    sizes = {}
    for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) * 1024
    return sizes


def _parents() -> list[tuple[str, Path]]:
    found = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found.append((_V1, _MOUNT / "memory" / path.lstrip("/")))
        elif number == "0" and (_MOUNT / "cgroup.controllers").exists():
            found.append((_V2, _MOUNT / path.lstrip("/")))
    return found


def _forbid_swap(folder: Path, version: str, limit_bytes: int) -> None:
    name, value = ("memory.memsw.limit_in_bytes", limit_bytes) if version == _V1 else ("memory.swap.max", 0)
    with contextlib.suppress(OSError):
        (folder / name).write_text(str(value))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
