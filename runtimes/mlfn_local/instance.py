"""What happens inside an instance's process, forked from the warm parent or spawned.

Its one link to the service is a socket: the first line in is the order, lines out are facts (``started``,
``listening``, ``ready``, ``failed``), further lines in are commands. The end of that stream is the end of the service,
and so of the instance: nothing has to hunt it down.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Order", "run"]

_MAX_QUEUE = 10_000
"""Inferences that may wait, and connections: as many as the router may have held while the instance started."""


@dataclass(frozen=True, slots=True)
class Order:
    """Say what an instance is to serve, and under which limits."""

    instance: str
    function: str
    revision: str
    model_path: str
    log_path: str
    timeout_s: float
    memory_bytes: int = 0
    cgroup: str = ""
    """The ``cgroup.procs`` file to join; "" = none."""
    env: Mapping[str, str] = field(default_factory=dict)

    def as_line(self) -> bytes:
        """Return the order as it travels."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        """Read an order."""
        return cls(**json.loads(line))


def run(fd: int) -> int:
    """Serve what the order on the socket ``fd`` says; return the exit code."""
    link = socket.socket(fileno=fd)
    lines = link.makefile("rb")
    try:
        first = lines.readline()
    except ConnectionError:
        first = b""
    if not first:
        return 0
    order = Order.from_line(first)
    if order.cgroup:
        Path(order.cgroup).write_text("0")
    _be_killed_before_others()
    open_log(order.log_path)
    _tell(link, "started", {"pid": os.getpid()})
    threading.Thread(target=_obey, args=(lines,), name="mlfn-link", daemon=True).start()
    os.environ.update(order.env)
    os.environ.update(
        {"MLFN_FUNCTION": order.function, "MLFN_REVISION": order.revision, "MLFN_INSTANCE": order.instance}
    )
    try:
        return _serve(order, link)
    except BaseException as error:  # noqa: BLE001  the last frame of the process: whatever it is goes to log and service
        traceback.print_exc()
        _tell(link, "failed", {"kind": "crash", "error": f"{type(error).__name__}: {error}"})
        return 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()


def _serve(order: Order, link: socket.socket) -> int:
    from mlfn_runtime.server import ServerSettings, serve

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    settings = ServerSettings.from_environment(
        {"MLFN_MAX_QUEUE": str(_MAX_QUEUE), "MLFN_MAX_CONNECTIONS": str(_MAX_QUEUE), **os.environ},
        model_path=order.model_path,
        name=order.function,
        host="127.0.0.1",
        port=listener.getsockname()[1],
        log_path=None,
        memory_bytes=order.memory_bytes,
        request_timeout_s=order.timeout_s,
    )
    return serve(settings, listener=listener, notify=lambda what, facts: _tell(link, what, facts))


def open_log(path: str) -> None:
    """Let standard output and error go to the end of ``path``: atomically, so that no line is lost."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _be_killed_before_others() -> None:
    # When the machine itself runs out of memory, an instance can be started again; a user's editor cannot.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _tell(link: socket.socket, what: str, facts: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        link.sendall(json.dumps({"event": what, **facts}, default=str).encode() + b"\n")


def _obey(lines: Any) -> None:
    """Carry out the service's commands, in a thread of its own; the end of the stream ends the process."""
    try:
        for line in lines:
            command = json.loads(line)
            if "log" in command:
                with contextlib.suppress(OSError):  # on a full disk the old file goes on
                    open_log(command["log"])
            if "stop" in command:
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        # Also where the stream broke: a service was killed with facts unread.
        os._exit(0)


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1])))
