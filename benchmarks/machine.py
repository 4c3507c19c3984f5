"""Start servers pinned to one core, stop them, and read what they cost from /proc. Linux only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE = 0
LOAD_CORE = 1
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """Hold one running server."""

    process: subprocess.Popen[bytes]
    port: int
    spawned: float
    """``time.perf_counter()`` just before the spawn."""


def require_two_cores() -> None:
    """End the program where server and load cannot have a core each."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if not {SERVER_CORE, LOAD_CORE} <= usable:
        sys.exit(f"error: needs Linux and cores {SERVER_CORE} and {LOAD_CORE}; this process may use {sorted(usable)}")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(argv: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Iterator[Server]:
    """Run a server on its core until the block ends. ``{port}`` in argv becomes a free port, PORT holds it too."""
    port = free_port()
    command = ["taskset", "-c", str(SERVER_CORE), *(each.replace("{port}", str(port)) for each in argv)]
    with log.open("ab") as sink:
        spawned = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **env, "PORT": str(port)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        yield Server(process, port, spawned)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], patience_s: float = 8.0) -> None:
    """End a process group: politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(patience_s)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait(patience_s)


def wait_for_port(server: Server, patience_s: float = 60.0) -> None:
    """Wait until the server listens; raise when it has ended."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode}: {server.process.args!r}")
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
        except OSError:
            time.sleep(0.001)
        else:
            return
    raise TimeoutError(f"nothing listens on {server.port} after {patience_s} s")


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def pss_bytes(pids: Sequence[int]) -> int:
    """Return the proportional set size: private pages, and each shared page divided by those who share it."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def cpu_s(pids: Sequence[int]) -> float:
    """Return user and system seconds of processes."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def busy_s() -> float:
    """Return the seconds that all cores together have worked."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def wait_for_quiet(patience_s: float = 10.0) -> None:
    """Wait, not for ever, until the machine has used less than a quarter of a core for half a second."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        before = busy_s()
        time.sleep(0.5)
        if busy_s() - before < 0.125:
            return


def calibration_ms() -> float:
    """Return the milliseconds of a fixed piece of Python on the server's core, the best of five.

    It tells two machines, or two moments of one machine, apart; figures in seconds are to be read beside it.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            total = 0
            for i in range(1_000_000):
                total += i * i
            best = min(best, time.perf_counter() - began)
        return best * 1e3
    finally:
        os.sched_setaffinity(0, before)
