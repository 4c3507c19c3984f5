"""Start instance processes, by the warm parent where there is one, else by spawning; tell how they ended.

Service side of warm_parent.py. It repairs the warm parent when that is killed, and knows nothing of revisions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable

from mlfn_local.warm_parent import PACKET_BYTES

__all__ = ["Starter"]

_log = logging.getLogger("mlfn_local")

_MAX_PARENT_FAILURES = 3
"""A warm parent that cannot even start this often in a row is given up: instances are spawned from then on."""

OnExit = Callable[[int | None], None]


class Starter:
    """Hold the warm parent and the processes that came from it."""

    def __init__(self, *, fork: bool = sys.platform == "linux") -> None:
        self._loop = asyncio.get_running_loop()
        self._fork = fork
        self._parent: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False
        self._failures = 0
        self._waiting: deque[tuple[str, socket.socket]] = deque()
        self._on_exit: dict[str, OnExit] = {}
        self._forked: set[str] = set()
        """Instances of the present warm parent, which will tell how they ended."""
        self._spawned: dict[str, subprocess.Popen[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        if fork:
            self._start_parent()

    @property
    def parent_pid(self) -> int | None:
        """Return the warm parent's process id, None when there is none now."""
        return self._parent.pid if self._parent is not None else None

    def start(self, instance: str, link: socket.socket, on_exit: OnExit) -> None:
        """Start a process for ``instance`` that owns ``link``; ``on_exit`` gets its exit code, negative for a signal.

        The code is None when nobody can tell it (the warm parent was killed too). Never raises: a process that could
        not be started closes its link.
        """
        self._on_exit[instance] = on_exit
        if self._closing:
            link.close()
        elif not self._fork:
            self._spawn(instance, link)
        elif self._ready:
            self._request(instance, link)
        else:
            self._waiting.append((instance, link))

    def link_closed(self, instance: str) -> None:
        """Hear that the link of an instance has ended: its exit code is due, or will never come."""
        process = self._spawned.pop(instance, None)
        task = self._loop.create_task(self._settle(instance, process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End the warm parent; instances must be gone by now."""
        self._closing = True
        while self._waiting:
            self._waiting.popleft()[1].close()
        if self._control is not None:
            self._drop_control()
        if self._parent is not None:
            await asyncio.to_thread(self._parent.wait)
            self._parent = None
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the warm parent ----------------------------------------------------------------------------------------------

    def _start_parent(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._parent = _python("mlfn_local.warm_parent", theirs)
            except OSError as error:
                ours.close()
                self._give_up(str(error))
                return
        ours.setblocking(False)
        self._control = ours
        self._loop.add_reader(ours.fileno(), self._hear)

    def _hear(self) -> None:
        assert self._control is not None
        while True:
            try:
                packet = self._control.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._parent_gone()
                return
            message = json.loads(packet)
            if "ready" in message:
                self._ready, self._failures = True, 0
                while self._waiting:
                    self._request(*self._waiting.popleft())
            elif "exited" in message:
                self._exited(message["exited"], message["status"])
            elif "refused" in message:
                _log.warning("instance %s was not forked: %s", message["refused"], message["error"])

    def _request(self, instance: str, link: socket.socket) -> None:
        assert self._control is not None
        try:
            socket.send_fds(self._control, [json.dumps({"fork": instance}).encode()], [link.fileno()])
        except OSError as error:
            # Gone or choked: the link closes, and whoever asked will ask again.
            _log.warning("warm parent does not take %s: %s", instance, error)
        self._forked.add(instance)
        link.close()

    def _parent_gone(self) -> None:
        self._drop_control()
        parent, self._parent = self._parent, None
        was_ready, self._ready = self._ready, False
        self._forked.clear()
        if parent is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                parent.wait(1.0)
            if not self._closing:
                _log.warning("warm parent %d ended with %s; starting another", parent.pid, parent.returncode)
        if self._closing:
            return
        self._failures += not was_ready
        if self._failures >= _MAX_PARENT_FAILURES:
            self._give_up("it ends before it is ready")
        else:
            self._start_parent()

    def _drop_control(self) -> None:
        if self._control is not None:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    def _give_up(self, reason: str) -> None:
        _log.error("no warm parent (%s): instances are spawned from now on", reason)
        self._fork = False
        while self._waiting:
            self._spawn(*self._waiting.popleft())

    # -- without it ---------------------------------------------------------------------------------------------------

    def _spawn(self, instance: str, link: socket.socket) -> None:
        with link:
            try:
                self._spawned[instance] = _python("mlfn_local.instance", link)
            except OSError as error:
                _log.warning("instance %s was not spawned: %s", instance, error)

    # -- how they ended -----------------------------------------------------------------------------------------------

    def _exited(self, instance: str, code: int | None) -> None:
        self._forked.discard(instance)
        on_exit = self._on_exit.pop(instance, None)
        if on_exit is not None:
            on_exit(code)

    async def _settle(self, instance: str, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            self._exited(instance, await asyncio.to_thread(process.wait))
            return
        # The warm parent tells as soon as it has reaped; one that was killed as well never will.
        for _ in range(100):
            if instance not in self._forked:
                break
            await asyncio.sleep(0.01)
        self._exited(instance, None)


def _python(module: str, link: socket.socket) -> subprocess.Popen[bytes]:
    # OpenBLAS starts a thread per core at import unless told not to; a forking process must have one only.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(link.fileno())],
        stdin=subprocess.DEVNULL,
        pass_fds=(link.fileno(),),
        env=environment,
        cwd="/",
    )
