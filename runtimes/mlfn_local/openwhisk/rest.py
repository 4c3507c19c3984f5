"""OpenWhisk's REST API: who calls, what is asked, and the answer; everything but the transport."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mlfn_local.openwhisk.activating import Activator, Caller
from mlfn_local.openwhisk.activation_calls import ActivationCalls
from mlfn_local.openwhisk.entity_calls import EntityCalls
from mlfn_local.openwhisk.http_values import Request, Response, json_response, text_response
from mlfn_local.openwhisk.reading import read_object
from mlfn_local.openwhisk.refusals import Refused, not_allowed
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_local.openwhisk.store import Name, Store
from mlfn_local.openwhisk.web import WebActions

__all__ = ["Api"]

_API = "/api/v1"
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"),
    ("Access-Control-Allow-Methods", "GET, DELETE, POST, PUT, HEAD"),
)
_NO_PATH = "The requested resource could not be found."
_NO_CREDENTIALS = "The resource requires authentication, which was not supplied with the request"
_BAD_CREDENTIALS = "The supplied authentication is invalid"
_COLLECTIONS = ("actions", "packages", "triggers", "rules", "activations")
_DESCRIPTION = {
    "api_version": "1.0.0",
    "api_version_path": "v1",
    "build": "mlfn",
    "buildno": "standalone",
    "description": "OpenWhisk API",
    "swagger_paths": {"api-docs": "/api-docs", "ui": "/docs"},
}


class Api:
    """Answer the requests of one server. ``keys`` maps credentials, ``uuid:key``, to their namespaces."""

    def __init__(self, store: Store, activator: Activator, entities: EntityCalls, keys: dict[str, str]) -> None:
        self._store = store
        self._keys = keys
        self._settings: ServerSettings = entities.settings
        self._entities = entities
        self._activations = ActivationCalls(store, activator, entities)
        self._web = WebActions(store, self._activations, self._settings, self._caller, self._owner)
        self._new_id = activator.new_id

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        transaction = request.header("x-request-id") or self._new_id()
        if len(request.body) > self._settings.most_body_bytes:
            return text_response(400, "Request too large", (("Connection", "close"),))
        try:
            response = await self._route(request)
        except Refused as refused:
            response = _refusal(refused, transaction)
        return Response(
            response.status,
            response.body,
            response.content_type,
            (("X-Request-ID", transaction), *response.headers),
        )

    async def _route(self, request: Request) -> Response:
        path = request.path.rstrip("/") or "/"
        if path == "/ping":
            return text_response(200, "pong")
        if path == "/":
            return json_response(200, self._about())
        if path == _API:
            return json_response(200, _DESCRIPTION, _CORS)
        if path == "/invokers":
            return json_response(200, {}, _CORS)
        if path.startswith(f"{_API}/web/"):
            return await self._web.answer(request, path[len(_API) + 5 :])
        caller = self._caller(request)
        if path == f"{_API}/namespaces":
            return json_response(200, [caller.namespace], _CORS)
        if not path.startswith(f"{_API}/namespaces/"):
            raise Refused(404, _NO_PATH)
        response = await self._namespaced(request, caller, path[len(_API) + 12 :].split("/"))
        return Response(response.status, response.body, response.content_type, (*_CORS, *response.headers))

    def _about(self) -> dict[str, Any]:
        limits = self._settings
        return {
            "api_paths": [_API],
            "description": "OpenWhisk",
            "limits": {
                "actions_per_minute": limits.invocations_per_minute,
                "concurrent_actions": limits.concurrent_invocations,
                "sequence_length": limits.most_sequence,
                "triggers_per_minute": limits.fires_per_minute,
                **{f"{word}_action_{name}": value for word, name, value in _extremes(limits)},
            },
            "runtimes": {
                kind.partition(":")[0]: [
                    {
                        "attached": True,
                        "default": True,
                        "deprecated": False,
                        "image": image,
                        "kind": kind,
                        "requireMain": False,
                    }
                ]
                for kind, image in limits.kinds
            },
            "support": {"github": "https://github.com/apache/openwhisk/issues", "slack": "http://slack.openwhisk.org"},
        }

    def _caller(self, request: Request) -> Caller:
        """Return who sent a request. Raises Refused (401)."""
        scheme, _, given = request.header("authorization").partition(" ")
        if scheme.lower() != "basic":
            raise Refused(401, _NO_CREDENTIALS)
        try:
            key = base64.b64decode(given, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(401, _BAD_CREDENTIALS) from None
        if key not in self._keys:
            raise Refused(401, _BAD_CREDENTIALS)
        return Caller(self._keys[key], key)

    def _owner(self, namespace: str) -> Caller:
        """Return the owner of a namespace: who its web actions run for."""
        return Caller(namespace, next((key for key, at in self._keys.items() if at == namespace), ""))

    async def _namespaced(self, request: Request, caller: Caller, parts: list[str]) -> Response:
        """Answer what lies in a namespace: ``parts`` is the namespace, the collection, and a name."""
        namespace, collection, *rest = (*parts, "")[: len(parts) + (len(parts) < 2)]
        namespace = caller.namespace if namespace == "_" else namespace
        if collection == "limits" and request.method == "GET" and not rest:
            return json_response(200, self._settings.limits_json())
        if collection not in _COLLECTIONS or len(rest) > (2 if collection in ("actions", "activations") else 1):
            raise Refused(404, _NO_PATH)
        if namespace != caller.namespace and not self._readable(request, namespace, collection):
            raise not_allowed("/".join((namespace, *rest[:1])))
        if not rest:
            return self._activations.listed(request, namespace, collection)
        if collection == "actions" and len(rest) == 1 and request.path.endswith("/"):
            return self._activations.listed(request, namespace, collection, rest[0])
        if collection == "activations":
            return self._activations.record(request, namespace, rest)
        name = ("/".join((namespace, *rest[:-1])), rest[-1])
        if request.method == "POST" and collection in ("actions", "triggers"):
            call = self._activations.invoke if collection == "actions" else self._activations.fire
            return await call(request, caller, name)
        return self._entity(request, collection, name)

    def _readable(self, request: Request, namespace: str, collection: str) -> bool:
        """Tell whether strangers may look: at the public packages of a namespace."""
        return collection == "packages" and request.method == "GET"

    def _entity(self, request: Request, collection: str, name: Name) -> Response:
        method, calls = request.method, self._entities
        if method == "PUT":
            put = getattr(calls, f"put_{collection[:-1]}")
            value = put(name, read_object(request.body), overwrite=request.flag("overwrite"))
        elif method == "POST" and collection == "rules":
            return text_response(200, calls.switch_rule(name, read_object(request.body)))
        elif method == "GET" and collection == "actions":
            value = calls.get_action(name, with_code=request.flag("code", True))
        elif method == "GET":
            value = getattr(calls, f"get_{collection[:-1]}")(name)
        elif method == "DELETE" and collection == "packages":
            value = calls.delete_package(name, force=request.flag("force"))
        elif method == "DELETE":
            value = getattr(calls, f"delete_{collection[:-1]}")(name)
        else:
            raise Refused(404, _NO_PATH)
        return json_response(200, value)


def _extremes(limits: ServerSettings) -> list[tuple[str, str, int]]:
    mib = 1_048_576
    most = {
        "duration": (limits.least_timeout_ms, limits.most_timeout_ms),
        "logs": (0, limits.most_logs_mb * mib),
        "memory": (limits.least_memory_mb * mib, limits.most_memory_mb * mib),
    }
    return [
        (word, name, bounds[word.endswith("max")])
        for name, bounds in most.items()
        for word in ("min", "max", "default_min", "default_max")
    ]


def _refusal(refused: Refused, transaction: str) -> Response:
    headers: tuple[tuple[str, str], ...] = ()
    if refused.status == 401:
        headers = (("WWW-Authenticate", 'Basic realm="OpenWhisk secure realm",charset=UTF-8'),)
    elif refused.message != _NO_PATH:
        headers = _CORS
    return json_response(refused.status, {"code": transaction, "error": refused.message}, headers)
