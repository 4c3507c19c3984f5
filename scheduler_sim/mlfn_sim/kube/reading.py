"""Read nodes, pods and Services out of Kubernetes' JSON, as ``kubectl get -o json`` writes it.

Whatever cannot be used becomes a :class:`~mlfn_sim.errors.RecordingError` that names file, object and
value. What the scheduler does not look at is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mlfn_sim.errors import RecordingError
from mlfn_sim.kube.objects import (
    Affinity,
    Effect,
    NodeSpec,
    NodeTerm,
    Pod,
    PodShape,
    PodTerm,
    Requirement,
    Selector,
    Spread,
    Taint,
    Toleration,
    whole_number,
)
from mlfn_sim.kube.pod_resources import ASSUMED, Asked, pod_requests
from mlfn_sim.quantities import millis, units

__all__ = ["Reader", "pairs_selector"]

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_NODE_OPERATORS = (*_OPERATORS, "Gt", "Lt")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that every namespace has of itself."""
_NOTHING = Requirement("", "Exists", ())
"""A selector that is not there selects no pod: no label has an empty key."""
_NOWHERE = frozenset(("",))
"""No namespace is called so."""
_MOST = 2**31 - 1
_MOST_ALLOCATABLE = 2**52
"""Whole units (cpu: thousandths): what is left of 64 bits is for sums, and for a hundred times the free part."""
_TOO_MUCH = 2 * _MOST_ALLOCATABLE
"""Pods may ask more than this; no node has it either way."""


def pairs_selector(labels: Mapping[str, str]) -> Selector:
    """Return the selector of a Service or of ``matchLabels``."""
    return Selector(tuple(Requirement(key, "In", (value,)) for key, value in sorted(labels.items())))


class Reader:
    """Read objects of one file. ``services`` are those that default spreading counts with: (namespace, selector).

    ``namespaces``: name -> labels, for terms that select namespaces; None = not known. ``as_seen``: the objects are
    what a scheduler was given, so nothing is filled in; otherwise what the API server would have filled in is.
    """

    def __init__(
        self,
        path: Path,
        services: Sequence[tuple[str, Mapping[str, str]]] = (),
        *,
        namespaces: Mapping[str, Mapping[str, str]] | None = None,
        as_seen: bool = False,
    ) -> None:
        self._path = path
        self._services = services
        self._namespaces = namespaces
        self._as_seen = as_seen
        self._where = ""

    def services(self, items: Iterable[Any]) -> tuple[tuple[str, Mapping[str, str]], ...]:
        """Return namespace and selector of each Service that has a selector."""
        found = []
        for item in items:
            meta = self._metadata(item, "Service")
            selector = self._texts_by_name(self._mapping(item, "spec"), "selector")
            if selector:
                found.append((self._text(meta, "namespace") or "default", selector))
        return tuple(found)

    def namespaces(self, items: Iterable[Any]) -> dict[str, Mapping[str, str]]:
        """Return the labels of each Namespace."""
        found: dict[str, Mapping[str, str]] = {}
        for item in items:
            meta = self._metadata(item, "Namespace")
            found[meta["name"]] = self._texts_by_name(meta, "labels")
        return found

    def owner(self, item: Any) -> tuple[str, str, Selector]:
        """Return name, namespace and selector of a ReplicaSet, StatefulSet or ReplicationController."""
        meta = self._metadata(item, str(item.get("kind")) if isinstance(item, dict) else "owner")
        spec = self._mapping(item, "spec")
        plain = item.get("kind") == "ReplicationController"  # a map of labels; the others have a full selector
        selector = (
            pairs_selector(self._texts_by_name(spec, "selector"))
            if plain
            else self._selector(self._mapping(spec, "selector"))
        )
        return meta["name"], self._text(meta, "namespace") or "default", selector

    def node_affinity(self, item: Mapping[str, Any]) -> tuple[tuple[NodeTerm, ...] | None, tuple[NodeTerm, ...]]:
        """Return the required terms (None: no requirement) and the preferred ones of a node affinity."""
        terms = None
        if item.get(_REQUIRED) is not None:
            terms = tuple(map(self._node_term, self._list(self._mapping(item, _REQUIRED), "nodeSelectorTerms")))
        preferred = tuple(
            self._node_term(self._mapping(each, "preference"), weight)
            for each in self._list(item, _PREFERRED)
            if (weight := self._whole(each, "weight", 0))
        )
        return terms, preferred

    def node(self, item: Any) -> NodeSpec:
        """Return one node."""
        meta = self._metadata(item, "Node")
        spec, status = self._mapping(item, "spec"), self._mapping(item, "status")
        allocatable = self._amounts(self._mapping(status, "allocatable"), "status.allocatable")
        if not allocatable:
            self._fail("has no status.allocatable")
        for name, amount in allocatable.items():
            if amount > _MOST_ALLOCATABLE:
                self._fail(f"has status.allocatable.{name} = {amount}; expected at most {_MOST_ALLOCATABLE}")
        images: dict[str, int] = {}
        for image in self._list(status, "images"):
            size = self._whole(image, "sizeBytes", 0, most=2**62)
            for name in self._texts(image, "names"):
                images.setdefault(name, size)
        return NodeSpec(
            name=meta["name"],
            allocatable=allocatable,
            labels=self._texts_by_name(meta, "labels"),
            taints=tuple(map(self._taint, self._list(spec, "taints"))),
            unschedulable=self._is(spec, "unschedulable"),
            images=images,
        )

    def pod(self, item: Any) -> Pod:
        """Return one pod."""
        meta = self._metadata(item, "Pod")
        spec = self._mapping(item, "spec")
        containers, init = self._list(spec, "containers"), self._list(spec, "initContainers")
        if not containers:
            self._fail("has no containers")
        labels = self._texts_by_name(meta, "labels")
        namespace = self._text(meta, "namespace") or "default"
        asked = self._asked(spec, self._mapping(item, "status"))
        requests, assumed = pod_requests(asked, {}), pod_requests(asked, ASSUMED)
        affinity = self._mapping(spec, "affinity")
        terms, preferred = self.node_affinity(self._mapping(affinity, "nodeAffinity"))
        staying = [*(each for each in init if _stays(each)), *containers]
        shape = PodShape(
            namespace=namespace,
            labels=tuple(sorted(labels.items())),
            requests=tuple(sorted((name, min(amount, _TOO_MUCH)) for name, amount in requests.items() if amount > 0)),
            assumed_cpu=min(assumed["cpu"], _TOO_MUCH),
            assumed_memory=min(assumed["memory"], _TOO_MUCH),
            node_selector=pairs_selector(self._texts_by_name(spec, "nodeSelector")).requirements,
            node_terms=terms,
            preferred_nodes=preferred,
            tolerations=tuple(map(self._toleration, self._list(spec, "tolerations"))),
            spreads=tuple(self._spread(each, labels) for each in self._list(spec, "topologySpreadConstraints")),
            affinity=self._affinity(affinity, namespace, labels),
            images=tuple(_tagged(self._text(each, "image")) for each in (*init, *containers)),
            ports=tuple(sorted({port for each in staying for port in self._ports(each)})),
            priority=self._whole(spec, "priority", 0, least=-_MOST - 1),
            preempts=self._text(spec, "preemptionPolicy") != "Never",
            node_name=self._text(spec, "nodeName") if self._as_seen else "",
            terminating=bool(self._text(meta, "deletionTimestamp")),
            owned_by=self._owner(namespace, labels),
        )
        return Pod(meta["name"], shape)

    def _owner(self, namespace: str, labels: Mapping[str, str]) -> Selector | None:
        merged: dict[str, str] = {}
        for home, selector in self._services:
            if home == namespace and all(labels.get(key) == value for key, value in selector.items()):
                merged.update(selector)
        return pairs_selector(merged) if merged else None

    def _asked(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Asked:
        running = {
            self._text(each, "name"): each
            for name in ("containerStatuses", "initContainerStatuses")
            for each in self._list(status, name)
        }
        refused = any(
            each.get("type") == "PodResizePending" and each.get("reason") == "Infeasible"
            for each in self._list(status, "conditions")
        )

        def request(container: Mapping[str, Any], *, runs: bool) -> dict[str, int]:
            """Return the most of what is asked, and of what a container that is being resized still has."""
            found = self._request(container)
            told = running.get(self._text(container, "name"), {}) if runs else {}
            if not isinstance(told.get("resources"), dict):
                return found
            has = [self._mapping(told["resources"], "requests"), self._mapping(told, "allocatedResources")]
            both = [self._amounts(each, "status: resources") for each in has] + ([] if refused else [found])
            return {name: max(each.get(name, 0) for each in both) for each in both for name in each}

        return Asked(
            [request(each, runs=True) for each in self._list(spec, "containers")],
            [(_stays(each), request(each, runs=_stays(each))) for each in self._list(spec, "initContainers")],
            self._amounts(self._mapping(self._mapping(spec, "resources"), "requests"), "spec.resources.requests"),
            self._amounts(self._mapping(spec, "overhead"), "spec.overhead"),
        )

    def _request(self, container: Mapping[str, Any]) -> dict[str, int]:
        resources = self._mapping(container, "resources")
        limits = {} if self._as_seen else self._mapping(resources, "limits")
        what = f"container {self._text(container, 'name')!r}: resources"
        return self._amounts({**limits, **self._mapping(resources, "requests")}, what)

    def _amounts(self, quantities: Mapping[str, Any], what: str) -> dict[str, int]:
        found = {}
        for name, text in quantities.items():
            if not isinstance(text, str | int | float) or isinstance(text, bool):
                self._fail(f"has {what}.{name} = {text!r:.60}; expected a quantity, such as 500m")
            try:
                amount = millis(text) if name == "cpu" else units(text)
            except ValueError as error:
                self._fail(f"has {what}.{name} = {error}")
            if amount < 0:
                self._fail(f"has {what}.{name} = {text!r}; expected no negative amount")
            found[name] = amount
        return found

    def _taint(self, item: Mapping[str, Any]) -> Taint:
        key, effect = self._text(item, "key"), self._text(item, "effect")
        if not key or effect not in tuple(Effect):
            self._fail(f"has a taint {dict(item)!r:.80}; expected a key and an effect of {', '.join(Effect)}")
        return Taint(key, self._text(item, "value"), Effect(effect))

    def _toleration(self, item: Mapping[str, Any]) -> Toleration:
        operator = self._text(item, "operator") or "Equal"
        if operator not in ("Equal", "Exists"):
            self._fail(f"has a toleration with operator {operator!r}; expected Equal or Exists")
        return Toleration(self._text(item, "key"), operator, self._text(item, "value"), self._text(item, "effect"))

    def _node_term(self, term: Mapping[str, Any], weight: int = 0) -> NodeTerm:
        fields = tuple(self._requirement(each, ("In", "NotIn")) for each in self._list(term, "matchFields"))
        for each in fields:
            if each.key != "metadata.name" or len(each.values) != 1:
                self._fail(f"has matchFields with {each.key!r}; expected metadata.name with one value")
        return NodeTerm(
            tuple(self._requirement(each, _NODE_OPERATORS) for each in self._list(term, "matchExpressions")),
            fields,
            weight,
        )

    def _requirement(self, item: Mapping[str, Any], operators: tuple[str, ...]) -> Requirement:
        key, operator, values = self._text(item, "key"), self._text(item, "operator"), self._texts(item, "values")
        if operator not in operators or not key:
            self._fail(
                f"has an expression {dict(item)!r:.80}; expected a key and an operator of {', '.join(operators)}"
            )
        bad = {
            "In": not values,
            "NotIn": not values,
            "Exists": bool(values),
            "DoesNotExist": bool(values),
        }.get(operator, len(values) != 1 or whole_number(values[0]) is None)
        if bad:
            wanted = {"In": "values", "NotIn": "values", "Gt": "one whole number", "Lt": "one whole number"}
            self._fail(
                f"has an expression {dict(item)!r:.80}; {operator} goes with {wanted.get(operator, 'no values')}"
            )
        return Requirement(key, operator, values)

    def _selector(self, item: Mapping[str, Any]) -> Selector:
        expressions = tuple(self._requirement(each, _OPERATORS) for each in self._list(item, "matchExpressions"))
        return Selector((*pairs_selector(self._texts_by_name(item, "matchLabels")).requirements, *expressions))

    def _label_selector(self, item: Mapping[str, Any], keys: Mapping[str, str], labels: Mapping[str, str]) -> Selector:
        """Return ``labelSelector``, narrowed by the pod's own values: of which keys, and with which operator."""
        if item.get("labelSelector") is None:
            return Selector((_NOTHING,))
        chosen = self._selector(self._mapping(item, "labelSelector")).requirements
        own = [
            Requirement(key, operator, (labels[key],))
            for name, operator in keys.items()
            for key in self._texts(item, name)
            if key in labels
        ]
        return Selector((*chosen, *own))

    def _spread(self, item: Mapping[str, Any], labels: Mapping[str, str]) -> Spread:
        when = self._text(item, "whenUnsatisfiable") or "DoNotSchedule"
        key = self._text(item, "topologyKey")
        if when not in ("DoNotSchedule", "ScheduleAnyway") or not key:
            self._fail("has a topologySpreadConstraint without topologyKey, or with an unknown whenUnsatisfiable")
        policies = {name: self._text(item, name) for name in ("nodeAffinityPolicy", "nodeTaintsPolicy")}
        for name, policy in policies.items():
            if policy not in ("", "Honor", "Ignore"):
                self._fail(f"has {name} = {policy!r}; expected Honor or Ignore")
        return Spread(
            key=key,
            max_skew=self._whole(item, "maxSkew", 1, least=1),
            hard=when == "DoNotSchedule",
            selector=self._label_selector(item, {"matchLabelKeys": "In"}, labels),
            min_domains=self._whole(item, "minDomains", 1, least=1),
            honor_affinity=policies["nodeAffinityPolicy"] != "Ignore",
            honor_taints=policies["nodeTaintsPolicy"] == "Honor",
        )

    def _affinity(self, item: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> Affinity:
        near, away = self._mapping(item, "podAffinity"), self._mapping(item, "podAntiAffinity")

        def required(part: Mapping[str, Any]) -> tuple[PodTerm, ...]:
            return tuple(self._pod_term(term, namespace, labels) for term in self._list(part, _REQUIRED))

        def preferred(part: Mapping[str, Any]) -> tuple[PodTerm, ...]:
            return tuple(
                self._pod_term(
                    self._mapping(each, "podAffinityTerm"), namespace, labels, self._whole(each, "weight", 0)
                )
                for each in self._list(part, _PREFERRED)
            )

        return Affinity(required(near), preferred(near), required(away), preferred(away))

    def _pod_term(self, term: Mapping[str, Any], namespace: str, labels: Mapping[str, str], weight: int = 0) -> PodTerm:
        key = self._text(term, "topologyKey")
        if not key:
            self._fail("has a pod affinity term without topologyKey")
        # The API server writes these keys into the selector; the scheduler itself does not look at them.
        keys = {} if self._as_seen else {"matchLabelKeys": "In", "mismatchLabelKeys": "NotIn"}
        return PodTerm(key, self._label_selector(term, keys, labels), self._homes(term, namespace), weight)

    def _homes(self, term: Mapping[str, Any], namespace: str) -> frozenset[str]:
        """Return the namespaces that a term means; empty: all."""
        named = frozenset(self._texts(term, "namespaces"))
        if term.get("namespaceSelector") is None:
            return named or frozenset((namespace,))
        wanted = self._selector(self._mapping(term, "namespaceSelector"))
        if not wanted.requirements:
            return frozenset()
        if self._namespaces is not None:
            chosen = {name for name, labels in self._namespaces.items() if wanted.matches(labels)}
        elif all(each.key == _NAMESPACE_NAME and each.operator == "In" for each in wanted.requirements):
            chosen = set.intersection(*(set(each.values) for each in wanted.requirements))
        else:
            self._fail("has a namespaceSelector that needs the namespaces' labels, which are not known; name them")
        return named | chosen or _NOWHERE

    def _ports(self, container: Mapping[str, Any]) -> list[tuple[str, str, int]]:
        return [
            (self._text(port, "hostIP") or "0.0.0.0", self._text(port, "protocol") or "TCP", number)  # noqa: S104
            for port in self._list(container, "ports")
            if (number := self._whole(port, "hostPort", 0, most=65_535))
        ]

    def _metadata(self, item: Any, kind: str) -> Mapping[str, Any]:
        self._where = kind
        if not isinstance(item, dict):
            self._fail(f"is {item!r:.60}; expected an object")
        meta = self._mapping(item, "metadata")
        if not self._text(meta, "name"):
            self._fail("has no metadata.name")
        self._where = f"{kind} {meta['name']!r}"
        return meta

    def _mapping(self, owner: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = owner.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._fail(f"has {name} = {value!r:.60}; expected an object")
        return value

    def _list(self, owner: Mapping[str, Any], name: str) -> list[Any]:
        value = owner.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self._fail(f"has {name} = {value!r:.60}; expected a list of objects")
        return value

    def _text(self, owner: Mapping[str, Any], name: str) -> str:
        value = owner.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self._fail(f"has {name} = {value!r:.60}; expected a text")
        return value

    def _texts(self, owner: Mapping[str, Any], name: str) -> tuple[str, ...]:
        value = owner.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._fail(f"has {name} = {value!r:.60}; expected a list of texts")
        return tuple(value)

    def _texts_by_name(self, owner: Mapping[str, Any], name: str) -> dict[str, str]:
        found = self._mapping(owner, name)
        for key, value in found.items():
            if not isinstance(value, str):
                self._fail(f"has {name}.{key} = {value!r:.60}; expected a text")
        return found

    def _whole(self, owner: Mapping[str, Any], name: str, default: int, *, least: int = 0, most: int = _MOST) -> int:
        value = owner.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self._fail(f"has {name} = {value!r:.60}; expected a whole number from {least} to {most}")
        return value

    def _is(self, owner: Mapping[str, Any], name: str) -> bool:
        value = owner.get(name)
        if value not in (None, True, False):
            self._fail(f"has {name} = {value!r:.60}; expected true or false")
        return bool(value)

    def _fail(self, problem: str) -> NoReturn:
        raise RecordingError(f"{self._path}: {self._where} {problem}")


def _stays(container: Mapping[str, Any]) -> bool:
    """Tell whether an init container is a sidecar."""
    return container.get("restartPolicy") == "Always"


def _tagged(name: str) -> str:
    """Return an image's name as ImageLocality looks for it: ``:latest`` where it has no tag."""
    return f"{name}:latest" if name.rfind(":") <= name.rfind("/") else name
