"""The door for the deployer: call the service, starting it first where it does not run.

Synchronous, and light to import. Raises :class:`mlfn_local.errors.LocalError` and nothing else.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from mlfn_local import wire
from mlfn_local.errors import Kind, LocalError
from mlfn_local.launch import start_service
from mlfn_local.paths import StatePaths
from mlfn_runtime import __version__

__all__ = ["LocalClient"]

UNDO_LIMIT_S = 30.0
"""The longest that an interrupted command waits for the service to undo what it had begun."""
START_AGAIN_S = 0.5
"""Time for a service that holds the folder to answer, before another start is tried."""


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    lines: BufferedReader
    hello: wire.Hello


class LocalClient:
    """Speak to the service that owns ``state_dir``."""

    def __init__(self, state_dir: Path, *, port: int = 0, version: str = __version__) -> None:
        self.paths = StatePaths(state_dir.expanduser().absolute())
        self._port = port
        self._version = version

    def has_state(self) -> bool:
        """Say whether anything was ever deployed here."""
        return self.paths.database.exists()

    def running(self) -> wire.Hello | None:
        """Return the greeting of the running service, None when there is none. Starts nothing."""
        with contextlib.closing(_Closer()) as closer:
            connection = self._connect(closer)
            return connection.hello if connection else None

    def up(self) -> wire.Hello:
        """Make sure that a service of this version runs, on the asked port where one was asked."""
        with self._session() as connection:
            hello = connection.hello
        if self._port and hello.port != self._port:
            self._once("move", {"port": self._port})
            hello = self.running() or hello
        return hello

    def down(self) -> bool:
        """Stop the service, wait until it is gone, and say whether there was one."""
        with contextlib.closing(_Closer()) as closer:
            connection = self._connect(closer)
            if connection is None:
                return False
            with contextlib.suppress(_Stopping):
                _send(connection, "stop", {})
            # The service answers, then ends: the end of the stream is the end of the process.
            with contextlib.suppress(OSError):
                while connection.lines.readline():
                    pass
        self._wait_gone(connection.hello)
        return True

    def call(
        self,
        method: str,
        params: Mapping[str, object],
        on_event: Callable[[str], None] | None = None,
    ) -> Any:
        """Send one request and return its result; ``on_event`` takes the stages as they begin."""
        if self._port:
            self.up()
        return self._once(method, params, on_event)

    def _once(self, method: str, params: Mapping[str, object], on_event: Callable[[str], None] | None = None) -> Any:
        while True:
            with self._session() as connection:
                try:
                    _send(connection, method, params)
                    return _answer(connection, on_event)
                except KeyboardInterrupt:
                    return _withdraw(connection)
                except _Stopping:
                    continue  # somebody else stopped it: the next one takes the request

    @contextlib.contextmanager
    def _session(self) -> Iterator[_Connection]:
        with contextlib.closing(_Closer()) as closer:
            connection = self._connect(closer)
            if connection is not None and connection.hello.version != self._version:
                closer.close()
                self.down()
                connection = None
            if connection is None or connection.hello.stopping:
                connection = self._start(closer)
            yield connection

    def _connect(self, closer: _Closer) -> _Connection | None:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self.paths.socket_address() as address:
                link.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            link.close()
            return None
        except OSError as error:
            link.close()
            raise LocalError(
                Kind.UNREACHABLE, f"control socket {self.paths.control} cannot be reached: {error.strerror}"
            ) from error
        lines = link.makefile("rb")
        closer.add(link, lines)
        try:
            first = lines.readline()
        except OSError:
            first = b""
        return _Connection(link, lines, wire.Hello.from_json(wire.decode(first))) if first else None

    def _start(self, closer: _Closer, timeout_s: float = 30.0) -> _Connection:
        """Start the service and greet it, or the one that another command started at the same moment.

        A start gives way to any service that holds the folder, also to one that is about to end: then it is tried anew.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            start_service(self.paths, version=self._version, port=self._port)
            again = time.monotonic() + START_AGAIN_S
            while time.monotonic() < again:
                connection = self._connect(closer)
                if connection is not None and not connection.hello.stopping:
                    return connection
                closer.close()
                time.sleep(0.02)
            if again > deadline:
                raise LocalError(Kind.UNREACHABLE, f"no service answers on {self.paths.control}")

    def _wait_gone(self, service: wire.Hello, timeout_s: float = 30.0) -> None:
        """Wait until a service that was asked to stop has let go of the folder.

        Either nobody holds it then, or another one does: a command that was cut off by the stop has started it at once.
        """
        import fcntl

        deadline = time.monotonic() + timeout_s
        with self.paths.lock.open("ab") as lock:
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    now = self.running()
                if now is not None and (now.pid, now.started_at) != (service.pid, service.started_at):
                    return
                time.sleep(0.01)
        raise LocalError(Kind.TIMED_OUT, f"the local service was asked to stop but still runs ({self.paths.lock})")


class _Stopping(Exception):
    """The service has been asked to stop; the request has changed nothing."""


class _Closer:
    """Close what was opened for a session, in any of its attempts."""

    def __init__(self) -> None:
        self._opened: list[Any] = []

    def add(self, *things: Any) -> None:
        self._opened.extend(things)

    def close(self) -> None:
        while self._opened:
            self._opened.pop().close()


def _send(connection: _Connection, method: str, params: Mapping[str, object]) -> None:
    try:
        connection.socket.sendall(wire.encode({"method": method, "params": params}))
    except OSError:
        raise _Stopping from None  # it ended before it had our request


def _answer(connection: _Connection, on_event: Callable[[str], None] | None) -> Any:
    while True:
        try:
            line = connection.lines.readline()
        except OSError as error:
            raise _lost() from error
        if not line.endswith(b"\n"):
            raise _lost()
        message = wire.decode(line)
        if "event" in message:
            if on_event is not None:
                on_event(str(message["event"]))
        elif "stopping" in message:
            raise _Stopping
        elif "error" in message:
            raise LocalError.from_json(message["error"])
        else:
            return message["result"]


def _withdraw(connection: _Connection) -> Any:
    """Take the request back and wait until the service has undone it; a second Ctrl-C does not wait.

    Return the result where the request was through already. Raises KeyboardInterrupt otherwise.
    """
    try:
        connection.socket.settimeout(UNDO_LIMIT_S)
        connection.socket.shutdown(socket.SHUT_WR)
        return _answer(connection, None)
    except (OSError, ValueError, LocalError, _Stopping):
        raise KeyboardInterrupt from None


def _lost() -> LocalError:
    return LocalError(
        Kind.UNREACHABLE,
        "the local service ended before it answered",
        hints=("run the command again: it starts the service anew", "look into the service log: mlfn local status"),
    )
