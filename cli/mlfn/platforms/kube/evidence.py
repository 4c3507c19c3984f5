"""Diagnose what is seen of a function, with the words of its instances where the objects are silent.

An instance that runs and is not ready says why in its log alone: the last lines of such are read, at most once in
:data:`_PACE_S`. By how much an instance is too large for any node, the nodes tell, which are read once if need be. What
may not be read is done without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlfn.errors import MlfnError
from mlfn.function import Finding
from mlfn.platforms.kube.diagnosis import diagnose
from mlfn.platforms.kube.door import ClusterDoor, LogQuery, Sight
from mlfn.platforms.kube.instances import is_ready_pod
from mlfn.platforms.kube.kinds import NODE, POD, Object
from mlfn.platforms.kube.labels import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Evidence"]

_PACE_S = 2.0
_LINES = 40
_OF_NODES = frozenset(("unschedulable", "no-gpu"))


class Evidence:
    """Diagnose one revision after the other glance at it."""

    def __init__(self, door: ClusterDoor, selected: Callable[[Object, str], bool]) -> None:
        """``selected`` says whether a pod is one of a revision."""
        self._door = door
        self._selected = selected
        self._logs: dict[str, str] = {}
        self._read_at = -_PACE_S
        self._nodes: tuple[Object, ...] | None = None

    def __call__(self, sight: Sight, revision: str) -> tuple[bool, tuple[Finding, ...]]:
        """Return whether waiting for a revision is in vain, and what is wrong with it, the cause first."""
        silent = [pod for pod in sight.objects if pod["kind"] == POD.kind and self._selected(pod, revision)]
        if sight.after_s - self._read_at >= _PACE_S or sight.after_s < self._read_at:
            self._read_at = sight.after_s
            self._logs = dict(self._last_words(silent))
        seen = (*sight.objects, *(self._nodes or ()))
        told = diagnose(seen, revision=revision, logs=self._logs, now=sight.now)
        if self._nodes is None and any(each.what in _OF_NODES for each in told.findings):
            self._nodes = self._read_nodes()
            return self(sight, revision)
        return told.conclusive and bool(told.findings), told.findings

    def _read_nodes(self) -> tuple[Object, ...]:
        try:
            return self._door.list(NODE)
        except MlfnError:
            return ()  # nodes are nobody's namespace: most users may not read them

    def _last_words(self, pods: list[Object]) -> Iterator[tuple[str, str]]:
        for pod in pods:
            if not _runs_unready(pod):
                continue
            name = pod["metadata"]["name"]
            try:
                yield name, "\n".join(self._door.logs(LogQuery(name, CONTAINER, tail=_LINES)))
            except MlfnError:
                continue  # gone meanwhile, or not to be read by this user


def _runs_unready(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    runs = any(each["name"] == CONTAINER and "running" in each.get("state", {}) for each in statuses)
    return runs and not is_ready_pod(pod)
