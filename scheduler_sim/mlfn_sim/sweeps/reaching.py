"""Find out at once whether a cluster listens at its address: what it is asked through may try for minutes."""

from __future__ import annotations

import socket

from mlfn_sim.errors import NoCluster

__all__ = ["PATIENCE_S", "reach"]

PATIENCE_S = 10
"""For a cluster to answer."""


def reach(what: str, address: str) -> None:
    """Raise NoCluster where nothing listens at ``[scheme://]host:port``, or the address is none."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise NoCluster(f"{what}'s address is {address!r}; expected HOST:PORT, with or without a scheme in front of it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
    except OSError as error:
        raise NoCluster(f"no {what} cluster answers at {address}: {error.strerror or error}") from error
