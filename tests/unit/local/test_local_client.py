"""The client against a service that the test plays by hand: the real socket, the real lock, the real lines."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlfn_local import wire
from mlfn_local.client import LocalClient
from mlfn_local.paths import StatePaths

LIMIT_S = 20.0
"""Below the client's own patience, so that running out of it fails the test."""
OLD = wire.Hello(version="1", pid=1001, port=8787, started_at=1.0)
NEXT = replace(OLD, pid=1002, started_at=2.0)


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[StatePaths]:
    """Give a state folder whose lock is held all the time, by one service or the next."""
    paths = StatePaths(tmp_path)
    with paths.lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield paths


def greet(server: socket.socket, hello: wire.Hello) -> socket.socket:
    link, _ = server.accept()
    link.sendall(wire.encode(hello.as_json()))
    return link


def test_down_does_not_wait_for_the_service_that_follows(paths: StatePaths) -> None:
    stopped: list[bool] = []
    client = LocalClient(paths.root, version="1")
    with contextlib.closing(paths.bind_control()) as old:
        stopping = threading.Thread(target=lambda: stopped.append(client.down()))
        stopping.start()
        with greet(old, OLD) as link:
            assert wire.decode(link.recv(65536))["method"] == "stop"
            link.sendall(wire.encode({"result": {}}))
            following = paths.bind_control()
    # Another command's service had the lock before the client could see it free.
    with contextlib.closing(following):
        following.settimeout(LIMIT_S)
        greet(following, NEXT).close()
        stopping.join(LIMIT_S)
        assert not stopping.is_alive()
    assert stopped == [True]
