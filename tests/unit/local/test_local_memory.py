"""Memory groups and sizes on Linux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlfn_local.memory import MemoryGroup, own_bytes, proportional_bytes, sweep_groups

linux = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel tells sizes on Linux only")


@linux
def test_the_sizes_of_a_process_are_plausible() -> None:
    block = bytearray(os.urandom(1)) * 50_000_000
    before = own_bytes(os.getpid())
    assert before > len(block)
    assert proportional_bytes(os.getpid()) > len(block)


def test_the_size_of_a_process_that_is_gone_is_nothing() -> None:
    assert own_bytes(2**22 + 1) == 0


def test_a_group_limits_and_is_swept() -> None:
    name = f"mlfn-unit-{os.getpid()}-a"
    group = MemoryGroup.create(name, 64 * 2**20)
    if group is None:
        pytest.skip("no memory cgroup can be made here")
    assert not group.killed()
    assert group.processes.exists()
    sweep_groups(f"mlfn-unit-{os.getpid()}-")
    assert not group.folder.exists()
    assert group.remove()
