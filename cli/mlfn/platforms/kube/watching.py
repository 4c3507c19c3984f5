"""Watch objects of several kinds at once: list, follow, resume, list again where the past is gone.

One thread per kind reads a stream; the caller gets all of it together, as a generator that ends at its deadline. A
stream that breaks is resumed where it broke; only when it cannot be resumed for :data:`PATIENCE_S` the API server
counts as unreachable. Called by the door alone.
"""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlfn.errors import MlfnError, NotAuthorised
from mlfn.platforms.kube.kinds import Kind, Object
from mlfn.platforms.kube.refusals import refusal

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from mlfn.platforms.kube.link import Link

__all__ = ["PATIENCE_S", "Watched", "watch"]

PATIENCE_S = 20.0
"""How long a broken stream may take to come back: an API server that is restarted is away for some seconds."""
_TICK_S = 1.0
_STREAM_S = 240
"""The server ends a stream after this time; the reader, which hears nothing from a dead connection, 15 s later."""
_PAUSE_S = 0.25
_GONE = 410


@dataclass(frozen=True, slots=True)
class Watched:
    """Say where the objects of one kind are listed."""

    kind: Kind
    path: str
    query: Mapping[str, str]
    needed: bool


@dataclass(slots=True)
class _News:
    """What a reader found out: its objects as they are now, or that it had to give up."""

    source: int
    objects: dict[str, Object]
    error: MlfnError | None = None


def watch(
    link: Link, watched: Sequence[Watched], *, until: float, clock: Callable[[], float]
) -> Iterator[tuple[tuple[Object, ...], tuple[str, ...]]]:
    """Yield (objects, kinds that are denied): when all are known, after every change and once a second."""
    news: queue.SimpleQueue[_News] = queue.SimpleQueue()
    readers = [_Reader(link, each, number, news, clock) for number, each in enumerate(watched)]
    for reader in readers:
        reader.start()
    known: dict[int, dict[str, Object]] = {}
    denied: dict[int, str] = {}
    try:
        while (left := until - clock()) > 0:
            for each in _next(news, min(left, _TICK_S)):
                if each.error is not None:
                    if watched[each.source].needed or not isinstance(each.error, NotAuthorised):
                        raise each.error
                    denied[each.source] = watched[each.source].kind.resource
                known[each.source] = each.objects
            if len(known) == len(readers):
                everything = (known[source][key] for source in sorted(known) for key in sorted(known[source]))
                yield tuple(everything), tuple(denied[source] for source in sorted(denied))
    finally:
        for reader in readers:
            reader.stop()


def _next(news: queue.SimpleQueue[_News], wait_s: float) -> Iterator[_News]:
    """Yield what has arrived, waiting for the first; changes that come together are seen together."""
    try:
        yield news.get(timeout=wait_s)
        while True:
            yield news.get_nowait()
    except queue.Empty:
        return


class _Reader(threading.Thread):
    """Keep the objects of one kind up to date."""

    def __init__(
        self,
        link: Link,
        watched: Watched,
        source: int,
        news: queue.SimpleQueue[_News],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name=f"watch {watched.kind.resource}", daemon=True)
        self._link = link
        self._watched = watched
        self._source = source
        self._news = news
        self._clock = clock
        self._objects: dict[str, Object] = {}
        self._version = ""
        """Where to resume; "" = list first."""
        self._stopped = threading.Event()
        self._response: BaseHTTPResponse | None = None

    def stop(self) -> None:
        """End the stream from another thread: a read that waits wakes when its socket is shut."""
        self._stopped.set()
        link = getattr(self._response, "connection", None)
        sock = getattr(link, "sock", None)
        if sock is not None:
            try:
                # Not the method of an SSLSocket, which forgets the TLS layer while the reader is in it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # closed meanwhile

    def run(self) -> None:
        """List and follow until stopped; hand an error over when the server refuses or stays away."""
        from urllib3.exceptions import HTTPError

        broken_since: float | None = None
        while not self._stopped.is_set():
            try:
                if not self._version:
                    self._list()
                self._follow()
                broken_since = None
            except MlfnError as error:
                if error.kind != "unreachable" or not self._version:
                    self._tell(error)
                    return
                failure = error
            except (HTTPError, ssl.SSLError, OSError) as error:
                failure = self._link.unreachable(error, f"watch {self._watched.kind.resource}")
            else:
                continue
            broken_since = broken_since or self._clock()
            if self._clock() - broken_since > PATIENCE_S:
                self._tell(failure)
                return
            self._stopped.wait(_PAUSE_S)

    def _list(self) -> None:
        kind = self._watched.kind
        answer = self._link.json("GET", self._watched.path, kind.resource, query=self._watched.query)
        typed = ({"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in answer["items"])
        self._objects = {_key(item): item for item in typed}
        self._version = answer["metadata"]["resourceVersion"]
        self._tell(None)

    def _follow(self) -> None:
        query = {
            **self._watched.query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(_STREAM_S),
        }
        response = self._response = self._link.stream(self._watched.path, query, read_s=_STREAM_S + 15.0)
        try:
            # Whoever stops sets the mark first and looks for the stream then: one of the two is seen.
            if self._stopped.is_set():
                return
            if response.status == _GONE:
                self._version = ""
            elif response.status >= 400:
                text = response.data.decode(errors="replace")
                raise refusal(response.status, text, "watch", self._watched.kind.resource)
            else:
                self._read(response)
        finally:
            response.close()

    def _read(self, response: BaseHTTPResponse) -> None:
        rest = b""
        for part in response.stream(amt=None, decode_content=True):
            *lines, rest = (rest + part).split(b"\n")
            if self._stopped.is_set() or not self._take([json.loads(line) for line in lines if line.strip()]):
                return

    def _take(self, events: Sequence[Mapping[str, Any]]) -> bool:
        """Take what happened; False when the stream tells that the past is gone."""
        changed = False
        for event in events:
            kind, thing = event["type"], event["object"]
            if kind == "ERROR":
                if thing.get("code") != _GONE:
                    raise refusal(thing.get("code", 500), json.dumps(thing), "watch", self._watched.kind.resource)
                self._version = ""
                return False
            self._version = thing["metadata"]["resourceVersion"]
            if kind == "DELETED":
                self._objects.pop(_key(thing), None)
            elif kind != "BOOKMARK":
                self._objects[_key(thing)] = thing
            changed = changed or kind != "BOOKMARK"
        if changed:
            self._tell(None)
        return True

    def _tell(self, error: MlfnError | None) -> None:
        self._news.put(_News(self._source, dict(self._objects), error))


def _key(thing: Object) -> str:
    return str(thing["metadata"]["name"])
