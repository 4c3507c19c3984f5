"""HTTP to an API server as kubectl would speak it: the one module that imports the ``kubernetes`` client package.

The package reads kubeconfig files (contexts, certificates, tokens, exec plugins, proxies) and service accounts, makes
the TLS pool, and forwards ports. Requests go through its pool as plain JSON: its typed models cost time and hide the
objects of Knative. Every failure leaves here as an MlfnError, within seconds: nothing is retried in silence.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mlfn.errors import InvalidInput, MlfnError, NotAuthorised, NotFound, Unreachable
from mlfn.nearest import did_you_mean
from mlfn.platforms.kube.refusals import refusal

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

    from mlfn.platforms.kube.port_forward import ForwardedSocket

__all__ = ["Link"]

_CONNECT_S = 5.0
_READ_S = 30.0
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Link:
    """Speak to one API server as one user; reads its configuration on first use, from any thread."""

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        self._kubeconfig = kubeconfig
        self._asked_context = context
        self._lock = threading.Lock()
        self._loaded: ApiClient | None = None
        self._context: Mapping[str, Any] = {}

    @property
    def context(self) -> str:
        """Return the context in use, "" inside a cluster."""
        self._client()
        return str(self._context.get("name", ""))

    @property
    def namespace(self) -> str:
        """Return the namespace of the context, or of the pod that this runs in, else ``default``."""
        self._client()
        if self._context:
            return str(self._context["context"].get("namespace") or "default")
        return (_IN_CLUSTER / "namespace").read_text().strip()

    @property
    def server(self) -> str:
        """Return the address of the API server."""
        return str(self._client().configuration.host)

    def json(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: tuple[str, Any] | None = None,
    ) -> Any:
        """Send one request (``body`` is its content type and value) and return the JSON of a good answer."""
        verb = _VERBS[method]
        if verb == "get" and query is not None:
            verb = "list"
        with self._told(verb, what):
            response = self._send(method, path, query or {}, body, _READ_S)
            text = response.data
        if response.status >= 400:
            raise refusal(response.status, text.decode(errors="replace"), verb, what)
        return json.loads(text)

    def find(self, path: str, what: str) -> Any:
        """Return the JSON of an object, None when its kind is known and it does not exist."""
        with self._told("get", what):
            response = self._send("GET", path, {}, None, _READ_S)
            text = response.data.decode(errors="replace")
        if response.status == 404 and _is_status(text):
            return None
        if response.status >= 400:
            raise refusal(response.status, text, "get", what)
        return json.loads(text)

    def delete(self, path: str, what: str, options: object) -> bool:
        """Delete an object. False when there was none."""
        try:
            self.json("DELETE", path, what, body=("application/json", options))
        except NotFound:
            return False
        return True

    def lines(self, path: str, what: str, *, query: Mapping[str, str], follow: bool) -> Iterator[str]:
        """Yield the lines of a text answer as they come."""
        from urllib3.exceptions import HTTPError

        with self._told("get", what):
            response = self.stream(path, query, read_s=None if follow else _READ_S)
            if response.status >= 400:
                raise refusal(response.status, response.data.decode(errors="replace"), "get", what)
        try:
            yield from (line.decode(errors="replace") for line in _lines(response))
        except HTTPError as error:
            raise Unreachable(f"{what} broke off: {error}", hints=("ask again",)) from error
        finally:
            response.close()

    def stream(self, path: str, query: Mapping[str, str], *, read_s: float | None) -> BaseHTTPResponse:
        """Send a GET whose answer is read bit by bit; raises the foreign exceptions of urllib3."""
        return self._send("GET", path, query, None, read_s)

    def port_forward(self, namespace: str, pod: str, port: int) -> ForwardedSocket:
        """Return a connected socket to a port of a pod."""
        from kubernetes.stream.ws_client import create_websocket, get_websocket_url
        from websocket import WebSocketBadStatusException, WebSocketException

        from mlfn.platforms.kube.port_forward import SUBPROTOCOL, forward

        configuration = self._client().configuration
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
        url = get_websocket_url(f"{configuration.host.rstrip('/')}{path}", [("ports", str(port))])
        headers = {**_authorisation(configuration), "sec-websocket-protocol": SUBPROTOCOL}
        what = f"port {port} of pods/{pod}"
        with self._told("reach", what):
            try:
                opened = create_websocket(configuration, url, headers)
            except WebSocketBadStatusException as error:
                text = (error.resp_body or b"").decode(errors="replace")
                raise refusal(error.status_code, text, "create", f"pods/portforward of {pod}") from error
            except WebSocketException as error:
                raise self.unreachable(error, f"reach {what}") from error
            return forward(opened.sock)

    def _send(
        self, method: str, path: str, query: Mapping[str, str], body: tuple[str, Any] | None, read_s: float | None
    ) -> BaseHTTPResponse:
        from urllib3 import Timeout

        client = self._client()
        headers = {"Accept": "application/json, */*", "User-Agent": "mlfn"}
        headers.update(_authorisation(client.configuration))
        if body:
            headers["Content-Type"] = body[0]
        asked = urlencode({key: value for key, value in query.items() if value})
        response: BaseHTTPResponse = client.rest_client.pool_manager.request(
            method,
            f"{client.configuration.host.rstrip('/')}{path}{'?' if asked else ''}{asked}",
            body=json.dumps(body[1]).encode() if body else None,
            headers=headers,
            timeout=Timeout(connect=_CONNECT_S, read=read_s),
            retries=False,
            preload_content=False,
        )
        return response

    def _client(self) -> ApiClient:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> ApiClient:
        # 0.3 s to import, and nothing narrower exists: the package's __init__ imports all of it.
        import kubernetes.config as configs
        from kubernetes.client import ApiClient, Configuration
        from kubernetes.config.config_exception import ConfigException

        configuration = Configuration()
        file = self._kubeconfig or os.environ.get("KUBECONFIG", "") or str(Path.home() / ".kube" / "config")
        try:
            if not self._kubeconfig and not _any_exists(file) and os.environ.get("KUBERNETES_SERVICE_HOST"):
                configs.load_incluster_config(client_configuration=configuration)
            else:
                self._context = _context(file, self._asked_context)
                with _logged_errors() as complaints:
                    configs.load_kube_config(file, self._context["name"], configuration, persist_config=False)
                if complaints:
                    # The package would go on as nobody, and the cluster's refusal would name the wrong user.
                    raise NotAuthorised(
                        f"the login that {file} names for the context {self._context['name']} fails: "
                        f"{'; '.join(complaints)}",
                        hints=("see that it works: kubectl auth whoami",),
                    )
        except ConfigException as error:
            raise InvalidInput(
                f"{file} does not lead to a cluster: {error}", hints=("what it says: kubectl config view",)
            ) from error
        if not configuration.verify_ssl:
            _silence_insecure_warning()
        return ApiClient(configuration)

    @contextmanager
    def _told(self, verb: str, what: str) -> Iterator[None]:
        """Turn what urllib3 and ssl raise into Unreachable, with the place and the reason."""
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (HTTPError, ssl.SSLError, OSError) as error:
            raise self.unreachable(error, f"{verb} {what}") from error

    def unreachable(self, error: BaseException, purpose: str) -> MlfnError:
        """Say that the API server cannot be reached, and why."""
        where = f"the API server {self.server}" + (f" (context {self.context})" if self.context else "")
        return Unreachable(
            f"{where} cannot be reached to {purpose}: {_reason(error)}",
            hints=("which cluster is meant? kubectl config current-context; choose another with --context",),
        )


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Give a list that fills with the errors that are logged meanwhile: the package tells of a failed login so."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield complaints
    finally:
        logging.getLogger().removeHandler(handler)


def _context(file: str, asked: str) -> Mapping[str, Any]:
    """Return the context to use. Raises InvalidInput with the ones that exist."""
    import yaml
    from kubernetes.config import list_kube_config_contexts

    if not _any_exists(file):
        raise InvalidInput(
            f"no cluster is configured: {file} does not exist",
            hints=("name a kubeconfig file with --kubeconfig or KUBECONFIG",),
        )
    try:
        contexts, current = list_kube_config_contexts(file)
    except (yaml.YAMLError, OSError, AttributeError, TypeError) as error:
        raise InvalidInput(f"{file} is not a kubeconfig file: {error}") from error
    if not asked:
        found: Mapping[str, Any] = current
        return found
    known = {context["name"]: context for context in contexts}
    if asked not in known:
        raise InvalidInput(
            f"there is no context {asked!r} in {file}",
            hints=(*did_you_mean(asked, known), f"its contexts: {', '.join(sorted(known))}"),
        )
    return known[asked]  # type: ignore[no-any-return]  # plain YAML


def _any_exists(files: str) -> bool:
    return any(Path(file).expanduser().is_file() for file in files.split(os.pathsep) if file)


def _authorisation(configuration: Any) -> dict[str, str]:
    """Return the header that says who asks; asking for it renews an expired token."""
    settings = configuration.auth_settings().values()
    headers = {each["key"]: each["value"] for each in settings if each["in"] == "header" and each["value"]}
    if not headers and configuration.username:
        headers["authorization"] = configuration.get_basic_auth_token()
    return headers


def _lines(response: BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    for part in response.stream(amt=None, decode_content=True):
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _is_status(text: str) -> bool:
    """Tell an object that is not there from a path that is not served: the latter is no Status."""
    try:
        told = json.loads(text)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("kind") == "Status" and bool((told.get("details") or {}).get("name"))


def _reason(error: BaseException) -> str:
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

    # A connection that is refused counts as one that timed out, in the classes of urllib3.
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return f"it does not answer within {_CONNECT_S:g} s"
    if isinstance(error, ReadTimeoutError):
        return f"no answer within {_READ_S:g} s"
    cause = error.__cause__ if isinstance(error, NewConnectionError) and error.__cause__ else error
    if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return f"its certificate is not trusted: {cause}"
    return str(cause)


def _silence_insecure_warning() -> None:
    """The kubeconfig says insecure-skip-tls-verify: its owner knows, and would be told with every request."""
    import warnings

    from urllib3.exceptions import InsecureRequestWarning

    warnings.simplefilter("ignore", InsecureRequestWarning)
