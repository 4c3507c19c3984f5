"""Start the background service from a command, detached from the terminal, and learn how that went.

Called by the client only. The service reports over a pipe: one JSON line when it listens, or why it cannot.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from mlfn_local import wire
from mlfn_local.errors import Kind, LocalError
from mlfn_local.paths import StatePaths

__all__ = ["clean_environment", "start_service"]

_KEPT = frozenset(
    {
        "COVERAGE_PROCESS_START",
        "DYLD_LIBRARY_PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    }
)
_KEPT_PREFIXES = ("LC_", "PYTHON", "XDG_")


def clean_environment() -> dict[str, str]:
    """Return what a service inherits: nothing of the shell that happened to start it, secrets least of all."""
    return {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_PREFIXES)}


def start_service(paths: StatePaths, *, version: str, port: int, timeout_s: float = 30.0) -> bool:
    """Start the service and wait until it listens; False when another one holds the folder already.

    ``port`` 0 leaves the choice to the service (the one of last time, or the default). Raises LocalError.
    """
    paths.prepare()
    read_end, write_end = os.pipe()
    try:
        with _open_log(paths.service_log) as log:
            argv = [sys.executable, "-P", "-m", "mlfn_local", "--state-dir", str(paths.root.resolve())]
            argv += ["--version-name", version, "--port", str(port), "--report-fd", str(write_end)]
            # The process forks at once and its parent ends, so that the service is nobody's child.
            subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                pass_fds=(write_end,),
                cwd="/",
                start_new_session=True,
                check=False,
            )
        os.close(write_end)
        write_end = -1
        return _read_report(read_end, paths.service_log, time.monotonic() + timeout_s)
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


def _open_log(path: Path) -> BinaryIO:
    try:
        return open(path, "ab", opener=lambda p, flags: os.open(p, flags, 0o600))
    except OSError as error:
        raise LocalError(Kind.FAILURE, f"service log {path} cannot be written: {error.strerror}") from error


def _read_report(fd: int, log: Path, deadline: float) -> bool:
    received = b""
    while not received.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise LocalError(Kind.TIMED_OUT, "the local service did not start in time", details=_tail(log))
        chunk = os.read(fd, 65536)
        if not chunk:
            raise LocalError(Kind.FAILURE, "the local service ended while starting", details=_tail(log))
        received += chunk
    report = wire.decode(received)
    if "error" in report:
        raise LocalError.from_json(report["error"])
    return bool(report.get("listening"))


def _tail(log: Path, lines: int = 20) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
