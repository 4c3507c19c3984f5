"""Read nodes, pods and Services out of Kubernetes' JSON, as ``kubectl get -o json`` writes it.

Whatever cannot be used becomes a :class:`~mlfn_sim.errors.RecordingError` that names file, object and
value. What the scheduler does not look at is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mlfn_policies.kube_scores import DEFAULT_CPU_MILLIS, DEFAULT_MEMORY_BYTES
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
)
from mlfn_sim.quantities import millis, units

__all__ = ["Reader", "pairs_selector"]

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_NODE_OPERATORS = (*_OPERATORS, "Gt", "Lt")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NO_SHAPE: Mapping[str, Any] = {}


def pairs_selector(labels: Mapping[str, str]) -> Selector:
    """Return the selector of a Service or of ``matchLabels``."""
    return Selector(tuple(Requirement(key, "In", (value,)) for key, value in sorted(labels.items())))


class Reader:
    """Read objects of one file. ``services`` are those that default spreading counts with: (namespace, selector)."""

    def __init__(self, path: Path, services: Sequence[tuple[str, Mapping[str, str]]] = ()) -> None:
        self._path = path
        self._services = services
        self._where = ""

    def services(self, items: Iterable[Any]) -> tuple[tuple[str, Mapping[str, str]], ...]:
        """Return namespace and selector of each Service that has a selector."""
        found = []
        for item in items:
            meta = self._metadata(item, "Service")
            selector = self._mapping(_get(item, "spec"), "selector")
            if selector:
                found.append((meta.get("namespace") or "default", selector))
        return tuple(found)

    def owner(self, item: Any) -> tuple[str, str, Selector]:
        """Return name, namespace and selector of a ReplicaSet, StatefulSet or ReplicationController."""
        meta = self._metadata(item, str(item.get("kind")) if isinstance(item, dict) else "owner")
        chosen = self._mapping(_get(item, "spec"), "selector")
        plain = item.get("kind") == "ReplicationController"  # a map of labels; the others have a full selector
        selector = pairs_selector(chosen) if plain else self._selector(chosen)
        return meta["name"], meta.get("namespace") or "default", selector

    def node_affinity(self, item: Mapping[str, Any]) -> tuple[tuple[NodeTerm, ...] | None, tuple[NodeTerm, ...]]:
        """Return the required terms (None: no requirement) and the preferred ones of a node affinity."""
        required = item.get(_REQUIRED)
        terms = None if required is None else tuple(map(self._node_term, required.get("nodeSelectorTerms") or ()))
        preferred = tuple(
            self._node_term(each.get("preference") or {}, int(each.get("weight") or 0))
            for each in self._list(item, _PREFERRED)
            if each.get("weight")
        )
        return terms, preferred

    def node(self, item: Any) -> NodeSpec:
        """Return one node."""
        meta = self._metadata(item, "Node")
        spec, status = _get(item, "spec"), _get(item, "status")
        allocatable = self._mapping(status, "allocatable")
        if not allocatable:
            self._fail("has no status.allocatable")
        found = self._amounts(allocatable, "status.allocatable")
        return NodeSpec(
            name=meta["name"],
            allocatable=found,
            labels=self._mapping(meta, "labels"),
            taints=tuple(map(self._taint, self._list(spec, "taints"))),
            unschedulable=bool(spec.get("unschedulable")),
            images={
                _tagged(name): int(image.get("sizeBytes") or 0)
                for image in self._list(status, "images")
                for name in image.get("names") or ()
            },
        )

    def pod(self, item: Any) -> Pod:
        """Return one pod."""
        meta = self._metadata(item, "Pod")
        spec = _get(item, "spec")
        containers = self._list(spec, "containers")
        if not containers:
            self._fail("has no containers")
        labels = self._mapping(meta, "labels")
        namespace = meta.get("namespace") or "default"
        requests = self._requests(spec, containers)
        cpu, memory = self._assumed(spec, containers)
        affinity = _get(spec, "affinity")
        terms, preferred = self.node_affinity(_get(affinity, "nodeAffinity"))
        shape = PodShape(
            namespace=namespace,
            labels=tuple(sorted(labels.items())),
            requests=requests,
            assumed_cpu=cpu,
            assumed_memory=memory,
            node_selector=pairs_selector(self._mapping(spec, "nodeSelector")).requirements,
            node_terms=terms,
            preferred_nodes=preferred,
            tolerations=tuple(map(self._toleration, self._list(spec, "tolerations"))),
            spreads=tuple(self._spread(each, labels) for each in self._list(spec, "topologySpreadConstraints")),
            affinity=self._affinity(affinity, namespace, labels),
            images=tuple(
                _tagged(each["image"])
                for each in (*self._list(spec, "initContainers"), *containers)
                if each.get("image")
            ),
            ports=tuple(sorted({port for each in containers for port in self._ports(each)})),
            priority=int(spec.get("priority") or 0),
            preempts=spec.get("preemptionPolicy") != "Never",
            owned_by=self._owner(namespace, labels),
        )
        return Pod(meta["name"], shape)

    def _owner(self, namespace: str, labels: Mapping[str, str]) -> Selector | None:
        merged: dict[str, str] = {}
        for home, selector in self._services:
            if home == namespace and all(labels.get(key) == value for key, value in selector.items()):
                merged.update(selector)
        return pairs_selector(merged) if merged else None

    def _requests(self, spec: Mapping[str, Any], containers: Sequence[Any]) -> tuple[tuple[str, int], ...]:
        total: dict[str, int] = {}
        for container in containers:
            for name, amount in self._request(container).items():
                total[name] = total.get(name, 0) + amount
        sidecars: dict[str, int] = {}
        for container in self._list(spec, "initContainers"):
            asked = self._request(container)
            if container.get("restartPolicy") == "Always":
                for name, amount in asked.items():
                    sidecars[name] = sidecars.get(name, 0) + amount
                    total[name] = total.get(name, 0) + amount
                continue
            for name, amount in asked.items():
                total[name] = max(total.get(name, 0), amount + sidecars.get(name, 0))
        for name, amount in self._amounts(self._mapping(spec, "overhead"), "spec.overhead").items():
            total[name] = total.get(name, 0) + amount
        return tuple(sorted((name, amount) for name, amount in total.items() if amount > 0))

    def _assumed(self, spec: Mapping[str, Any], containers: Sequence[Any]) -> tuple[int, int]:
        cpu = memory = early_cpu = early_memory = side_cpu = side_memory = 0
        for container in containers:
            asked = self._request(container)
            cpu += asked.get("cpu", DEFAULT_CPU_MILLIS)
            memory += asked.get("memory", DEFAULT_MEMORY_BYTES)
        for container in self._list(spec, "initContainers"):
            asked = self._request(container)
            own_cpu, own_memory = asked.get("cpu", DEFAULT_CPU_MILLIS), asked.get("memory", DEFAULT_MEMORY_BYTES)
            if container.get("restartPolicy") == "Always":
                side_cpu, side_memory = side_cpu + own_cpu, side_memory + own_memory
                own_cpu, own_memory = 0, 0
            early_cpu, early_memory = max(early_cpu, own_cpu + side_cpu), max(early_memory, own_memory + side_memory)
        overhead = self._amounts(self._mapping(spec, "overhead"), "spec.overhead")
        return (
            max(cpu + side_cpu, early_cpu) + overhead.get("cpu", 0),
            max(memory + side_memory, early_memory) + overhead.get("memory", 0),
        )

    def _request(self, container: Any) -> dict[str, int]:
        resources = _get(container, "resources")
        asked = {**self._mapping(resources, "limits"), **self._mapping(resources, "requests")}
        return self._amounts(asked, f"container {container.get('name', '')!r}: resources")

    def _amounts(self, quantities: Mapping[str, Any], what: str) -> dict[str, int]:
        found = {}
        for name, text in quantities.items():
            try:
                amount = millis(text) if name == "cpu" else units(text)
            except ValueError as error:
                self._fail(f"has {what}.{name} = {error}")
            if amount < 0:
                self._fail(f"has {what}.{name} = {text!r}; expected no negative amount")
            found[name] = amount
        return found

    def _taint(self, item: Mapping[str, Any]) -> Taint:
        try:
            return Taint(item["key"], item.get("value") or "", Effect(item["effect"]))
        except (KeyError, ValueError):
            self._fail(f"has a taint {dict(item)!r}; expected a key and an effect of {', '.join(Effect)}")

    def _toleration(self, item: Mapping[str, Any]) -> Toleration:
        operator = item.get("operator") or "Equal"
        if operator not in ("Equal", "Exists"):
            self._fail(f"has a toleration with operator {operator!r}; expected Equal or Exists")
        return Toleration(item.get("key") or "", operator, item.get("value") or "", item.get("effect") or "")

    def _node_term(self, term: Mapping[str, Any], weight: int = 0) -> NodeTerm:
        return NodeTerm(
            tuple(self._requirement(each, _NODE_OPERATORS) for each in self._list(term, "matchExpressions")),
            tuple(self._requirement(each, ("In", "NotIn")) for each in self._list(term, "matchFields")),
            weight,
        )

    def _requirement(self, item: Mapping[str, Any], operators: tuple[str, ...]) -> Requirement:
        operator = item.get("operator")
        if operator not in operators or not item.get("key"):
            self._fail(f"has an expression {dict(item)!r}; expected a key and an operator of {', '.join(operators)}")
        return Requirement(item["key"], operator, tuple(item.get("values") or ()))

    def _selector(self, item: Mapping[str, Any]) -> Selector:
        expressions = tuple(self._requirement(each, _OPERATORS) for each in self._list(item, "matchExpressions"))
        return Selector((*pairs_selector(self._mapping(item, "matchLabels")).requirements, *expressions))

    def _spread(self, item: Mapping[str, Any], labels: Mapping[str, str]) -> Spread:
        when = item.get("whenUnsatisfiable") or "DoNotSchedule"
        if when not in ("DoNotSchedule", "ScheduleAnyway") or not item.get("topologyKey"):
            self._fail("has a topologySpreadConstraint without topologyKey, or with an unknown whenUnsatisfiable")
        selector = self._selector(item.get("labelSelector") or {})
        same = [Requirement(key, "In", (labels[key],)) for key in item.get("matchLabelKeys") or () if key in labels]
        if item.get("labelSelector") is None:
            # No selector selects no pod.
            selector = Selector((Requirement("", "Exists", ()),))
        return Spread(
            key=item["topologyKey"],
            max_skew=int(item.get("maxSkew") or 1),
            hard=when == "DoNotSchedule",
            selector=Selector((*selector.requirements, *same)),
            min_domains=int(item.get("minDomains") or 1),
            honor_affinity=item.get("nodeAffinityPolicy") != "Ignore",
            honor_taints=item.get("nodeTaintsPolicy") == "Honor",
        )

    def _affinity(self, item: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> Affinity:
        near, away = _get(item, "podAffinity"), _get(item, "podAntiAffinity")

        def required(part: Mapping[str, Any]) -> tuple[PodTerm, ...]:
            return tuple(self._pod_term(term, namespace, labels) for term in self._list(part, _REQUIRED))

        def preferred(part: Mapping[str, Any]) -> tuple[PodTerm, ...]:
            return tuple(
                self._pod_term(each.get("podAffinityTerm") or {}, namespace, labels, int(each.get("weight") or 0))
                for each in self._list(part, _PREFERRED)
            )

        return Affinity(required(near), preferred(near), required(away), preferred(away))

    def _pod_term(self, term: Mapping[str, Any], namespace: str, labels: Mapping[str, str], weight: int = 0) -> PodTerm:
        if not term.get("topologyKey"):
            self._fail("has a pod affinity term without topologyKey")
        chosen = term.get("namespaceSelector")
        if chosen:
            self._fail("has a namespaceSelector with conditions, which needs the namespaces' labels; name them instead")
        named = frozenset(term.get("namespaces") or ())
        selector = self._selector(term.get("labelSelector") or {})
        if term.get("labelSelector") is None:
            selector = Selector((Requirement("", "Exists", ()),))
        extra = [Requirement(key, "In", (labels[key],)) for key in term.get("matchLabelKeys") or () if key in labels]
        extra += [
            Requirement(key, "NotIn", (labels[key],)) for key in term.get("mismatchLabelKeys") or () if key in labels
        ]
        everywhere = chosen is not None  # an empty namespaceSelector selects all namespaces
        namespaces = frozenset() if everywhere else named or frozenset((namespace,))
        return PodTerm(term["topologyKey"], Selector((*selector.requirements, *extra)), namespaces, weight)

    def _ports(self, container: Mapping[str, Any]) -> list[tuple[str, str, int]]:
        return [
            (port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"]))  # noqa: S104
            for port in self._list(container, "ports")
            if port.get("hostPort")
        ]

    def _metadata(self, item: Any, kind: str) -> Mapping[str, Any]:
        self._where = kind
        if not isinstance(item, dict):
            self._fail(f"is {item!r:.60}; expected an object")
        meta = _get(item, "metadata")
        if not isinstance(meta.get("name"), str) or not meta["name"]:
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

    def _fail(self, problem: str) -> NoReturn:
        raise RecordingError(f"{self._path}: {self._where} {problem}")


def _get(owner: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = owner.get(name)
    return found if isinstance(found, dict) else _NO_SHAPE


def _tagged(name: str) -> str:
    """Return an image's name as ImageLocality compares it: ``:latest`` where it has no tag."""
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
