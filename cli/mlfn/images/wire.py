"""One HTTP request, sent once: proxies, private authorities, and failures of the connection in our own words.

The lowest step of the registry door and the only module that touches httpx's client. It knows nothing of registries,
logins or retries. No address is ever printed with its query: the queries of storage services are signatures.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlfn.errors import InvalidInput, Unreachable
from mlfn.images.proxies import proxy_for

if TYPE_CHECKING:
    import httpx

__all__ = ["Lost", "Reply", "Wire", "origin_of", "read_reply"]

CONNECT_TIMEOUT_S = 10.0
SILENCE_TIMEOUT_S = 120.0
"""Longest wait for the next bytes; a registry that stores 2 GB in a cloud takes its time to confirm it."""
LARGEST_DOCUMENT = 16 << 20
"""Bytes of a manifest, index or error that are read; registries refuse manifests above 4 MiB."""


class Lost(Unreachable):
    """The connection could not be made, or was cut: worth another try where ``lasting`` is not set."""

    def __init__(self, message: str, *, hints: tuple[str, ...] = (), connected: bool, lasting: bool = False) -> None:
        super().__init__(message, hints=hints)
        self.connected = connected
        """Whether the other side had been reached before."""
        self.lasting = lasting
        """Whether another try would fail in the same way."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold an answer that has been read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names in lowercase."""
    body: bytes = field(repr=False)


class Wire:
    """Send requests, each on the connection that its address needs. For use by several threads at once."""

    def __init__(self, host: str, ca_file: str, environ: Mapping[str, str], connections: int) -> None:
        """Speak for the registry ``host``, whose private authorities are trusted as docker and podman trust them."""
        self._host = host
        self._ca_file = ca_file
        self._environ = environ
        self._connections = connections
        self._clients: dict[tuple[str, str | None], httpx.Client] = {}
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | Iterable[bytes] = b""
    ) -> httpx.Response:
        """Send one request; the answer's body is still to be read, and to be closed. Redirects are not followed.

        Raises Lost.
        """
        import httpx

        try:
            client = self._client(url)
            request = client.build_request(
                method,
                url,
                headers={"accept-encoding": "identity", **headers},
                content=content or None,
                extensions={"trace": self._note_socket},
            )
            return client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._lost(url, error) from error

    def blocks(self, response: httpx.Response) -> Iterator[bytes]:
        """Yield the body as it was sent, in blocks of any size. Raises Lost when it breaks off."""
        import httpx

        try:
            yield from response.iter_raw()
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self._lost(str(response.request.url), error) from error

    def abort(self) -> None:
        """Break all connections, so that threads that wait for the other side go on, with Lost."""
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Hear of the steps of a request; remember the sockets, which only these steps show."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            made = info["return_value"].get_extra_info("socket")
            if isinstance(made, socket.socket):
                with self._lock:
                    self._sockets.add(made)

    def _client(self, url: str) -> httpx.Client:
        proxy = proxy_for(url, self._environ)
        key = (urlsplit(url).scheme, proxy)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._new_client(*key)
            return self._clients[key]

    def _new_client(self, scheme: str, proxy: str | None) -> httpx.Client:
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        import httpx

        if proxy is not None and urlsplit(proxy).scheme not in {"http", "https"}:
            raise InvalidInput(f"the proxy {origin_of(proxy)} cannot be used: only http:// and https:// proxies work")
        return httpx.Client(
            # Reading the authorities takes 40 ms, so not for plain HTTP.
            verify=self._trust() if scheme == "https" or (proxy or "").startswith("https:") else False,
            proxy=proxy,
            trust_env=False,
            timeout=httpx.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None),
            limits=httpx.Limits(max_connections=self._connections, max_keepalive_connections=self._connections),
            # A registry that sees its cookie again takes us for a browser and asks for more.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": "mlfn"},
        )

    def _trust(self) -> ssl.SSLContext:
        """Trust the system's authorities, the public ones, and the private ones that were named."""
        import certifi

        context = ssl.create_default_context()
        if not self._environ.get("SSL_CERT_FILE"):
            context.load_verify_locations(certifi.where())
        for path in self._authorities():
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise InvalidInput(
                    f"CA file {path}: {error.strerror or error}; expected certificates as PEM"
                ) from error
        return context

    def _authorities(self) -> Iterator[Path]:
        for name in (self._ca_file, self._environ.get("SSL_CERT_FILE", "")):
            if name:
                yield Path(name)
        for folder in ("/etc/docker/certs.d", "/etc/containers/certs.d"):
            yield from sorted(Path(folder, self._host).glob("*.crt"))

    def _lost(self, url: str, error: Exception) -> Lost:
        import httpx

        where = origin_of(url)
        proxy = proxy_for(url, self._environ)
        way = f" through the proxy {origin_of(proxy)}" if proxy else ""
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return Lost(f"{self._host} named an address that does not work: {where}", connected=True, lasting=True)
        if (verification := _verification_error(error)) is not None:
            return Lost(
                f"{where} shows a certificate that is not trusted: {verification.verify_message}",
                hints=(
                    "name the file of the authority's certificate: --ca-file FILE, or image.ca_file in mlfn.yaml",
                    f"or put it where docker looks: /etc/docker/certs.d/{self._host}/ca.crt",
                ),
                connected=True,
                lasting=True,
            )
        unmade = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
        reason = str(error) or type(error).__name__
        if unmade:
            return Lost(f"cannot reach {where}{way}: {reason}", hints=self._hints(url, error), connected=False)
        return Lost(f"the connection to {where}{way} broke: {reason}", connected=True)

    def _hints(self, url: str, error: Exception) -> tuple[str, ...]:
        check = f"check that it runs and its name is right: curl {origin_of(url)}/v2/"
        if url.startswith("https:") and "SSL" in str(error):
            return ("if the registry speaks plain HTTP: --plain-http, or image.plain_http: true in mlfn.yaml", check)
        return (check,)


def read_reply(wire: Wire, response: httpx.Response) -> Reply:
    """Read a small answer to its end and close it. Raises Lost."""
    body = bytearray()
    try:
        for block in wire.blocks(response):
            body += block
            if len(body) > LARGEST_DOCUMENT:
                where = origin_of(str(response.request.url))
                raise Unreachable(f"{where} answers with a document of more than {LARGEST_DOCUMENT >> 20} MiB")
    finally:
        response.close()
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(body))


def origin_of(url: str) -> str:
    """Return ``scheme://host[:port]``: without path, query and password, fit for a message."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _verification_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None
