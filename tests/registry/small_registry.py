"""A small registry of our own, for what Debian's cannot do: it keeps the bytes of an upload that was cut and says how
many, can refuse chunks, be busy, send readers to a storage service, and lists referrers itself.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

OCI_INDEX = "application/vnd.oci.image.index.v1+json"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: connections are cut here on purpose."""


class SmallRegistry:
    """Keep blobs and manifests in memory. Knobs say how it behaves; ``seen`` holds what it was asked."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.names = itertools.count()
        """Of uploads: never one that another upload had."""
        self.busy: list[tuple[int, dict[str, str]]] = []
        """Answers that the next requests get instead of their own."""
        self.largest_chunk: int | None = None
        """What a PATCH may carry; 0 = none at all."""
        self.stale_range = False
        """Whether the Range of an accepted chunk stays at the first one's."""
        self.redirect_blobs_to = ""
        self.referrers_api = False
        self.others: dict[str, bytes] = {}
        """What another writer puts under a tag as soon as somebody has written there, once."""
        self.lying_digest = ""
        """What it says that it has stored, whatever that is."""
        self.stalled: threading.Event | None = None
        """Set, a PUT is not read before the event."""
        self.lost_answers = 0
        """How many PATCHes to take and hang up on."""
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> SmallRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def asked(self, method: str) -> list[tuple[str, dict[str, str]]]:
        """Return path and headers of the requests of a method."""
        return [(path, headers) for seen, path, headers in self.seen if seen == method]


def _handler(registry: SmallRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._read(with_body=False)

        def do_GET(self) -> None:
            self._read(with_body=True)

        def _read(self, *, with_body: bool) -> None:
            if self._busy():
                return
            path = urlsplit(self.path).path
            kind, name = path.split("/")[-2:]
            if "/blobs/uploads/" in path and name in registry.uploads:
                self._send(204, self._upload(name))
            elif kind == "blobs" and name in registry.blobs and registry.redirect_blobs_to and with_body:
                self._send(307, {"location": f"{registry.redirect_blobs_to}{path}"})
            elif kind == "blobs" and name in registry.blobs:
                self._send(200, {}, registry.blobs[name], with_body)
            elif kind == "manifests" and name in registry.manifests:
                media_type, content = registry.manifests[name]
                headers = {"content-type": media_type, "docker-content-digest": _digest(content)}
                self._send(200, headers, content, with_body)
            elif kind == "referrers" and registry.referrers_api:
                self._send(200, {"content-type": OCI_INDEX}, self._referrers(name))
            else:
                self._send(200 if path == "/v2/" else 404)

        def do_POST(self) -> None:
            if not self._busy():
                name = str(next(registry.names))
                registry.uploads[name] = bytearray()
                self._send(202, self._upload(name))

        def do_PATCH(self) -> None:
            if self._busy():
                return
            name = urlsplit(self.path).path.rsplit("/", 1)[-1]
            upload = registry.uploads[name]
            start = int(self.headers["content-range"].partition("-")[0])
            length = int(self.headers["content-length"])
            if registry.largest_chunk is not None and length > registry.largest_chunk:
                self.rfile.read(length)
                self._send(416, {}, b'{"errors":[{"code":"SIZE","message":"the request body is too large"}]}')
                return
            if start != len(upload):
                self.rfile.read(length)
                self._send(416, self._upload(name))
                return
            while length and (block := self.rfile.read1(length)):
                upload += block
                length -= len(block)
            if length or registry.lost_answers:
                registry.lost_answers -= not length
                self.close_connection = True
                return
            self._send(202, self._upload(name) | ({"range": "0-99"} if registry.stale_range else {}))

        def do_PUT(self) -> None:
            if registry.stalled is not None:
                registry.seen.append(("PUT", self.path, {}))
                registry.stalled.wait(300)
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self._busy():
                return
            parts = urlsplit(self.path)
            kind, name = parts.path.split("/")[-2:]
            if kind == "manifests":
                subject = json.loads(body).get("subject", {}).get("digest")
                for key in (name, _digest(body)):
                    registry.manifests[key] = (self.headers["content-type"], body)
                if name in registry.others:
                    registry.manifests[name] = (OCI_INDEX, registry.others.pop(name))
                self._send(201, {"oci-subject": subject} if subject and registry.referrers_api else {})
                return
            content = bytes(registry.uploads.pop(name)) + body
            wanted = parse_qs(parts.query)["digest"][0]
            if _digest(content) != wanted:
                self._send(400, {}, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest did not match"}]}')
                return
            registry.blobs[wanted] = content
            self._send(201, {"docker-content-digest": registry.lying_digest or wanted})

        def _referrers(self, digest: str) -> bytes:
            found = []
            for name, (media_type, content) in registry.manifests.items():
                document = json.loads(content)
                if name == _digest(content) and document.get("subject", {}).get("digest") == digest:
                    entry = {"mediaType": media_type, "digest": name, "size": len(content)}
                    found.append({**entry, "artifactType": document["artifactType"]})
            return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}).encode()

        def _upload(self, name: str) -> dict[str, str]:
            end = max(len(registry.uploads[name]) - 1, 0)
            return {"location": f"/v2/upload-{len(registry.seen)}/blobs/uploads/{name}", "range": f"0-{end}"}

        def _busy(self) -> bool:
            registry.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            if not registry.busy or self.path == "/v2/":
                return False
            self.close_connection = True  # the body, if any, stays unread
            self._send(*registry.busy.pop(0))
            return True

        def _send(
            self, status: int, headers: dict[str, str] | None = None, body: bytes = b"", with_body: bool = True
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            if with_body and self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
