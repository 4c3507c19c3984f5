"""The ways to a function on Knative, from the nearest to the one that needs only the API server.

Its own address; the ingress that the user names, or that Knative says it is routed through; then port-forwards: to the
ingress's pods, to the activator, which starts an instance where there is none, to an instance that is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from mlfn.errors import NotAuthorised, NotFound
from mlfn.platforms.knative.revisions import REVISION_LABEL, serving
from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.instances import is_ready_pod
from mlfn.platforms.kube.kinds import KNATIVE_INGRESS, POD, Object
from mlfn.platforms.kube.ways_in import Way, by_addresses_of, by_ingress, by_pods_of, by_port_forward, by_url

__all__ = ["ways"]

_Found = TypeVar("_Found")

_SYSTEM = "knative-serving"
_ACTIVATOR = "app=activator"
_HTTP = 8012
"""Where the activator and queue-proxy take HTTP/1."""


def ways(door: ClusterDoor, service: Object, ingress: str) -> Iterator[Way]:
    """Yield the ways to a Knative Service that is there; ``ingress`` is the user's setting, "" for none."""
    url = service.get("status", {}).get("url") or ""
    host = urlsplit(url).netloc
    if url:
        yield by_url(url)
        # The ingress that one names is the public one, and knows nothing of functions within the cluster.
        if ingress and not _is_private(host):
            yield by_ingress(ingress, host)
        gateways = _seen(lambda: _gateways(door, service))
        for namespace, name in gateways:
            yield from by_addresses_of(door, namespace, name, host)
        for namespace, name in gateways:
            yield from by_pods_of(door, namespace, name, host)
    revision = serving(service)
    if revision is None:
        return
    headers = {
        "Knative-Serving-Namespace": service["metadata"]["namespace"],
        "Knative-Serving-Revision": revision,
    }
    for pods in (
        lambda: door.list(POD, _ACTIVATOR, namespace=_SYSTEM),
        lambda: door.list(POD, f"{REVISION_LABEL}={revision}"),
    ):
        pod = next(filter(is_ready_pod, _seen(pods)), None)
        if pod is not None:
            place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            yield by_port_forward(door, place, _HTTP, host or revision, headers)


def _gateways(door: ClusterDoor, service: Object) -> tuple[tuple[str, str], ...]:
    """Return the Services (namespace, name) that Knative says lead to the function."""
    ingress = door.get(KNATIVE_INGRESS, service["metadata"]["name"])
    if ingress is None:
        return ()
    host = urlsplit(service["status"]["url"]).hostname or ""
    side = "privateLoadBalancer" if _is_private(host) else "publicLoadBalancer"
    found = (ingress.get("status", {}).get(side) or {}).get("ingress") or ()
    names = [each["domainInternal"].split(".") for each in found if each.get("domainInternal")]
    return tuple((parts[1], parts[0]) for parts in names if len(parts) > 2)


def _is_private(host: str) -> bool:
    """Say whether a host name is one within the cluster alone."""
    return ".svc." in f"{host}."


def _seen(look: Callable[[], tuple[_Found, ...]]) -> tuple[_Found, ...]:
    """Return what is found, nothing where one may not look or there is no such kind."""
    try:
        return look()
    except (NotAuthorised, NotFound):
        return ()
