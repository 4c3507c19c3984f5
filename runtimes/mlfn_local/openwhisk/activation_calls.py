"""Invoke actions, fire triggers, and show what became of them."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from mlfn_local.openwhisk.activating import Activator, Caller, Running
from mlfn_local.openwhisk.entities import Activation, Rule
from mlfn_local.openwhisk.entity_calls import EntityCalls
from mlfn_local.openwhisk.http_values import Request, Response, json_response
from mlfn_local.openwhisk.reading import read_object
from mlfn_local.openwhisk.refusals import Refused, not_found, reserved
from mlfn_local.openwhisk.store import Name, Store
from mlfn_policies.openwhisk_proxy import Status

__all__ = ["ActivationCalls"]

_ID = re.compile(r"[0-9a-f]{32}\Z")
_STATUS = {Status.SUCCESS: 200, Status.APPLICATION_ERROR: 502, Status.DEVELOPER_ERROR: 502, Status.WHISK_ERROR: 500}


class ActivationCalls:
    """Carry out the calls of one server."""

    def __init__(self, store: Store, activator: Activator, entities: EntityCalls) -> None:
        self._store = store
        self._activator = activator
        self._entities = entities
        self._settings = entities.settings

    # ---- invoking

    async def invoke(self, request: Request, caller: Caller, name: Name) -> Response:
        """Invoke an action, and wait for it where ``blocking`` says so."""
        wait_ms = self._wait_ms(request)
        self.check_payload(request.body)
        self._check_type(request)
        if self._store.find_action("/".join(name)) is None:
            raise not_found()
        params = read_object(request.body)
        self._activator.throttles.check_call(caller.namespace)
        running = self.start("/".join(name), params, caller)
        header = (("x-openwhisk-activation-id", running.activation_id),)
        record = await self.wait(running, wait_ms) if request.flag("blocking") else None
        if record is None:
            return json_response(202, {"activationId": running.activation_id}, header)
        bare = request.flag("result") or isinstance(record.result, list)  # an array always comes alone
        body = record.result if bare else record.json()
        return json_response(_STATUS[record.status], body, header)

    def start(self, full_name: str, params: Any, caller: Caller) -> Running:
        """Start an activation of an action by its full name. Raises Refused (404; 400 for final parameters)."""
        found = self._store.find_action(full_name)
        if found is None:
            raise not_found()
        if not found.fixed.isdisjoint(params):
            raise reserved()
        return self._activator.begin(found, params, caller)

    async def wait(self, running: Running, wait_ms: int) -> Activation | None:
        """Return the record when it comes within the time; the activation goes on in any case."""
        done, _ = await asyncio.wait({running.task}, timeout=wait_ms / 1000)
        return running.task.result() if done else None

    def new_id(self) -> str:
        """Return a fresh id."""
        return self._activator.new_id()

    def check_call(self, namespace: str) -> None:
        """Count one invocation. Raises Refused (429)."""
        self._activator.throttles.check_call(namespace)

    def _wait_ms(self, request: Request) -> int:
        most = self._settings.blocking_wait_ms
        given = request.fields.get("timeout")
        if given is None:
            return most
        if not given.isdecimal() or not 0 < int(given) <= most:
            raise Refused(
                400,
                f"The query parameter 'timeout' was malformed:\nTimeout must be number of milliseconds up to {most}.",
            )
        return int(given)

    def check_payload(self, body: bytes) -> None:
        """Refuse a body above the limit."""
        most = self._settings.most_payload_bytes
        if len(body) > most:
            raise Refused(413, f"Request larger than allowed: {len(body)} > {most} bytes.")

    @staticmethod
    def _check_type(request: Request) -> None:
        kind = request.header("content-type").partition(";")[0].strip()
        if request.body and kind and kind != "application/json":
            message = f"The request's Content-Type [{kind}] is not supported. Expected:\napplication/json"
            raise Refused(415, message)

    # ---- triggers

    async def fire(self, request: Request, caller: Caller, name: Name) -> Response:
        """Fire a trigger: a record of its own, and an activation for each active rule."""
        self.check_payload(request.body)
        trigger = self._entities.trigger(name)
        payload = read_object(request.body)
        self._activator.throttles.check_fire(caller.namespace)
        rules = [rule for rule in self._store.rules_of(name) if rule.active]
        if not rules:
            return Response(204)
        activation_id = self._activator.new_id()
        start_ms = self._activator.now_ms()
        logs = tuple(self._follow(rule, {**trigger.parameters, **payload}, caller) for rule in rules)
        self._store.activations.append(
            Activation(
                activation_id=activation_id,
                namespace=caller.namespace,
                subject=caller.namespace,
                name=trigger.name,
                version=trigger.version,
                start_ms=start_ms,
                end_ms=None,
                status=Status.SUCCESS,
                result=payload,
                logs=logs,
            )
        )
        return json_response(202, {"activationId": activation_id}, (("x-openwhisk-activation-id", activation_id),))

    def _follow(self, rule: Rule, params: dict[str, Any], caller: Caller) -> str:
        """Start a rule's action and return the line that the trigger's record has of it."""
        line: dict[str, Any] = {"rule": f"{rule.namespace}/{rule.name}", "action": "/".join(rule.action)}
        try:
            self.check_call(caller.namespace)
            running = self.start("/".join(rule.action), params, caller)
        except Refused as refused:
            line = {"statusCode": 1, "success": False, "error": refused.message, **line}
        else:
            line = {"statusCode": 0, "success": True, "activationId": running.activation_id, **line}
        return json.dumps(line, separators=(",", ":"))

    # ---- looking

    def listed(self, request: Request, namespace: str, collection: str, package: str = "") -> Response:
        """List a collection, newest first; of actions perhaps only those of a package."""
        if request.method != "GET":
            raise Refused(404, "The requested resource could not be found.")
        fields = request.fields
        most = self._settings.list_limit
        limit = _number(fields, "limit", self._settings.list_default, most, collection)
        skip = _number(fields, "skip", 0, 2**31, collection)
        if package:
            entries = [action.summary() for action in self._entities.actions_of((namespace, package))]
        else:
            entries = self._entries(request, namespace, collection)
        if request.flag("count"):
            return json_response(200, {collection: max(0, len(entries) - skip)})
        return json_response(200, entries[skip : skip + (limit or most)])

    def _entries(self, request: Request, namespace: str, collection: str) -> list[Any]:
        if collection == "activations":
            return self._records(request, namespace)
        kept = getattr(self._store, collection).values()
        inside = [entity for entity in kept if entity.namespace == namespace]
        inside.sort(key=lambda entity: entity.updated_ms, reverse=True)
        if collection == "rules":
            return [rule.json(with_status=False) for rule in inside]
        if collection == "triggers":
            return [_without(trigger.json(), "limits", "parameters") for trigger in inside]
        return [entity.summary() for entity in inside]

    def _records(self, request: Request, namespace: str) -> list[Any]:
        fields = request.fields
        since, upto = _time(fields, "since", 0), _time(fields, "upto", 2**62)
        name = fields.get("name", "")
        chosen = [
            record
            for record in self._store.activations
            if record.namespace == namespace
            and since <= record.start_ms <= upto
            and (not name or name in (record.name, str(record.annotations.get("path", "")).partition("/")[2]))
        ]
        chosen.sort(key=lambda record: record.start_ms, reverse=True)
        docs = request.flag("docs")
        return [record.json() if docs else record.summary() for record in chosen]

    def record(self, request: Request, namespace: str, rest: list[str]) -> Response:
        """Show one record, or its result or logs."""
        activation_id = rest[0]
        if request.method != "GET":
            raise Refused(404, "The requested resource could not be found.")
        if len(activation_id) != 32:
            raise Refused(400, f"Activation id length is {len(activation_id)} but must be 32.")
        if not _ID.match(activation_id):
            raise Refused(400, "Activation id contains illegal characters.")
        record = self._store.activation(namespace, activation_id)
        if record is None:
            raise not_found()
        if len(rest) == 1:
            return json_response(200, record.json())
        if rest[1] == "result":
            return json_response(200, record.response)
        if rest[1] == "logs":
            return json_response(200, {"logs": list(record.logs)})
        raise Refused(404, "The requested resource could not be found.")


def _number(fields: dict[str, str], name: str, default: int, most: int, collection: str) -> int:
    given = fields.get(name, str(default))
    if not given.isdecimal() or int(given) > most:
        raise Refused(
            400,
            f"The query parameter '{name}' was malformed:\n"
            f"The value '{given}' is not in the range of 0 to {most} for {collection}.",
        )
    return int(given)


def _time(fields: dict[str, str], name: str, default: int) -> int:
    given = fields.get(name, str(default))
    if not given.isdecimal():
        raise Refused(400, f"The query parameter '{name}' was malformed:\n'{given}' is not a time in milliseconds.")
    return int(given)


def _without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}
