"""A Kubernetes API in miniature: config maps of one namespace over real HTTP, and misbehaviour that tests ask for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = "/api/v1/namespaces/ns/configmaps"


@dataclass
class ApiServer:
    """Hold what the server knows and did; a changed object is announced to every watch."""

    port: int = 0
    objects: dict[str, Any] = field(default_factory=dict)
    version: int = 10
    requests: list[tuple[str, str, dict[str, list[str]], str, Any]] = field(default_factory=list)
    """Method, path, query, content type, body."""
    authorisations: list[str] = field(default_factory=list)
    """Who asked, request by request."""
    forbidden: set[str] = field(default_factory=set)
    """Plurals of what may not be listed."""
    log: list[str] = field(default_factory=list)
    lists: int = 0
    watches: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    _cut: int = 0

    def put(self, name: str, data: dict[str, str]) -> None:
        """Make or change a config map."""
        with self._changed:
            self.version += 1
            kind = "MODIFIED" if name in self.objects else "ADDED"
            metadata = {"name": name, "namespace": "ns", "resourceVersion": str(self.version)}
            self.objects[name] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            self._announce(kind, self.objects[name])

    def remove(self, name: str) -> None:
        """Delete a config map."""
        with self._changed:
            self.version += 1
            gone = self.objects.pop(name)
            gone["metadata"]["resourceVersion"] = str(self.version)
            self._announce("DELETED", gone)

    def forget(self) -> None:
        """Tell all watches that the past is gone, as etcd's compaction does."""
        with self._changed:
            self.version += 1
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            self._announce("ERROR", status)

    def cut(self) -> None:
        """End all streams in the middle."""
        with self._changed:
            self._cut += 1
            self._changed.notify_all()

    def until(self, watches: int) -> None:
        """Wait until that many watches have begun."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.watches >= watches, timeout=20)

    def _announce(self, kind: str, thing: dict[str, Any]) -> None:
        self._events.append((self.version, {"type": kind, "object": json.loads(json.dumps(thing))}))
        self._changed.notify_all()

    def follow(self, since: int) -> Iterator[dict[str, Any]]:
        """Yield what happens after a version, until the streams are cut."""
        with self._changed:
            self.watches += 1
            self._changed.notify_all()
            cut, at = self._cut, 0
        while True:
            with self._changed:
                while len(self._events) == at and self._cut == cut:
                    self._changed.wait(timeout=30)
                if self._cut > cut:
                    return
                fresh, at = self._events[at:], len(self._events)
            for version, event in fresh:
                if version > since:
                    yield event
                    if event["type"] == "ERROR":
                        return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, value: Any) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _status(self, code: int, reason: str, message: str, **details: str) -> None:
        told = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
        self._answer(code, {**told, "details": details})

    def handle_one(self) -> None:
        api: ApiServer = self.server.api
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        api.requests.append((self.command, parts.path, query, self.headers.get("Content-Type", ""), body))
        plural = parts.path.split("/")[5] if parts.path.count("/") >= 5 else ""
        api.authorisations.append(self.headers.get("Authorization", ""))
        if plural in api.forbidden:
            self._status(403, "Forbidden", f'{plural} is forbidden: User "kim" cannot list resource "{plural}"')
        elif parts.path == "/version":
            self._answer(200, {"gitVersion": "v1.34.4"})
        elif parts.path.endswith("/log"):
            self._answer(200, "\n".join(api.log).encode())
        elif not parts.path.startswith(ROOT):
            self._answer(404, b"404 page not found\n")
        elif "watch" in query:
            self._watch(int(query["resourceVersion"][0]))
        elif parts.path == ROOT:
            api.lists += 1
            items = [{k: v for k, v in each.items() if k in ("metadata", "data")} for each in api.objects.values()]
            self._answer(200, {"metadata": {"resourceVersion": str(api.version)}, "items": items})
        else:
            self._one(parts.path.rpartition("/")[2], body)

    def _one(self, name: str, body: Any) -> None:
        api: ApiServer = self.server.api
        there = api.objects.get(name)
        if self.command == "PATCH":
            wanted = body["metadata"].get("resourceVersion")
            if there and wanted and wanted != there["metadata"]["resourceVersion"]:
                self._status(409, "Conflict", f'configmaps "{name}": the object has been modified', name=name)
                return
            api.put(name, body["data"])
            self._answer(200, api.objects[name])
        elif there is None:
            self._status(404, "NotFound", f'configmaps "{name}" not found', name=name, kind="configmaps")
        elif self.command == "DELETE":
            api.remove(name)
            self._answer(200, {"kind": "Status", "status": "Success"})
        else:
            self._answer(200, there)

    def _watch(self, since: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in self.server.api.follow(since):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        # No last chunk: the stream breaks off.
        self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815  # the names that http.server looks for


@contextmanager
def serving() -> Iterator[ApiServer]:
    """Give a running server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    api = ApiServer(server.server_port)
    server.api = api  # type: ignore[attr-defined]  # how a handler reaches what it serves
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        api.cut()
        server.shutdown()
        thread.join()
        server.server_close()


def kubeconfig(folder: Path, server: str, *contexts: str) -> Path:
    """Write a kubeconfig file whose contexts all lead to ``server``, the first being the current one."""
    names = contexts or ("here",)
    path = folder / "kubeconfig"
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "kim", "user": {"token": "planted-token"}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "kim", "namespace": "ns"}} for name in names],
        "current-context": names[0],
    }
    path.write_text(json.dumps(value))
    return path
