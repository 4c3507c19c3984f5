"""Large inputs by reference: the bytes behind a URL, within bounds of size and time, from public addresses only.

A URL comes from whoever may call the function and is followed from inside the network, so: https only, the name is
resolved once and that very address is connected to, addresses that are not public are refused, redirects and proxies
are not followed, and no error repeats more of the URL than its host (a signed URL is a key). Threads wait, never the
loop. Knows no contract.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from mlfn_runtime.errors import RequestError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from http.client import HTTPConnection, HTTPResponse

    from mlfn_runtime.settings import FetchSettings

    Then = Callable[["list[bytes] | RequestError"], None]

__all__ = ["Fetcher", "is_public"]

_THREADS = 4
"""Requests that may fetch at once: each may hold ``max_bytes``."""
_PIECE = 1 << 18
_NOT_FOR_GUESTS = ("168.63.129.16",)
"""Public by its number, but answers each machine of a large cloud about itself."""


class _Target(NamedTuple):
    """Where a URL leads."""

    secure: bool
    host: str
    port: int
    path: str


class _Job(NamedTuple):
    urls: list[str]
    give_up: float
    then: Then
    gone: Callable[[], bool]


class Fetcher:
    """Fetch for one server; the threads begin with the first request that needs them."""

    def __init__(self, settings: FetchSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._started = False

    def fetch(self, urls: list[str], left_s: float | None, then: Then, gone: Callable[[], bool]) -> None:
        """Give ``then`` the content of all URLs, in order, or why not; on the loop, unless ``gone`` says it is late."""
        if not self._started:
            self._started = True
            for number in range(_THREADS):
                threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True).start()
        seconds = self._settings.timeout_s if left_s is None else min(left_s, self._settings.timeout_s)
        self._jobs.put(_Job(urls, time.monotonic() + seconds, then, gone))

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job.gone():
                continue
            outcome = self._outcome(job)
            try:
                self._loop.call_soon_threadsafe(job.then, outcome)
            except RuntimeError:  # the loop has closed: the process ends
                return

    def _outcome(self, job: _Job) -> list[bytes] | RequestError:
        contents: list[bytes] = []
        room = self._settings.max_bytes
        try:
            for url in job.urls:
                contents.append(_content(url, room, job.give_up, private=self._settings.private))
                room -= len(contents[-1])
        except RequestError as error:
            return error
        return contents


def is_public(address: str) -> bool:
    """Say whether an address is one of the public network; for one that wraps another, whether that one is."""
    import ipaddress

    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in ipaddress.IPv6Network("64:ff9b::/96"):
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and str(ip) not in _NOT_FOR_GUESTS


def _content(url: str, room: int, give_up: float, *, private: bool) -> bytes:
    import http.client

    target = _target(url, private=private)
    try:
        connection = _connected(target, give_up, private=private)
        # The bound of a socket is for each piece; a peer that drips is cut off by this.
        cut = threading.Timer(_left(give_up), _cut, (connection,))
        cut.daemon = True
        cut.start()
        try:
            host = f"[{target.host}]" if ":" in target.host else target.host
            named = host if target.port == (443 if target.secure else 80) else f"{host}:{target.port}"
            connection.request("GET", target.path, headers={"Host": named, "Accept-Encoding": "identity"})
            return _read(connection.getresponse(), target.host, room)
        finally:
            cut.cancel()
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() >= give_up or isinstance(error, TimeoutError):
            raise RequestError(504, f"url: {target.host} did not give its content in the time there was") from None
        raise RequestError(502, f"url: cannot read from {target.host}: {str(error) or type(error).__name__}") from None


def _target(url: str, *, private: bool) -> _Target:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RequestError(400, "url: expected https://HOST/PATH, got no URL") from None
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise RequestError(400, f'url: expected the scheme https, got "{parts.scheme[:16]}"')
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not parts.hostname or "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        raise RequestError(400, "url: expected a host, no user, and printable ASCII, got something else")
    secure = parts.scheme == "https"
    return _Target(secure, parts.hostname, port or (443 if secure else 80), path)


def _connected(target: _Target, give_up: float, *, private: bool) -> HTTPConnection:
    """Connect to the address that was looked at: a second look-up might give another."""
    import ssl
    from http.client import HTTPConnection

    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise RequestError(400, "url: expected the name of a host, got something else") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not private and not all(map(is_public, addresses)):
        raise RequestError(403, f"url: expected a public address, got one that is not ({target.host})")
    stream = socket.create_connection((addresses[0], target.port), _left(give_up))
    try:
        if target.secure:
            stream = ssl.create_default_context().wrap_socket(stream, server_hostname=target.host)
    except BaseException:
        stream.close()
        raise
    connection = HTTPConnection(target.host, target.port)
    connection.sock = stream
    return connection


def _read(answer: HTTPResponse, host: str, room: int) -> bytes:
    if answer.status != 200:
        raise RequestError(502, f"url: expected status 200 from {host}, got {answer.status}")
    if (answer.getheader("content-encoding") or "identity").lower() != "identity":
        raise RequestError(502, f"url: expected content without an encoding from {host}, got an encoded one")
    if (answer.length or 0) > room:
        raise _too_large(host, room)
    pieces: list[bytes] = []
    size = 0
    while piece := answer.read(_PIECE):
        size += len(piece)
        if size > room:
            raise _too_large(host, room)
        pieces.append(piece)
    if answer.length:
        raise RequestError(502, f"url: {host} ended before its content was complete")
    return b"".join(pieces)


def _too_large(host: str, room: int) -> RequestError:
    return RequestError(413, f"url: expected {room} bytes at most from {host}, got more (see MLFN_FETCH_MAX_BYTES)")


def _left(give_up: float) -> float:
    left_s = give_up - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _cut(connection: HTTPConnection) -> None:
    with suppress(OSError, AttributeError):  # it has closed by itself
        connection.sock.shutdown(socket.SHUT_RDWR)
