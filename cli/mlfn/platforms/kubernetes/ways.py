"""The ways to a function behind a plain Service: its name inside the cluster, its addresses, a port-forward to a pod.

The user's ingress is none of them: what routes to a plain Service, and under which host, mlfn did not make.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.ways_in import Way, by_addresses_of, by_pods_of, by_url
from mlfn.platforms.kubernetes.status import address

__all__ = ["ways"]


def ways(door: ClusterDoor, name: str) -> Iterator[Way]:
    """Yield the ways to a function that is there."""
    url = address(name, door.namespace)
    host = urlsplit(url).netloc
    yield by_url(url)
    yield from by_addresses_of(door, door.namespace, name, host)
    yield from by_pods_of(door, door.namespace, name, host)
