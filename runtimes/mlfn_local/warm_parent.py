"""The warm parent: a process that has the imports done and forks instances on request.

It stays single-threaded and starts no event loop, which is what makes its forks safe. It speaks with the service over
a packet socket: in, ``{"fork": ID}`` with the instance's end of its link attached; out, ``ready``, ``forked``,
``refused`` and, as it reaps them, ``exited``. The end of that socket is its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

__all__ = ["main"]

PACKET_BYTES = 4096


class WarmParent:
    """Fork and reap."""

    def __init__(self, control: socket.socket, run: Callable[[int], int]) -> None:
        self._control = control
        self._run = run
        self._children: dict[int, str] = {}
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def serve(self) -> int | None:
        """Work until the service is gone (None), or return the exit code where this is the forked child by now."""
        self._tell({"ready": os.getpid()})
        while True:
            control = self._control.fileno()
            readable, _, _ = select.select([control, self._wake_read], [], [])
            if self._wake_read in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._reap()
            if control in readable:
                try:
                    packet, fds, _, _ = socket.recv_fds(self._control, PACKET_BYTES, 1)
                except ConnectionError:
                    return None  # the service was killed before it had heard us out
                if not packet:
                    return None
                code = self._fork(json.loads(packet)["fork"], fds[0])
                if code is not None:
                    return code

    def _fork(self, instance: str, link: int) -> int | None:
        try:
            pid = os.fork()
        except OSError as error:
            os.close(link)
            self._tell({"refused": instance, "error": f"fork: {error.strerror}"})
            return None
        if pid:
            os.close(link)
            self._children[pid] = instance
            self._tell({"forked": instance, "pid": pid})
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        return self._run(link)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            instance = self._children.pop(pid, "")
            self._tell({"exited": instance, "status": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, object]) -> None:
        # A service that is gone is noticed at the next read.
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(message).encode())


def main(fd: int) -> None:
    """Import everything, then fork on request until the service is gone."""
    from mlfn_local import instance
    from mlfn_runtime.server import preload

    preload()  # it also hides what was imported from the collector, whose marks would unshare the pages
    code = WarmParent(socket.socket(fileno=fd), instance.run).serve()
    # Neither the parent nor a child may run what others registered for the end of the interpreter.
    os._exit(code or 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
