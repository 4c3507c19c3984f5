"""Where the local platform keeps its things: one folder that only its owner can enter.

The folder is an argument; which one it is by default is the deployer's business.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlfn_local.errors import Kind, LocalError

__all__ = ["StatePaths"]

SOCKET_PATH_LIMIT = 100
"""Longest path given to bind or connect; sun_path holds 108 bytes on Linux and 104 on macOS, with the final zero."""


@dataclass(frozen=True, slots=True)
class StatePaths:
    """Name every file of the local platform below ``root``."""

    root: Path

    @property
    def database(self) -> Path:
        """Return the embedded database."""
        return self.root / "state.db"

    @property
    def lock(self) -> Path:
        """Return the file that the one running service holds locked."""
        return self.root / "service.lock"

    @property
    def control(self) -> Path:
        """Return the control socket."""
        return self.root / "control.sock"

    @property
    def service_log(self) -> Path:
        """Return the service's own log."""
        return self.root / "service.log"

    @property
    def models(self) -> Path:
        """Return the content store."""
        return self.root / "models"

    @property
    def logs(self) -> Path:
        """Return the folder of the instances' logs, one folder a function."""
        return self.root / "logs"

    def lock_identity(self) -> tuple[int, int] | None:
        """Return what tells this folder's lock from that of a folder made anew in its place; None without one."""
        try:
            found = self.lock.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def prepare(self) -> None:
        """Create the folder for its owner only, or say why that cannot be."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.root.stat().st_uid != os.getuid():
                raise LocalError(
                    Kind.INVALID_INPUT,
                    f"state folder {self.root} belongs to user id {self.root.stat().st_uid}, not to {os.getuid()}",
                    hints=("set MLFN_STATE_DIR to a folder of your own",),
                )
            self.root.chmod(0o700)
            self.models.mkdir(mode=0o700, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}-{threading.get_ident()}"
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            raise LocalError(
                Kind.INVALID_INPUT,
                f"state folder {self.root} cannot be used: {error.strerror or error}",
                hints=("set MLFN_STATE_DIR to a folder that you can write to",),
            ) from error

    @contextlib.contextmanager
    def socket_address(self) -> Iterator[str]:
        """Give an address of the control socket that is short enough for bind and connect."""
        plain = str(self.control)
        if len(os.fsencode(plain)) <= SOCKET_PATH_LIMIT:
            yield plain
            return
        if sys.platform != "linux":
            raise LocalError(
                Kind.INVALID_INPUT,
                f"the path of the control socket is too long: {plain} has {len(os.fsencode(plain))} bytes, "
                f"at most {SOCKET_PATH_LIMIT} work here",
                hints=("set MLFN_STATE_DIR to a shorter path",),
            )
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{self.control.name}"
        finally:
            os.close(folder)

    def bind_control(self) -> socket.socket:
        """Return the listening control socket; only the holder of the lock may call this."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.unlink(missing_ok=True)
        try:
            before = os.umask(0o177)
            try:
                with self.socket_address() as address:
                    server.bind(address)
            finally:
                os.umask(before)
            server.listen(64)
        except OSError as error:
            server.close()
            raise LocalError(
                Kind.FAILURE, f"control socket {self.control} cannot be opened: {error.strerror}"
            ) from error
        return server
