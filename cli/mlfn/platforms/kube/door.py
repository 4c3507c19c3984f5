"""The door to a cluster: what mlfn asks of a Kubernetes API, and :class:`Cluster`, which asks a real one.

Platforms and tests know :class:`ClusterDoor` alone. Objects are plain dictionaries; every failure is an
:class:`mlfn.errors.MlfnError`; nothing is polled: change is watched. Knows nothing of functions or Knative.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mlfn.platforms.kube.kinds import CONFIG_MAP, POD, Kind, Object, kind_of
from mlfn.platforms.kube.labels import FIELD_MANAGER

if TYPE_CHECKING:
    from mlfn.platforms.kube.link import Link
    from mlfn.platforms.kube.port_forward import ForwardedSocket

__all__ = ["Cluster", "ClusterDoor", "LogQuery", "Selection", "Sight", "connect"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Select the objects of one kind to watch."""

    kind: Kind
    labels: str = ""
    """A label selector."""
    fields: str = ""
    """A field selector, such as ``metadata.name=iris``."""
    needed: bool = True
    """Without the right to watch it: fail. Else go on without, and say so in :attr:`Sight.denied`."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Show everything that was selected as it is at one moment."""

    objects: tuple[Object, ...]
    now: float
    """Unix time, to compare with time stamps in the objects."""
    after_s: float
    """Seconds since the watch began."""
    denied: tuple[str, ...] = ()
    """What could not be watched for lack of rights, as a Role names it (``events``)."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Say which lines of which container to read."""

    pod: str
    container: str
    follow: bool = False
    tail: int = -1
    """The last lines to begin with; -1 = all."""
    previous: bool = False
    """Of the run before the last restart."""


class ClusterDoor(Protocol):
    """Read and change objects of one namespace. Every method raises MlfnError and nothing else."""

    @property
    def namespace(self) -> str:
        """Return the namespace where objects without one of their own are."""

    def get(self, kind: Kind, name: str, *, namespace: str = "") -> Object | None:
        """Return an object, None when there is none of that name. Raises NotFound where the *kind* is unknown."""

    def list(self, kind: Kind, labels: str = "", *, fields: str = "", namespace: str = "") -> tuple[Object, ...]:
        """Return the objects that match, sorted by name. Raises NotFound where the kind is unknown."""

    def apply(self, thing: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Make an object so (server-side apply) and return it as stored.

        Raises Conflict: someone else owns one of the fields (unless ``force``), or ``metadata.resourceVersion`` is
        given and not the current one.
        """

    def patch(self, kind: Kind, name: str, change: Object) -> Object:
        """Merge ``change`` into an object (None removes); with ``metadata.resourceVersion``: only if still current."""

    def delete(self, kind: Kind, name: str, *, foreground: bool = True, uid: str = "") -> bool:
        """Delete an object and what it owns; with ``uid``: only that very object. False when there was none."""

    def create(self, thing: Object) -> Object:
        """Create an object that must not exist yet, or a review, and return the answer."""

    def watch(self, *selections: Selection, timeout_s: float) -> Iterator[Sight]:
        """Yield what is selected: at once, then after every change, and once a second; end after ``timeout_s``."""

    def logs(self, query: LogQuery) -> Iterator[str]:
        """Yield lines of a container. Raises NotFound (no such pod or container), Conflict (it has not started)."""

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return the data of a ConfigMap, None when there is none. Raises NotAuthorised."""

    def version(self) -> str:
        """Return the server's version, such as ``v1.34.4``."""

    def may(self, verb: str, kind: Kind, *, namespace: str = "") -> bool:
        """Say whether the user may do ``verb`` with objects of a kind."""

    def port_forward(self, pod: str, port: int, *, namespace: str = "") -> ForwardedSocket:
        """Return a connected socket to a port of a pod. Raises Unreachable, NotAuthorised, NotFound."""

    def raw(self, path: str) -> Any:
        """Return the JSON of ``GET path``, such as ``/apis/serving.knative.dev/v1``. Raises NotFound."""


class Cluster:
    """Ask a real cluster, reached as kubectl would reach it."""

    def __init__(self, link: Link, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._namespace = namespace
        self._clock = clock

    @property
    def namespace(self) -> str:
        """Return the namespace of the settings, else of the context, else ``default``."""
        return self._namespace or self._link.namespace

    @property
    def context(self) -> str:
        """Return the context in use, "" inside a cluster."""
        return self._link.context

    @property
    def server(self) -> str:
        """Return the address of the API server."""
        return self._link.server

    def get(self, kind: Kind, name: str, *, namespace: str = "") -> Object | None:
        """Return an object, None when there is none of that name."""
        found: Object | None = self._link.find(self._path(kind, name, namespace), _what(kind, name))
        return found

    def list(self, kind: Kind, labels: str = "", *, fields: str = "", namespace: str = "") -> tuple[Object, ...]:
        """Return the objects that match, sorted by name."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        answer = self._link.json("GET", self._path(kind, "", namespace), _what(kind), query=query)
        found = [_typed(kind, item) for item in answer["items"]]
        return tuple(sorted(found, key=lambda thing: str(thing["metadata"]["name"])))

    def apply(self, thing: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Make an object so (server-side apply) and return it as stored."""
        kind, metadata = kind_of(thing), thing["metadata"]
        name = metadata["name"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "", "dryRun": "All" if dry_run else ""}
        stored: Object = self._link.json(
            "PATCH",
            self._path(kind, name, metadata.get("namespace", "")),
            _what(kind, name),
            query=query,
            body=("application/apply-patch+yaml", thing),
        )
        return stored

    def patch(self, kind: Kind, name: str, change: Object) -> Object:
        """Merge ``change`` into an object; with ``metadata.resourceVersion``: only if still current."""
        changed: Object = self._link.json(
            "PATCH",
            self._path(kind, name, ""),
            _what(kind, name),
            query={"fieldManager": FIELD_MANAGER},
            body=("application/merge-patch+json", change),
        )
        return changed

    def delete(self, kind: Kind, name: str, *, foreground: bool = True, uid: str = "") -> bool:
        """Delete an object and what it owns. False when there was none."""
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if foreground else "Background",
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        path = self._path(kind, name, "")
        return self._link.delete(path, _what(kind, name), options)

    def create(self, thing: Object) -> Object:
        """Create an object that must not exist yet, or a review, and return the answer."""
        kind, metadata = kind_of(thing), thing.get("metadata", {})
        created: Object = self._link.json(
            "POST",
            self._path(kind, "", metadata.get("namespace", "")),
            _what(kind, metadata.get("name", "")),
            query={"fieldManager": FIELD_MANAGER},
            body=("application/json", thing),
        )
        return created

    def watch(self, *selections: Selection, timeout_s: float) -> Iterator[Sight]:
        """Yield what is selected: at once, then after every change, and once a second; end after ``timeout_s``."""
        from mlfn.platforms.kube.watching import Watched, watch

        watched = [
            Watched(
                kind=each.kind,
                path=self._path(each.kind, "", ""),
                query={"labelSelector": each.labels, "fieldSelector": each.fields},
                needed=each.needed,
            )
            for each in selections
        ]
        started, until = self._clock(), self._clock() + timeout_s
        for objects, denied in watch(self._link, watched, until=until, clock=self._clock):
            yield Sight(objects, now=time.time(), after_s=self._clock() - started, denied=denied)

    def logs(self, query: LogQuery) -> Iterator[str]:
        """Yield lines of a container."""
        asked = {
            "container": query.container,
            "follow": "true" if query.follow else "",
            "previous": "true" if query.previous else "",
            "tailLines": str(query.tail) if query.tail >= 0 else "",
        }
        path = f"{self._path(POD, query.pod, '')}/log"
        return self._link.lines(path, f"the log of {_what(POD, query.pod)}", query=asked, follow=query.follow)

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return the data of a ConfigMap, None when there is none."""
        found = self.get(CONFIG_MAP, name, namespace=namespace)
        return None if found is None else found.get("data") or {}

    def version(self) -> str:
        """Return the server's version, such as ``v1.34.4``."""
        return str(self.raw("/version")["gitVersion"])

    def may(self, verb: str, kind: Kind, *, namespace: str = "") -> bool:
        """Say whether the user may do ``verb`` with objects of a kind."""
        asked: Object = {"verb": verb, "resource": kind.plural, "group": kind.group}
        if kind.namespaced:
            asked["namespace"] = namespace or self.namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._link.json("POST", path, "an access review", body=("application/json", review))
        return bool(answer["status"]["allowed"])

    def port_forward(self, pod: str, port: int, *, namespace: str = "") -> ForwardedSocket:
        """Return a connected socket to a port of a pod."""
        return self._link.port_forward(namespace or self.namespace, pod, port)

    def raw(self, path: str) -> Any:
        """Return the JSON of ``GET path``."""
        return self._link.json("GET", path, path)

    def _path(self, kind: Kind, name: str, namespace: str) -> str:
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
        place = f"/namespaces/{namespace or self.namespace}" if kind.namespaced else ""
        return f"{root}{place}/{kind.plural}" + (f"/{name}" if name else "")


def connect(settings: Mapping[str, str]) -> Cluster:
    """Make the door that the settings name (``cluster.namespace``, ``.context``, ``.kubeconfig``); does no IO."""
    from mlfn.platforms.kube.link import Link

    link = Link(settings.get("cluster.kubeconfig", ""), settings.get("cluster.context", ""))
    return Cluster(link, settings.get("cluster.namespace", ""))


def _what(kind: Kind, name: str = "") -> str:
    return f"{kind.resource}/{name}" if name else kind.resource


def _typed(kind: Kind, item: Object) -> Object:
    """Give an item of a list the type that the API leaves out there."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, **item}
