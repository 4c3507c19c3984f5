"""A cluster door without a cluster: objects in memory, and as much of Knative as a deploy can see.

Writes keep the API's rules (resource versions, generations, ownership by uid). One step of the controllers is taken
before each sight of a watch, a second of its own time after the one before: a revision whose image is in ``failures``
shows what a real cluster showed in that recorded failure, any other becomes ready.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlfn.errors import Conflict, NotFound
from mlfn.platforms.kube.door import LogQuery, Selection, Sight
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE, Kind, Object, kind_of

RECORDED = Path(__file__).resolve().parents[2] / "data" / "knative_failures"
NEVER = "never"
"""Stands for a revision of which nothing is ever heard."""
_BORN = "2026-11-01T12:00:00Z"
_START = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()


class Cluster:
    """Keep the objects of one namespace."""

    namespace = "ns"

    def __init__(self) -> None:
        self.things: dict[tuple[str, str], Object] = {}
        self.failures: dict[str, str] = {}
        """Image -> name of a recorded failure, or NEVER."""
        self.writes: list[tuple[str, str, Object]] = []
        """Verb, name, what was sent."""
        self.before_sight: Callable[[int], None] = lambda number: None
        """Called before each sight with its number, to do what others do meanwhile."""
        self._version = 100
        self._recorded: dict[str, float] = {}

    def service(self, name: str = "iris") -> Object:
        """Return a Service that is there."""
        return self.things["Service", name]

    def named(self, kind: str) -> list[str]:
        """Return the names of the objects of a kind."""
        return sorted(name for found, name in self.things if found == kind)

    # -- the door --

    def get(self, kind: Kind, name: str, *, namespace: str = "") -> Object | None:
        """Return an object."""
        return copy.deepcopy(self.things.get((kind.kind, name)))

    def list(self, kind: Kind, labels: str = "", *, fields: str = "", namespace: str = "") -> tuple[Object, ...]:
        """Return objects by kind; in this namespace is one function at a time, so that labels do not matter."""
        return tuple(
            copy.deepcopy(self.things[found, name]) for found, name in sorted(self.things) if found == kind.kind
        )

    def apply(self, thing: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Make an object so."""
        kind, metadata = kind_of(thing), thing["metadata"]
        key = (kind.kind, metadata["name"])
        live = self.things.get(key)
        wanted = metadata.get("resourceVersion")
        if live is not None and wanted not in (None, live["metadata"]["resourceVersion"]):
            raise Conflict(f"{metadata['name']} has been modified")
        if dry_run:
            return copy.deepcopy(thing)
        self.writes.append(("apply", metadata["name"], copy.deepcopy(thing)))
        return copy.deepcopy(self._store(key, thing, live))

    def patch(self, kind: Kind, name: str, change: Object) -> Object:
        """Merge annotations, the only change that is made this way."""
        self.writes.append(("patch", name, change))
        thing = self.things[kind.kind, name]
        thing["metadata"].setdefault("annotations", {}).update(change["metadata"]["annotations"])
        return copy.deepcopy(thing)

    def delete(self, kind: Kind, name: str, *, foreground: bool = True, uid: str = "") -> bool:
        """Delete an object and all that belongs to it."""
        self.writes.append(("delete", name, {}))
        if self.things.pop((kind.kind, name), None) is None:
            return False
        for key in [key for key in self.things if kind == KNATIVE_SERVICE or key[1].startswith(f"{name}-")]:
            del self.things[key]
        return True

    def create(self, thing: Object) -> Object:
        """Answer nothing that a deploy asks."""
        raise NotImplementedError

    def watch(self, *selections: Selection, timeout_s: float) -> Iterator[Sight]:
        """Yield everything of the kinds, a second after the other."""
        kinds = {each.kind.kind for each in selections}
        for number in range(max(1, int(timeout_s))):
            self.before_sight(number)
            self._reconcile(number)
            found = [copy.deepcopy(self.things[key]) for key in sorted(self.things) if key[0] in kinds]
            now = max([_START, *self._recorded.values()]) + number
            yield Sight(tuple(found), now=now, after_s=float(number))

    def logs(self, query: LogQuery) -> Iterator[str]:
        """Yield no line."""
        return iter(())

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return none: Knative's defaults hold."""
        return None

    def version(self) -> str:
        """Return a version."""
        return "v1.34.4"

    def may(self, verb: str, kind: Kind, *, namespace: str = "") -> bool:
        """Allow everything."""
        return True

    def port_forward(self, pod: str, port: int, *, namespace: str = "") -> Any:
        """Reach no pod: there is none that runs."""
        raise NotFound(pod)

    def raw(self, path: str) -> Any:
        """Serve nothing else."""
        raise NotFound(path)

    # -- what the API server and Knative do --

    def _store(self, key: tuple[str, str], thing: Object, live: Object | None) -> Object:
        self._version += 1
        stored = copy.deepcopy(thing)
        metadata = stored["metadata"]
        was: Object = (
            live["metadata"] if live else {"generation": 0, "uid": f"uid-{self._version}", "creationTimestamp": _BORN}
        )
        changed = live is None or live["spec"] != stored["spec"]
        metadata.update(
            namespace=self.namespace,
            resourceVersion=str(self._version),
            generation=was["generation"] + changed,
            uid=was["uid"],
            creationTimestamp=was["creationTimestamp"],
        )
        if live is not None:
            stored["status"] = copy.deepcopy(live.get("status", {}))
        self.things[key] = stored
        return stored

    def _reconcile(self, number: int) -> None:
        for kind, name in sorted(self.things):
            service = self.things[kind, name]
            if kind == "Service" and service["apiVersion"] == KNATIVE_SERVICE.api_version:
                self._step(service, number)

    def _step(self, service: Object, number: int) -> None:
        template, status = service["spec"]["template"], service.setdefault("status", {})
        name = template["metadata"]["name"]
        revision = self.things.get(("Revision", name))
        if revision is None:
            self._make_revision(service, name)
        elif number:
            self._run(service, revision)
        ready = _is_ready(self.things["Revision", name])
        if ready:
            status["latestReadyRevisionName"] = name
        status["latestCreatedRevisionName"] = name
        status["observedGeneration"] = service["metadata"]["generation"]
        status["url"] = f"http://{service['metadata']['name']}.ns.test"
        self._route(service)
        status["conditions"] = [{"type": "Ready", "status": "True" if ready and status.get("traffic") else "Unknown"}]
        self._version += 1
        service["metadata"]["resourceVersion"] = str(self._version)

    def _make_revision(self, service: Object, name: str) -> None:
        template = service["spec"]["template"]
        labels = {"serving.knative.dev/service": service["metadata"]["name"]}
        metadata = {**template["metadata"], "labels": labels, "uid": f"uid-{name}", "generation": 1}
        self.things["Revision", name] = {
            "apiVersion": KNATIVE_SERVICE.api_version,
            "kind": "Revision",
            "metadata": {**copy.deepcopy(metadata), "creationTimestamp": _BORN},
            "spec": copy.deepcopy(template["spec"]),
            "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "Unknown"}]},
        }

    def _run(self, service: Object, revision: Object) -> None:
        case = self.failures.get(revision["spec"]["containers"][0]["image"], "")
        name = revision["metadata"]["name"]
        if not case:
            revision["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        elif case != NEVER and name not in self._recorded:
            self._recorded[name] = self._replay(case, service["metadata"]["name"], revision)

    def _replay(self, case: str, function: str, revision: Object) -> float:
        """Put the objects of a recorded failure in place, and return the time of the newest among them."""
        document = json.loads(gzip.decompress((RECORDED / f"{case}.json.gz").read_bytes()))
        recorded = max(
            (each for each in document["snapshots"][0]["items"] if each["kind"] == "Revision"),
            key=lambda each: str(each["metadata"]["name"]),
        )
        was, name = recorded["metadata"]["name"], revision["metadata"]["name"]
        text = json.dumps(document["snapshots"][0]["items"]).replace(was, name)
        for item in json.loads(text):
            item["metadata"].get("labels", {}).pop("serving.knative.dev/serviceUID", None)
            if item["kind"] in ("Pod", "Event", "ReplicaSet", "Deployment") and name in item["metadata"]["name"]:
                self.things[item["kind"], item["metadata"]["name"]] = item
            elif item["kind"] == "Revision" and item["metadata"]["name"] == name:
                revision["status"] = {**item["status"], "observedGeneration": 1}
        return _START + 10**8

    def _route(self, service: Object) -> None:
        """Give the traffic to what is ready, as the Service asks; what is not all ready changes nothing."""
        status, shares = service["status"], []
        for each in service["spec"]["traffic"]:
            name = each.get("revisionName") or status.get("latestReadyRevisionName", "")
            if each.get("percent") and not _is_ready(self.things.get(("Revision", name), {})):
                return
            tag = {"tag": each["tag"], "url": f"http://{each['tag']}-iris.ns.test"} if each.get("tag") else {}
            shares.append({"revisionName": name, "percent": each.get("percent", 0), **tag})
        status["traffic"] = shares


def _is_ready(revision: Object) -> bool:
    conditions = revision.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
