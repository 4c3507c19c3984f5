"""What the instances of a function write: the last lines of every pod, then new ones from all of them as they come.

Pods that start while it follows join in, and a container that starts again is followed again. Reads the container of
the function alone, by the name that mlfn gives it. Called by the platforms on a Kubernetes API.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from mlfn.errors import Conflict, InvalidInput, MlfnError, NotFound
from mlfn.function import LogLine
from mlfn.platforms.kube.door import ClusterDoor, LogQuery, Selection
from mlfn.platforms.kube.kinds import POD, Object
from mlfn.platforms.kube.labels import CONTAINER

__all__ = ["function_logs"]

_FOREVER_S = 10.0**9
_NOT_YET = (Conflict, InvalidInput, NotFound)
"""What an API server says of a container that has not started, or of a pod that has just gone."""


def function_logs(door: ClusterDoor, labels: str, *, follow: bool, tail: int) -> Iterator[LogLine]:
    """Yield the last ``tail`` lines of each pod that ``labels`` selects (-1 = all), then new ones with ``follow``."""
    if follow:
        yield from _Followed(door, labels, tail).lines()
        return
    for pod in sorted(door.list(POD, labels), key=_started):
        name = pod["metadata"]["name"]
        try:
            for text in door.logs(LogQuery(name, CONTAINER, tail=tail)):
                yield LogLine(name, text)
        except _NOT_YET:
            continue


class _Followed:
    """Follow every pod in a thread of its own; one more thread watches for new pods."""

    def __init__(self, door: ClusterDoor, labels: str, tail: int) -> None:
        self._door = door
        self._labels = labels
        self._tail = tail
        self._lines: queue.Queue[LogLine | MlfnError] = queue.Queue(maxsize=10_000)
        self._over = threading.Event()

    def lines(self) -> Iterator[LogLine]:
        """Yield lines until the caller stops; the threads end with the process, or with their next line."""
        threading.Thread(target=self._watch, name="watch pods", daemon=True).start()
        try:
            while True:
                line = self._lines.get()
                if isinstance(line, MlfnError):
                    raise line
                yield line
        finally:
            self._over.set()

    def _watch(self) -> None:
        """Start a reader for every run of a container, once it can be read."""
        begun: dict[str, int] = {}
        first = True
        try:
            for sight in self._door.watch(Selection(POD, self._labels), timeout_s=_FOREVER_S):
                if self._over.is_set():
                    return
                for pod in sight.objects:
                    name, run = pod["metadata"]["name"], _run(pod)
                    if run is not None and begun.get(name) != run:
                        # All that a pod has written is new when it joins later.
                        tail = self._tail if first and name not in begun else -1
                        begun[name] = run
                        threading.Thread(target=self._read, args=(name, tail), name=f"log {name}", daemon=True).start()
                first = False
        except MlfnError as error:
            self._lines.put(error)

    def _read(self, pod: str, tail: int) -> None:
        try:
            for text in self._door.logs(LogQuery(pod, CONTAINER, follow=True, tail=tail)):
                if self._over.is_set():
                    return
                self._lines.put(LogLine(pod, text))
        except _NOT_YET:
            return
        except MlfnError as error:
            self._lines.put(error)


def _run(pod: Object) -> int | None:
    """Return which run of the function's container can be read; None before the first."""
    for status in pod.get("status", {}).get("containerStatuses", ()):
        if status["name"] == CONTAINER and "waiting" not in status.get("state", {}):
            return int(status.get("restartCount", 0))
    return None


def _started(pod: Object) -> str:
    return f"{pod['metadata']['creationTimestamp']} {pod['metadata']['name']}"
