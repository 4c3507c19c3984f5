"""Questions and answers with one registry: its address, the login, redirects, and trying again.

What lies above asks for paths of a repository and gets answers; it never sees a token or a proxy. The login goes to the
registry itself only: a redirect to a storage service, or an upload address elsewhere, is asked without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit, urlunsplit

from mlfn.errors import MlfnError, Unreachable
from mlfn.images.authorisation import Login
from mlfn.images.challenges import repository_scope
from mlfn.images.proxies import is_loopback
from mlfn.images.references import DOCKER_HUB
from mlfn.images.refusals import Asking, refusal
from mlfn.images.retries import Retrying
from mlfn.images.wire import Lost, Reply, Wire, origin_of, read_reply

if TYPE_CHECKING:
    import httpx

__all__ = ["Exchange", "Place", "Request"]

_HUB_HOST = "registry-1.docker.io"
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Request:
    """Say what is asked. ``content`` is bytes, or a function that gives them anew for each try."""

    method: str
    url: str
    """Absolute, or a path on the registry."""
    scopes: tuple[str, ...]
    """What a token must allow."""
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Callable[[], Iterable[bytes]] = b""


class Exchange:
    """Ask one registry. For use by several threads at once."""

    def __init__(self, host: str, wire: Wire, login: Login, retrying: Retrying, *, plain_http: bool) -> None:
        """Without ``plain_http`` all is encrypted, but for a registry on this machine that speaks no TLS."""
        self.host = host
        self.retrying = retrying
        self._wire = wire
        self._login = login
        self._plain_http = plain_http
        self._base = ""
        self._lock = threading.Lock()

    def at(self, repository: str, *, writing: bool) -> Place:
        """Return a repository of the registry, to read from it or to write to it as well."""
        return Place(self, repository, (repository_scope(repository, *(("pull", "push") if writing else ("pull",))),))

    def send(self, request: Request) -> Reply:
        """Ask until there is an answer that another try would not change. Raises Lost."""
        return self.retrying.reply(lambda: self.once(request))

    def once(self, request: Request) -> Reply:
        """Ask once (twice where the login had to be renewed). Raises Lost."""
        return read_reply(self._wire, self.open(request))

    def open(self, request: Request) -> httpx.Response:
        """Ask once and return the answer with its body unread; the caller closes it. Raises Lost."""
        self.retrying.check()
        response = self._with_login(request, self.absolute(request.url))
        for _ in range(_MOST_REDIRECTS):
            if response.status_code not in _REDIRECTS or request.method not in {"GET", "HEAD"}:
                return response
            target = self.follow(str(response.request.url), response.headers.get("location", ""))
            response.close()
            response = self._with_login(request, target)
        response.close()
        raise Unreachable(f"registry {self.host} sends from one address to the next, more than {_MOST_REDIRECTS} times")

    def read(self, response: httpx.Response) -> Reply:
        """Read an opened answer to its end and close it. Raises Lost."""
        return read_reply(self._wire, response)

    def blocks(self, response: httpx.Response) -> Iterable[bytes]:
        """Yield the body of an opened answer. Raises Lost."""
        return self._wire.blocks(response)

    def follow(self, url: str, location: str) -> str:
        """Return the address that a ``Location`` header means, never a less secure one."""
        target = urljoin(url, location)
        before, after = urlsplit(url), urlsplit(target)
        if before.scheme == "https" and after.scheme == "http":
            if before.hostname != after.hostname:
                raise Unreachable(f"registry {self.host} sends to {origin_of(target)}, which is not encrypted")
            # A registry behind a TLS proxy that does not know of it.
            target = urlunsplit(after._replace(scheme="https", netloc=before.netloc))
        return target

    def error(self, reply: Reply, what: str, scopes: tuple[str, ...]) -> MlfnError:
        """Return the error that a refusal means to who tried to do ``what``."""
        asked_as = self._login.asked_as(scopes) if reply.status in {401, 403} else ""
        return refusal(reply, Asking(self.host, what, asked_as))

    def _with_login(self, request: Request, url: str) -> httpx.Response:
        """Ask with the login that is known; a 401 renews it once."""
        at_home = _origin(url) == _origin(self._address())
        login = self._login.headers(request.scopes) if at_home else {}
        response = self._ask(request, url, login)
        if response.status_code != 401 or not at_home:
            return response
        challenges = response.headers.get_list("www-authenticate")
        if not self._login.renew(challenges, request.scopes, login.get("authorization", "")):
            return response
        response.close()
        return self._ask(request, url, self._login.headers(request.scopes))

    def _ask(self, request: Request, url: str, login: Mapping[str, str]) -> httpx.Response:
        content = request.content if isinstance(request.content, bytes) else request.content()
        return self._wire.send(request.method, url, {**request.headers, **login}, content)

    def absolute(self, url: str) -> str:
        """Return the address of a path on the registry."""
        return url if "://" in url else self._address() + url

    def _address(self) -> str:
        """Return ``scheme://host`` of the registry's interface."""
        with self._lock:
            if not self._base:
                host = _HUB_HOST if self.host == DOCKER_HUB else self.host
                self._base = f"{self._scheme(host)}://{host}"
            return self._base

    def _scheme(self, host: str) -> str:
        if self._plain_http:
            return "http"
        if not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return "https"
        # On this machine either may be spoken. A server that wants TLS answers a plain question with 400, or hangs up.
        try:
            reply = self.retrying.reply(
                lambda: read_reply(self._wire, self._wire.send("GET", f"http://{host}/v2/", {}))
            )
        except Lost as lost:
            if not lost.connected:
                raise
            return "https"
        return "https" if reply.status == 400 else "http"


@dataclass(frozen=True, slots=True)
class Place:
    """Be one repository of a registry, with the right to read or to write."""

    exchange: Exchange
    repository: str
    scopes: tuple[str, ...]

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | Callable[[], Iterable[bytes]] = b"",
    ) -> Request:
        """Make a request for a path below the repository, or for an absolute address."""
        url = path if "://" in path else f"/v2/{self.repository}/{path}"
        return Request(method, url, self.scopes, headers or {}, content)

    def send(self, method: str, path: str, headers: Mapping[str, str] | None = None, content: bytes = b"") -> Reply:
        """Ask until there is an answer. Raises Lost."""
        return self.exchange.send(self.request(method, path, headers, content))

    def error(self, reply: Reply, what: str) -> MlfnError:
        """Return the error that a refusal means."""
        return self.exchange.error(reply, what, self.scopes)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
