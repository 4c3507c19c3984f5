"""Actions, packages, triggers, rules and activations as OpenWhisk keeps and shows them.

Frozen values with their JSON; what a client may send is read in :mod:`mlfn_local.openwhisk.reading`. Names are always
resolved: ``namespace`` is never ``_``. Times are ms since the epoch, memory and logs MB, time limits ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlfn_policies.openwhisk_proxy import Status

__all__ = ["Action", "Activation", "Exec", "Limits", "Package", "Pairs", "Rule", "Trigger", "next_version"]

Json = Any
Pairs = Mapping[str, Json]
"""Parameters or annotations: values by key, in the order in which they came."""

FIRST_VERSION = "0.0.1"


def next_version(version: str) -> str:
    """Return the version after an update: the last number rises."""
    lead, _, patch = version.rpartition(".")
    return f"{lead}.{int(patch) + 1}"


def pairs_json(pairs: Pairs, init: frozenset[str] = frozenset()) -> list[Json]:
    """Return the list of ``{"key", "value"}`` that OpenWhisk writes."""
    return [{"key": key, "value": value} | ({"init": True} if key in init else {}) for key, value in pairs.items()]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one activation may use; ``concurrency`` is activations at once in one container."""

    timeout_ms: int = 60_000
    memory_mb: int = 256
    logs_mb: int = 10
    concurrency: int = 1

    def json(self) -> Json:
        """Return the limits as OpenWhisk writes them."""
        return {
            "concurrency": self.concurrency,
            "logs": self.logs_mb,
            "memory": self.memory_mb,
            "timeout": self.timeout_ms,
        }


@dataclass(frozen=True, slots=True)
class Exec:
    """What an action runs: ``blackbox`` (an image), ``sequence`` (components), or a kind of the server's manifest."""

    kind: str
    image: str = ""
    code: str = ""
    main: str = ""
    components: tuple[str, ...] = ()
    """Full names, ``/ns/[package/]name``."""
    binary: bool = False

    def json(self, *, with_code: bool = True) -> Json:
        """Return the executable as OpenWhisk writes it."""
        if self.kind == "sequence":
            return {"components": list(self.components), "kind": self.kind}
        shown: dict[str, Json] = {"kind": self.kind}
        if self.code and with_code:
            shown["code"] = self.code
        if self.image and self.kind == "blackbox":
            shown["image"] = self.image
        if self.main:
            shown["main"] = self.main
        shown["binary"] = self.binary
        return shown


@dataclass(frozen=True, slots=True)
class Action:
    """One version of an action. ``package`` is empty for the namespace's own actions."""

    namespace: str
    package: str
    name: str
    exec: Exec
    limits: Limits = Limits()
    parameters: Pairs = field(default_factory=dict)
    init_parameters: frozenset[str] = frozenset()
    """Names of parameters that go to the environment at ``/init`` instead of to ``/run``."""
    annotations: Pairs = field(default_factory=dict)
    version: str = FIRST_VERSION
    publish: bool = False
    updated_ms: int = 0

    @property
    def path(self) -> str:
        """Return the namespace with the package, as in ``namespace`` of the JSON."""
        return f"{self.namespace}/{self.package}" if self.package else self.namespace

    @property
    def full_name(self) -> str:
        """Return ``ns/[package/]name``."""
        return f"{self.path}/{self.name}"

    @property
    def wants_key(self) -> bool:
        """Tell whether the caller's key goes to the container: unless the annotation says false."""
        return bool(self.annotations.get("provide-api-key", True))

    def json(self, *, with_code: bool = True) -> Json:
        """Return the whole record."""
        return {
            "annotations": pairs_json(self.annotations),
            "exec": self.exec.json(with_code=with_code),
            "limits": self.limits.json(),
            "name": self.name,
            "namespace": self.path,
            "parameters": pairs_json(self.parameters, self.init_parameters),
            "publish": self.publish,
            "updated": self.updated_ms,
            "version": self.version,
        }

    def summary(self) -> Json:
        """Return the record as lists show it."""
        whole = self.json()
        return {key: whole[key] for key in _ACTION_SUMMARY} | {"exec": {"binary": self.exec.binary}}


_ACTION_SUMMARY = ("name", "updated", "limits", "namespace", "publish", "annotations", "version")


@dataclass(frozen=True, slots=True)
class Package:
    """A package, or a binding of one (``binding`` is (namespace, name) of the package that is bound)."""

    namespace: str
    name: str
    parameters: Pairs = field(default_factory=dict)
    annotations: Pairs = field(default_factory=dict)
    binding: tuple[str, str] | None = None
    version: str = FIRST_VERSION
    publish: bool = False
    updated_ms: int = 0

    def json(self) -> Json:
        """Return the record without the contents."""
        return {
            "annotations": pairs_json(self.annotations),
            "binding": self._binding_json(),
            "name": self.name,
            "namespace": self.namespace,
            "parameters": pairs_json(self.parameters),
            "publish": self.publish,
            "updated": self.updated_ms,
            "version": self.version,
        }

    def summary(self) -> Json:
        """Return the record as lists show it."""
        whole = self.json()
        del whole["parameters"]
        return whole | {"binding": self._binding_json() or False}

    def _binding_json(self) -> Json:
        return {"name": self.binding[1], "namespace": self.binding[0]} if self.binding else {}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; ``trigger`` and ``action`` are (path, name)."""

    namespace: str
    name: str
    trigger: tuple[str, str]
    action: tuple[str, str]
    active: bool = True
    annotations: Pairs = field(default_factory=dict)
    version: str = FIRST_VERSION
    publish: bool = False
    updated_ms: int = 0

    @property
    def status(self) -> str:
        """Return ``active`` or ``inactive``."""
        return "active" if self.active else "inactive"

    def json(self, *, with_status: bool = True) -> Json:
        """Return the record; lists show no status."""
        whole: dict[str, Json] = {
            "action": {"name": self.action[1], "path": self.action[0]},
            "annotations": pairs_json(self.annotations),
            "name": self.name,
            "namespace": self.namespace,
            "publish": self.publish,
            "trigger": {"name": self.trigger[1], "path": self.trigger[0]},
            "updated": self.updated_ms,
            "version": self.version,
        }
        return whole | {"status": self.status} if with_status else whole


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger; its rules are the store's knowledge."""

    namespace: str
    name: str
    parameters: Pairs = field(default_factory=dict)
    annotations: Pairs = field(default_factory=dict)
    version: str = FIRST_VERSION
    publish: bool = False
    updated_ms: int = 0

    def json(self, rules: tuple[Rule, ...] = ()) -> Json:
        """Return the record with the rules that point at it, if any."""
        whole: dict[str, Json] = {
            "annotations": pairs_json(self.annotations),
            "limits": {},
            "name": self.name,
            "namespace": self.namespace,
            "parameters": pairs_json(self.parameters),
            "publish": self.publish,
            "updated": self.updated_ms,
            "version": self.version,
        }
        if rules:
            whole["rules"] = {
                f"{rule.namespace}/{rule.name}": {
                    "action": {"name": rule.action[1], "path": rule.action[0]},
                    "status": rule.status,
                }
                for rule in rules
            }
        return whole


@dataclass(frozen=True, slots=True)
class Activation:
    """The record of one activation; ``end_ms`` None: a trigger's, which has no end. ``cause``: the sequence's id."""

    activation_id: str
    namespace: str
    subject: str
    name: str
    version: str
    start_ms: int
    end_ms: int | None
    status: Status
    result: Json
    size: int | None = None
    annotations: Pairs = field(default_factory=dict)
    logs: tuple[str, ...] = ()
    cause: str = ""

    @property
    def response(self) -> Json:
        """Return the result with its status."""
        shown: dict[str, Json] = {"result": self.result}
        if self.size is not None:
            shown["size"] = self.size
        return shown | {"status": self.status.text, "success": self.status is Status.SUCCESS}

    def json(self) -> Json:
        """Return the whole record."""
        return self._head() | {
            "logs": list(self.logs),
            "response": self.response,
            "subject": self.subject,
        }

    def summary(self) -> Json:
        """Return the record as lists show it."""
        return self._head() | {"statusCode": int(self.status)}

    def _head(self) -> dict[str, Json]:
        head: dict[str, Json] = {
            "activationId": self.activation_id,
            "annotations": pairs_json(self.annotations),
            "name": self.name,
            "namespace": self.namespace,
            "publish": False,
            "start": self.start_ms,
            "version": self.version,
        }
        if self.cause:
            head["cause"] = self.cause
        if self.end_ms is not None:
            head |= {"end": self.end_ms, "duration": self.end_ms - self.start_ms}
        return head
