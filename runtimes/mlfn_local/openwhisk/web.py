"""Web actions: ``/api/v1/web/NAMESPACE/PACKAGE|default/ACTION[.json|.http|.html|.svg|.text][/sub/path]``."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from mlfn_local.openwhisk.activating import Caller
from mlfn_local.openwhisk.activation_calls import ActivationCalls
from mlfn_local.openwhisk.entities import Action, Activation
from mlfn_local.openwhisk.http_values import Request, Response, json_response, text_response
from mlfn_local.openwhisk.reading import read_json
from mlfn_local.openwhisk.refusals import Refused, not_found, reserved
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_local.openwhisk.store import Found, Store
from mlfn_policies.openwhisk_proxy import Status

__all__ = ["WebActions"]

_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"),
    ("Access-Control-Allow-Headers", "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"),
)
_TYPES = {
    "json": "application/json",
    "http": "message/http",
    "html": "text/html",
    "svg": "image/svg+xml",
    "text": "text/plain",
}
_RESERVED = frozenset(("__ow_method", "__ow_headers", "__ow_path", "__ow_user", "__ow_query", "__ow_body"))
_NOT_PASSED_ON = frozenset(("content-length", "transfer-encoding", "connection"))
_FRAMING = frozenset(("content-type", "content-length", "transfer-encoding", "connection", "date", "server"))
"""Headers of an action's result that the server writes itself."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^`|~\w-]+\Z", re.ASCII)
_FIRST_FINAL_STATUS = 200
_WITHOUT_BODY = (204, 304)
_FORM = "application/x-www-form-urlencoded"


class WebActions:
    """Answer requests to web actions. ``who`` names a request's caller, ``owner`` a namespace's owner."""

    def __init__(
        self,
        store: Store,
        activations: ActivationCalls,
        settings: ServerSettings,
        who: Callable[[Request], Caller],
        owner: Callable[[str], Caller],
    ) -> None:
        self._store = store
        self._activations = activations
        self._settings = settings
        self._who = who
        self._owner = owner

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request; ``path`` is what follows ``/web/``."""
        try:
            return await self._answer(request, path)
        except Refused as refused:
            return self._refusal(request, refused, ())

    def _refusal(self, request: Request, refused: Refused, more: tuple[tuple[str, str], ...]) -> Response:
        code = request.header("x-request-id") or self._activations.new_id()
        return json_response(refused.status, {"code": code, "error": refused.message}, (*_CORS, *more))

    async def _answer(self, request: Request, path: str) -> Response:
        namespace, package, name, extension, rest = _split(path)
        inside = namespace if package == "default" else f"{namespace}/{package}"
        found = self._store.find_action(f"{inside}/{name}")
        if found is None or not found.action.annotations.get("web-export"):
            raise not_found()
        action = found.action
        if request.method == "OPTIONS" and not action.annotations.get("web-custom-options"):
            return Response(200, b"", "", _CORS)
        user = self._admit(request, action)
        self._activations.check_payload(request.body)
        params = _parameters(request, found, rest, user)
        self._activations.check_call(namespace)
        running = self._activations.start(f"{inside}/{name}", params, self._owner(namespace))
        header = (("x-openwhisk-activation-id", running.activation_id),)
        record = await self._activations.wait(running, self._settings.blocking_wait_ms)
        try:
            shown = _shown(record, extension)
        except Refused as refused:
            return self._refusal(request, refused, header)
        return Response(shown.status, shown.body, shown.content_type, (*_CORS, *header, *shown.headers))

    def _admit(self, request: Request, action: Action) -> str:
        """Check what the action demands of its callers; return the user's name if they had to say who they are."""
        demand = action.annotations.get("require-whisk-auth")
        if demand is True:
            return self._who(request).namespace
        if demand not in (None, False) and request.header("x-require-whisk-auth") != str(demand):
            raise Refused(401, "Authentication is possible but has failed or not yet been provided.")
        return ""


def _split(path: str) -> tuple[str, str, str, str, str]:
    """Return namespace, package, action, extension and the rest of a web action's path."""
    parts = path.split("/", 3)
    if len(parts) < 3 or not parts[2]:
        raise not_found()
    name, _, extension = parts[2].rpartition(".")
    if not name or extension not in _TYPES:
        name, extension = parts[2], "http"
    rest = f"/{parts[3]}" if len(parts) > 3 else ""
    return parts[0], parts[1], name, extension, rest


def _parameters(request: Request, found: Found, rest: str, user: str) -> dict[str, Any]:
    """Return what the action is called with: of query and body, and ``__ow_*``."""
    method = "get" if request.method == "HEAD" else request.method.lower()
    context: dict[str, Any] = {
        "__ow_method": method,
        "__ow_headers": {key: value for key, value in request.headers if key not in _NOT_PASSED_ON},
        "__ow_path": rest,
    }
    if user:
        context["__ow_user"] = user
    if found.action.annotations.get("raw-http"):
        return context | {"__ow_query": request.query, "__ow_body": _raw_body(request)}
    given: dict[str, Any] = dict(request.fields)
    given |= _body_parameters(request)
    if (_RESERVED - {"__ow_body"} | found.fixed) & set(given):
        raise reserved()
    return given | context


def _body_parameters(request: Request) -> dict[str, Any]:
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if not request.body:
        return {}
    if kind == _FORM:
        return dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True))
    if kind == "application/json":
        value = read_json(request.body)
        return value if isinstance(value, dict) else {"__ow_body": value}
    return {"__ow_body": _text(request.body, kind)}


def _raw_body(request: Request) -> str:
    kind = request.header("content-type").partition(";")[0].strip().lower()
    return _text(request.body, kind)


def _text(body: bytes, kind: str) -> str:
    """Return text as it is and anything else in base64."""
    if kind.startswith("text/") or kind == _FORM or not body:
        return body.decode(errors="replace")
    return base64.b64encode(body).decode()


def _shown(record: Activation | None, extension: str) -> Response:
    """Turn an activation's end into an HTTP response; None: it has not ended in time."""
    if record is None:
        raise Refused(202, "Response not yet ready.")
    if record.status in (Status.DEVELOPER_ERROR, Status.WHISK_ERROR):
        raise Refused(400, "There was an error processing your request.")
    result = record.result
    if record.status is Status.APPLICATION_ERROR:
        result = result["error"]
        if not isinstance(result, dict):
            raise _not_valid(extension)
    elif isinstance(result, list):
        return text_response(500, "There was an internal server error.")
    if extension == "json":
        return json_response(200, result)
    if extension == "http":
        return _as_http(result)
    if extension in result and isinstance(result[extension], str):
        return Response(200, result[extension].encode(errors="replace"), f"{_TYPES[extension]}; charset=UTF-8")
    if extension == "text":
        raise Refused(404, "Response does not include requested property.")
    raise _not_valid(extension)


def _not_valid(extension: str) -> Refused:
    return Refused(400, f"Response is not valid '{_TYPES[extension]}'.")


def _as_http(result: dict[str, Any]) -> Response:
    """Take status, headers and body from a result; without a body it is 204."""
    body = result.get("body")
    status = result.get("statusCode", 204 if body is None else 200)
    if isinstance(status, str) and status.isdigit():
        status = int(status)
    given = result.get("headers") or {}
    if not isinstance(status, int) or not _FIRST_FINAL_STATUS <= status <= 599 or not isinstance(given, dict):
        raise _not_valid("http")
    if not all(_HEADER_NAME.match(key) for key in given):
        raise _not_valid("http")
    headers = tuple(
        (key, _word(item))
        for key, value in given.items()
        for item in (value if isinstance(value, list) else [value])
        if key.lower() not in _FRAMING
    )
    kind = next((_word(value) for key, value in given.items() if key.lower() == "content-type"), "")
    if body is None or status in _WITHOUT_BODY:
        return Response(status, b"", "", headers)
    if not isinstance(body, str):
        shown = json_response(status, body).body
        return Response(status, shown, kind or "application/json", headers)
    if kind and not _is_text(kind):
        try:
            return Response(status, base64.b64decode(body, validate=True), kind, headers)
        except binascii.Error:
            return Response(status, body.encode(errors="replace"), kind, headers)
    kind = kind or "text/html"
    charset = "; charset=UTF-8" if kind.startswith("text/") and "charset" not in kind else ""
    return Response(status, body.encode(errors="replace"), kind + charset, headers)


def _is_text(kind: str) -> bool:
    return kind.startswith(("text/", "application/json", "application/javascript", "application/xml"))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
