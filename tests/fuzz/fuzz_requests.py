"""Make hostile requests from a seed: the same seed gives the same bytes.

Two kinds. A *plain* request is well-formed HTTP with a hostile path, header or body: any correct HTTP server passes it
on, so two servers must answer it alike. A *raw* request is bytes that need not be HTTP at all.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

MODEL = "fuzzed"
INFER = f"/v2/models/{MODEL}/infer"
_JSON = ("content-type", "application/json")
_OFFER = (("connection", "upgrade"), ("upgrade", "h2c"))
Document = dict[str, Any]


@dataclass(frozen=True)
class Plain:
    """One well-formed request."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    chunks: tuple[int, ...] = ()

    def as_bytes(self) -> bytes:
        """Return the request as it goes over the wire: with Content-Length, or chunked where ``chunks`` says so."""
        head = [f"{self.method} {self.target} HTTP/1.1", "host: 127.0.0.1"]
        head += [f"{name}: {value}" for name, value in self.headers]
        if not self.chunks:
            if self.body or self.method in ("POST", "PUT", "PATCH"):
                head.append(f"content-length: {len(self.body)}")
            return "\r\n".join([*head, "", ""]).encode("latin-1") + self.body
        head.append("transfer-encoding: chunked")
        parts, position = ["\r\n".join([*head, "", ""]).encode("latin-1")], 0
        for size in (*self.chunks, len(self.body)):
            piece = self.body[position : position + size]
            if piece:
                parts.append(b"%x\r\n%s\r\n" % (len(piece), piece))
            position += size
        return b"".join([*parts, b"0\r\n\r\n"])


@dataclass(frozen=True)
class Raw:
    """Bytes for a connection of their own; then it is half-closed, closed or reset."""

    data: bytes
    ending: str  # "half-close" | "close" | "reset"


def valid_document(rng: random.Random) -> Document:
    """Return a request that the model answers, with anything from zero to five rows."""
    rows = rng.choice((0, 1, 1, 1, 2, 5))
    document: Document = {
        "inputs": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": [rows, 4],
                "data": [rng.uniform(-9, 9) for _ in range(rows * 4)],
            },
            {"name": "text", "datatype": "BYTES", "shape": [rows], "data": [_word(rng) for _ in range(rows)]},
            {"name": "token", "datatype": "INT64", "shape": [rows], "data": [rng.randrange(16) for _ in range(rows)]},
        ]
    }
    if rng.random() < 0.3:
        document["id"] = _word(rng)
    if rng.random() < 0.2:
        document["outputs"] = [
            {"name": name} for name in rng.sample(["doubled", "echo", "looked_up"], rng.randint(0, 3))
        ]
    if rng.random() < 0.1:
        document["parameters"] = {_word(rng): deepcopy(rng.choice(_ODD_VALUES))}
    return document


def _word(rng: random.Random) -> str:
    return rng.choice(
        ("", "a", "iris", "naïve", "☃", "\u0000", 'quo"te', "\\", "x" * 300, "\U0001f600", "\r\nset-cookie: a")
    )


_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    1.5,
    -0.0,
    1e39,
    1e308,
    5e-324,
    "",
    "0",
    "x",
    "FP32",
    "NaN",
    "☃" * 50,
    [],
    [[]],
    [[], [1]],
    [None],
    [1, "a"],
    [[1, 2], [3]],
    [True],
    {},
    {"a": 1},
    [[[[[[[[]]]]]]]],
    {"binary_data_size": 16},
    {"binary_data": True},
    {"binary_data_output": True},
    {"classification": 2},
    [-1],
    [0],
    [2**62, 2**62],
    [10**30, 0],
    [1, 4],
    [4, 1],
    [0, 4],
    [2**40, 4],
    [1.0, 4.0],
    ["1", "4"],
    [True, 4],
)


def mutate_document(rng: random.Random, document: Document) -> Any:
    """Return the document with one to three of its parts replaced, removed, repeated or nested."""
    holder: Document = {"": document}
    for _ in range(rng.randint(1, 3)):
        places = list(_places(holder))
        container, key = rng.choice(places)
        action = rng.random()
        if action < 0.55:
            container[key] = deepcopy(rng.choice(_ODD_VALUES))
        elif action < 0.7 and container is not holder:
            del container[key]
        elif action < 0.8 and isinstance(container, list):
            container.append(deepcopy(container[key]))
        elif action < 0.9 and type(container[key]) in (int, float) and abs(container[key]) < 1e30:
            container[key] = rng.choice((-container[key], container[key] + 1, container[key] * 1e30, 16, 17))
        else:
            container[key] = [container[key]]
        if not holder:
            break
    return holder.get("")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) inside ``value``."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        found.extend(_places(value[key]))
    return found


# -- plain requests ---------------------------------------------------------------------------------------------------


def _infer(rng: random.Random) -> Plain:
    target = rng.choice((INFER, INFER, INFER, f"/v2/models/{MODEL}/versions/1/infer", "/invocations"))
    headers = rng.choice(((),) * 8 + (_OFFER, (("expect", "100-continue"),)))
    return Plain("POST", target, (_JSON, *headers), json.dumps(valid_document(rng)).encode(), _chunks(rng))


def _hostile_json(rng: random.Random) -> Plain:
    body = json.dumps(mutate_document(rng, valid_document(rng))).encode()
    return Plain("POST", rng.choice((INFER, "/invocations")), (_JSON,), body, _chunks(rng))


def _broken_text(rng: random.Random) -> Plain:
    body = bytearray(json.dumps(valid_document(rng)).encode())
    _damage(rng, body)
    return Plain("POST", rng.choice((INFER, "/invocations", "/")), (_JSON,), bytes(body), _chunks(rng))


def _not_json(rng: random.Random) -> Plain:
    bodies: tuple[Callable[[], bytes], ...] = (
        lambda: b"",
        lambda: rng.randbytes(rng.randint(1, 200)),
        lambda: b"[" * rng.choice((10, 900, 1100, 50_000)),
        lambda: b'{"inputs":' * rng.choice((5, 900, 5000)),
        lambda: b'{"inputs":[' + b"[" * 1000 + b"]" * 1000 + b"]}",
        lambda: (
            b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":' + b"[" * 900 + b"1" + b"]" * 900 + b"}]}"
        ),
        lambda: (
            b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":['
            + b'{"a":' * 900
            + b"1"
            + b"}" * 900
            + b"]}]}"
        ),
        lambda: b'{"inputs":[{"name":' + b"[" * 900 + b"1" + b"]" * 900 + b"}]}",
        lambda: b'{"id":"\xff\xfe"}',
        lambda: b'{"id":"\\ud800","inputs":[]}',
        lambda: b'{"inputs":[],"inputs":[]}',
        lambda: b"NaN",
        lambda: b"1e999999",
        lambda: b'{"x":' + b"9" * 5000 + b"}",
        lambda: "\ufeff{}".encode(),
        lambda: json.dumps(valid_document(rng)).encode("utf-16"),
    )
    return Plain("POST", rng.choice((INFER, "/invocations", "/")), (_JSON,), rng.choice(bodies)())


def _deep(rng: random.Random) -> Plain:
    """Put lists nested almost as deep as the parser allows into one place of a request."""
    document = valid_document(rng)
    holder: Any = {"value": document} if rng.random() < 0.3 else document
    container, key = rng.choice([(document, "id"), (document, "parameters"), *_places(holder)])
    container[key] = rng.choice(("DEEP", ["DEEP"], {"a": "DEEP"}))
    depth = rng.choice((60, 240, 260, 600, 960, 1000, 1012))
    text = json.dumps(holder).replace('"DEEP"', "[" * depth + "]" * depth)
    return Plain(
        "POST", "/run" if holder is not document else rng.choice((INFER, "/invocations")), (_JSON,), text.encode()
    )


def _binary(rng: random.Random) -> Plain:
    """Send the binary tensor extension, right or with one of its numbers wrong."""
    document = valid_document(rng)
    tail = b""
    for tensor in document["inputs"]:
        data = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            raw = b"".join(struct.pack("<I", len(word.encode())) + word.encode() for word in data)
        else:
            raw = struct.pack(f"<{len(data)}{'f' if tensor['datatype'] == 'FP32' else 'q'}", *data)
        if rng.random() < 0.15:
            damaged = bytearray(raw)
            _damage(rng, damaged)
            raw = bytes(damaged)
        tensor["parameters"] = {
            "binary_data_size": len(raw) + (rng.choice((-1, 1, 4, 2**40)) if rng.random() < 0.1 else 0)
        }
        tail += raw
    if rng.random() < 0.5:
        document["parameters"] = {"binary_data_output": True}
    if rng.random() < 0.2:
        document = mutate_document(rng, document)
    text = json.dumps(document).encode()
    length = str(len(text))
    if rng.random() < 0.15:
        length = rng.choice(
            ("0", "-1", "1", str(len(text) + 1), str(len(text) + len(tail) + 1), "9" * 30, "1e3", "", "+5", "٣")
        )
        length = length.encode().decode("latin-1")
    headers = (("content-type", "application/octet-stream"), ("inference-header-content-length", length))
    return Plain("POST", rng.choice((INFER, "/invocations")), headers, text + tail, _chunks(rng))


def _event(rng: random.Random) -> Plain:
    data = valid_document(rng) if rng.random() < 0.6 else mutate_document(rng, valid_document(rng))
    attributes: Document = {"specversion": "1.0", "id": _header_word(rng), "source": "/fuzz", "type": "t"}
    if rng.random() < 0.15:
        attributes["type"] = "dev.knative.sources.ping"
    if rng.random() < 0.3:
        attributes.pop(rng.choice(list(attributes)))
    if rng.random() < 0.2:
        attributes[rng.choice(["specversion", "id", "source", "type", "subject"])] = rng.choice(
            ("", "2.0", "0.3", "%E2%98%83")
        )
    if rng.random() < 0.5:
        headers = [(f"ce-{name}", value) for name, value in attributes.items()]
        media = rng.choice(("application/json", "application/json; charset=utf-8", "text/plain", "application/x-json"))
        return Plain("POST", "/", (*headers, ("content-type", media)), json.dumps(data).encode(), _chunks(rng))
    event: Any = {**attributes, "data": data}
    if rng.random() < 0.2:
        event = mutate_document(rng, event)
    media = rng.choice(
        ("application/cloudevents+json",) * 5 + ("application/cloudevents-batch+json", "application/cloudevents+avro")
    )
    return Plain("POST", "/", (("content-type", media),), json.dumps(event).encode(), _chunks(rng))


def _activation(rng: random.Random) -> Plain:
    """Send what an OpenWhisk invoker does, mostly with something gone wrong; 404 where it is not offered."""
    value: Any = valid_document(rng)
    if rng.random() < 0.3:
        value = {"inputs": {tensor["name"]: tensor["data"] for tensor in value["inputs"]}}
    document: Any = {"value": value, "activation_id": "0" * 32, "namespace": "_", "deadline": "1795424001382"}
    if rng.random() < 0.6:
        document = mutate_document(rng, document)
    return Plain(
        "POST", rng.choice(("/run", "/run", "/run", "/init")), (_JSON,), json.dumps(document).encode(), _chunks(rng)
    )


def _header_word(rng: random.Random) -> str:
    return rng.choice(("1", "a b", "A-1", "%20", "x" * 200, "%zz", "\xe9"))


_PATHS = (
    "/",
    "//",
    "/v2",
    "/v2/",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models",
    f"/v2/models/{MODEL}",
    "/v2/models/other",
    f"/v2/models/{MODEL}/ready",
    f"/v2/models/{MODEL}/versions/1",
    f"/v2/models/{MODEL}/versions/2/infer",
    INFER,
    INFER + "/",
    "/ping",
    "/invocations",
    "/init",
    "/run",
    "/openapi.json",
    "/docs",
    "/docs/",
    "/..",
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e",
    "/%00",
    "/%zz",
    "/%",
    "/?",
    "/v2?x=1",
    "/docs?%00",
    "/" + "a" * 2000,
    "/v2/models/%66uzzed",
    "/v2/models/%E2%98%83/infer",
    "/;",
    "/@",
)
_METHODS = ("GET", "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")


def _route(rng: random.Random) -> Plain:
    headers: list[tuple[str, str]] = []
    for _ in range(rng.choice((0, 0, 1, 2, 30))):
        name = rng.choice(
            ("accept", "accept-encoding", "x-request-id", "traceparent", "cookie", "range", "x-" + "y" * 100)
        )
        headers.append(
            (name, rng.choice(("", "*/*", "gzip", "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "00-zz", "x" * 100)))
        )
    if rng.random() < 0.3:
        kinds = (
            "text/plain",
            "application/xml",
            "application/json;;",
            "",
            "multipart/form-data",
            "application/JSON",
            "x" * 300,
        )
        headers.append(("content-type", rng.choice(kinds)))
    body = json.dumps(valid_document(rng)).encode() if rng.random() < 0.3 else b""
    return Plain(rng.choice(_METHODS), rng.choice(_PATHS), tuple(headers), body)


def _chunks(rng: random.Random) -> tuple[int, ...]:
    return tuple(rng.randint(1, 60) for _ in range(rng.randint(1, 6))) if rng.random() < 0.1 else ()


_PLAIN = (
    *(_infer,) * 2,
    *(_hostile_json,) * 3,
    _broken_text,
    _not_json,
    _deep,
    *(_binary,) * 2,
    _event,
    _activation,
    _route,
)


def plain_request(rng: random.Random) -> Plain:
    """Return one well-formed request."""
    return rng.choice(_PLAIN)(rng)


# -- raw bytes --------------------------------------------------------------------------------------------------------

_BAD_HEADS = (
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x10\r\n\r\n0123456789abcdef",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\nexpect: something\r\ncontent-length: 3\r\n\r\nabc",
    b"GET /v2 HTTP/1.0\r\n\r\n",
    b"GET /v2 HTTP/0.9\r\n\r\n",
    b"GET /v2 HTTP/2.0\r\nhost: a\r\n\r\n",
    b"GET /v2\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://elsewhere/v2 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x00",
    b"GET /v2 HTTP/1.1\r\nhost: a\r\n folded: yes\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nhost : a\r\n\r\n",
    b"GET /v2 HTTP/1.1\nhost: a\n\n",
    b"GET /v2 HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\r\n" * 1000,
    b"",
)


def raw_request(rng: random.Random) -> Raw:
    """Return bytes that are random, a damaged or truncated request, or one of the classic malformed heads."""
    ending = rng.choice(("half-close", "half-close", "half-close", "close", "reset"))
    choice = rng.random()
    if choice < 0.1:
        return Raw(rng.randbytes(rng.randint(0, 400)), ending)
    if choice < 0.25:
        data = rng.choice(_BAD_HEADS)
        if rng.random() < 0.3:
            data += plain_request(rng).as_bytes()
        return Raw(data, ending)
    whole = b"".join(plain_request(rng).as_bytes() for _ in range(rng.choice((1, 1, 2, 4))))
    if choice < 0.5:
        return Raw(whole[: rng.randint(0, len(whole))], ending)
    damaged = bytearray(whole)
    head_only = rng.random() < 0.6
    _damage(rng, damaged, limit=200 if head_only else None)
    return Raw(bytes(damaged), ending)


def _damage(rng: random.Random, data: bytearray, limit: int | None = None) -> None:
    """Change, remove, insert or repeat a few bytes in place."""
    for _ in range(rng.randint(1, 4)):
        end = min(len(data), limit) if limit else len(data)
        if end == 0:
            return
        position = rng.randrange(end)
        action = rng.randrange(5)
        if action == 0:
            data[position] = rng.randrange(256)
        elif action == 1:
            del data[position : position + rng.randint(1, 20)]
        elif action == 2:
            data[position:position] = rng.randbytes(rng.randint(1, 8))
        elif action == 3:
            data[position:position] = data[position : position + rng.randint(1, 40)]
        else:
            data[position:position] = rng.choice(
                (b"\r\n", b"\r\n\r\n", b":", b" ", b"\x00", b"\t", b"0", b"9999999999", b",", b'"', b"]")
            )
