"""One instance as the service sees it: a process, the link to it, its memory limit, and how it came to its end.

It tells its owner two things, once each at most: ``instance_ready`` and ``instance_gone``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from mlfn_local import logs
from mlfn_local.instance import Order
from mlfn_local.memory import MemoryGroup, own_bytes
from mlfn_local.starter import Starter

__all__ = ["Ending", "InstanceOwner", "InstanceProcess", "ProcessState"]

_log = logging.getLogger("mlfn_local")

STOP_GRACE_S = 30.0
"""Time between SIGTERM and SIGKILL: what is in flight at an instance that is asked to stop may take so long."""


class ProcessState(StrEnum):
    """Where an instance stands."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ending:
    """Tell how an instance ended."""

    instance: str
    was_ready: bool
    expected: bool
    """Whether it had been asked to stop."""
    kind: str
    """``memory``, ``load``, ``warm_up``, ``listen``, ``crash``, ``lost`` or ``stopped``."""
    message: str
    lived_s: float


class InstanceOwner(Protocol):
    """Who is told."""

    def instance_ready(self, process: InstanceProcess) -> None:
        """Hear that an instance answers."""

    def instance_gone(self, process: InstanceProcess, ending: Ending) -> None:
        """Hear that an instance has ended, and how."""


class InstanceProcess:
    """Start, watch and end one instance."""

    def __init__(self, order: Order, owner: InstanceOwner, starter: Starter, *, memory_bytes: int, group: str) -> None:
        self.id = order.instance
        self.log = Path(order.log_path)
        self.state = ProcessState.STARTING
        self.pid: int | None = None
        self.port = 0
        self.started_at = time.time()
        self.facts: dict[str, Any] = {}
        self._began_s = time.monotonic()
        self._owner = owner
        self._starter = starter
        self._loop = asyncio.get_running_loop()
        self._limit_bytes = memory_bytes
        self._seen_bytes = 0
        self._over_limit = False
        self._group = MemoryGroup.create(f"{group}{order.instance}", memory_bytes) if memory_bytes and group else None
        self._pidfd = -1
        self._received = b""
        self._failure: tuple[str, str] | None = None
        self._exit: tuple[int | None] | None = None
        self._stopping = False
        self._was_ready = False
        self._kill_timer: asyncio.TimerHandle | None = None
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._link.setblocking(False)
        self._loop.add_reader(self._link.fileno(), self._hear)
        cgroup = str(self._group.processes) if self._group else ""
        self._send(replace(order, cgroup=cgroup).as_line())
        starter.start(self.id, theirs, self._exited)

    @property
    def is_watched(self) -> bool:
        """Say whether the memory must be looked at, since no cgroup limits it."""
        return self._limit_bytes > 0 and self._group is None

    def drain(self) -> None:
        """Mark the instance as one that gets no more requests."""
        self.state = ProcessState.DRAINING

    def stop(self) -> None:
        """Ask it to finish what it does and end; make it end when it takes too long."""
        if self._stopping:
            return
        self._stopping = True
        self.state = ProcessState.DRAINING
        self._send(b'{"stop": true}\n')
        self._kill_timer = self._loop.call_later(STOP_GRACE_S, self.kill)

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            elif self.pid is not None and self._exit is None:
                os.kill(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """End it now, as its owner asked for."""
        self._stopping = True
        if self.pid is None:
            self._closed()  # the end of its link ends it, whenever it comes to look
        else:
            self.kill()

    def watch(self) -> None:
        """Look at the memory of an instance without a cgroup, and end it when it has too much."""
        if self.pid is None or not self.is_watched:
            return
        seen = own_bytes(self.pid)
        self._seen_bytes = max(self._seen_bytes, seen)
        if seen > self._limit_bytes and not self._over_limit:
            self._over_limit = True
            self.kill()

    def turn_log_over(self) -> None:
        """Begin a new log file where the present one has grown too big."""
        if logs.turn_over(self.log):
            self._send(json.dumps({"log": str(self.log)}).encode() + b"\n")

    # -- the link -----------------------------------------------------------------------------------------------------

    def _send(self, line: bytes) -> None:
        try:
            self._link.send(line)
        except OSError as error:
            _log.info("instance %s does not listen any more: %s", self.id, error)

    def _hear(self) -> None:
        try:
            data = self._link.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._closed()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, fact: dict[str, Any]) -> None:
        event = fact.pop("event", "")
        if event == "started":
            self.pid = int(fact["pid"])
            if hasattr(os, "pidfd_open"):
                try:
                    self._pidfd = os.pidfd_open(self.pid)
                except OSError:
                    self._pidfd = -1
            if self._stopping:
                self.kill()
        elif event == "listening":
            self.port = int(fact.get("port", 0))
        elif event == "ready":
            self.port = int(fact.get("port", self.port))
            self.facts = fact
            if not self._stopping:
                self._was_ready = True
                self.state = ProcessState.READY
                self._owner.instance_ready(self)
        elif event == "failed":
            self._failure = (str(fact.get("kind", "crash")), str(fact.get("error", "")))

    def _closed(self) -> None:
        if self._link.fileno() < 0:
            return
        self._loop.remove_reader(self._link.fileno())
        self._link.close()
        self._starter.link_closed(self.id)

    def _exited(self, code: int | None) -> None:
        self._exit = (code,)
        if self._link.fileno() >= 0:
            # What it said last may still lie in the socket; its end comes after that.
            while self._link.fileno() >= 0:
                before = self._link.fileno()
                self._hear()
                if self._link.fileno() == before and not self._readable():
                    self._closed()
        ending = self._ending(code)
        self.state = ProcessState.FAILED
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._group is not None and not self._group.remove():
            self._loop.call_later(1.0, self._group.remove)
        self._owner.instance_gone(self, ending)

    def _readable(self) -> bool:
        try:
            return bool(self._link.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    # -- the end ------------------------------------------------------------------------------------------------------

    def _ending(self, code: int | None) -> Ending:
        kind, message = self._why(code)
        return Ending(
            instance=self.id,
            was_ready=self._was_ready,
            expected=self._stopping and kind != "memory",
            kind=kind,
            message=message,
            lived_s=time.monotonic() - self._began_s,
        )

    def _why(self, code: int | None) -> tuple[str, str]:
        if self._over_limit or (self._group is not None and self._group.killed()):
            seen = self._group.peak_bytes() if self._group is not None else self._seen_bytes
            return "memory", (
                f"out of memory: instance {self.id} needs more than its limit of {_mebibytes(self._limit_bytes)}"
                f" (seen {_mebibytes(seen)})"
            )
        if self._failure is not None:
            return self._failure
        if self.pid is None:
            return "lost", f"instance {self.id} did not start: the warm parent ended"
        if code == 0 and self._stopping:
            return "stopped", f"instance {self.id} stopped"
        if code is None:
            return "crash", f"instance {self.id} (pid {self.pid}) ended, and so did the warm parent that knew why"
        if code < 0:
            return "crash", f"instance {self.id} (pid {self.pid}) was killed by {_signal_name(-code)}"
        return "crash", f"instance {self.id} (pid {self.pid}) ended with exit code {code}"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
