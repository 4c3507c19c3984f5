"""Which handler answers which method and path, and the shape of one exchange that handlers see.

Transports make exchanges and know no handlers; handlers answer exchanges and know no transport. The HTTP door and the
ASGI adapter both go through ``Routes.dispatch``, so they cannot answer differently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from mlfn_runtime.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    Headers = tuple[tuple[bytes, bytes], ...]
    Handler = Callable[["Exchange"], None]

__all__ = ["HTML", "JSON", "OCTETS", "TEXT", "Exchange", "Routes", "require_body_type"]

JSON: Headers = ((b"content-type", b"application/json"),)
TEXT: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)
HTML: Headers = ((b"content-type", b"text/html; charset=utf-8"),)
OCTETS: Headers = ((b"content-type", b"application/octet-stream"),)

_NO_TYPE = b""
_PLAIN_JSON = b"application/json"
_BODY_TYPES = frozenset((_NO_TYPE, _PLAIN_JSON, b"application/octet-stream", b"application/x-www-form-urlencoded"))
"""``application/x-www-form-urlencoded`` is what curl says of ``-d '{…}'`` when nobody tells it better."""


class Exchange:
    """Hold one request and take its one answer.

    ``path`` is percent-decoded, without the query; ``fields`` maps lower-case header names to values (the last one
    where a name comes twice), ``headers`` lists them all. A handler answers at once or later, through ``reply`` or
    ``fail``; a second answer is ignored. ``label``, ``model``, ``rows`` and ``context`` are for the log line;
    ``on_recorded`` is called when that line was taken and before the answer leaves.
    """

    # Defaults on the class, and no slots: most exchanges set few of these (0.4 us less each).
    request_id = ""
    label = ""
    trace_id = ""
    model = ""
    rows = 0
    run_rows = 0
    started = 0.0
    answered = False
    warm_ping = False
    """Whether it only keeps the instance warm: counted apart, and no request of anybody."""
    context: dict[str, str] | None = None
    on_recorded: Callable[[], None] | None = None

    def __init__(
        self,
        method: bytes,
        path: bytes,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.fields: dict[bytes, bytes] = dict(headers)
        self.body = body

    def client_is_gone(self) -> bool:
        """Say whether nobody can read an answer any more; where that is not known, somebody waits."""
        return False

    def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer; the first call counts."""
        if not self.answered:
            self.answered = True
            self.send(status, headers, body)

    def fail(self, error: RequestError) -> None:
        """Answer with an error as every contract here words it."""
        body = orjson.dumps({"error": error.message}, default=str)
        self.reply(error.status, JSON + error.headers, body)

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Pass the answer on; the transport's part."""
        raise NotImplementedError


class Routes:
    """Find the handler for an exchange."""

    def __init__(self, on_crash: Callable[[Exchange, Exception], None]) -> None:
        self._table: dict[bytes, dict[bytes, Handler]] = {}
        self._prefixes: list[tuple[bytes, str]] = []
        self._on_crash = on_crash

    def add(self, method: bytes, path: bytes, handler: Handler) -> None:
        """Let ``handler`` answer ``method`` on ``path``; GET answers HEAD too, and OPTIONS is answered here."""
        methods = self._table.setdefault(path, {})
        methods[method] = handler
        if method == b"GET":
            methods.setdefault(b"HEAD", handler)

    def explain(self, prefix: bytes, message: str) -> None:
        """Say ``message`` in the 404 of every unknown path below ``prefix``."""
        self._prefixes.append((prefix, message))

    def paths(self) -> list[bytes]:
        """Return every path that is answered."""
        return sorted(self._table)

    def dispatch(self, exchange: Exchange) -> None:
        """Let the handler answer, or refuse: 404, 405."""
        methods = self._table.get(exchange.path)
        handler = methods.get(exchange.method) if methods is not None else None
        try:
            if handler is None:
                self._refuse(exchange, methods)
            else:
                handler(exchange)
        except RequestError as error:
            exchange.fail(error)
        except Exception as error:  # noqa: BLE001  # the supervisor of all handlers: one request's fault stays its own
            self._on_crash(exchange, error)
            exchange.fail(RequestError(500, "the server failed on this request; its log says why"))

    def _refuse(self, exchange: Exchange, methods: dict[bytes, Handler] | None) -> None:
        path = exchange.path.decode("utf-8", "replace")[:256]
        if methods is None:
            for prefix, message in self._prefixes:
                if exchange.path.startswith(prefix):
                    raise RequestError(404, f"{path}: {message}")
            raise RequestError(404, f"{path}: expected a path of this server (see /openapi.json), got this one")
        allow = b", ".join(sorted([*methods, b"OPTIONS"]))
        if exchange.method == b"OPTIONS":
            exchange.reply(200, ((b"allow", allow),), b"")
            return
        method = exchange.method.decode("ascii", "replace")
        raise RequestError(405, f"{path}: expected one of {allow.decode()}, got {method}", ((b"allow", allow),))


def require_body_type(exchange: Exchange) -> None:
    """Refuse (415) a body that says it is something other than JSON or tensors, or that is compressed."""
    fields = exchange.fields
    sent = fields.get(b"content-type", _NO_TYPE)
    if sent not in _BODY_TYPES:
        kind = sent.split(b";", 1)[0].strip().lower()
        if kind not in _BODY_TYPES and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
            expected = "application/json or application/octet-stream"
            raise RequestError(415, f"content-type: expected {expected}, got {sent.decode('latin-1')[:100]}")
    if b"content-encoding" in fields and fields[b"content-encoding"].strip().lower() != b"identity":
        coding = fields[b"content-encoding"].decode("latin-1")[:100]
        raise RequestError(415, f"content-encoding: expected none, got {coding}")
