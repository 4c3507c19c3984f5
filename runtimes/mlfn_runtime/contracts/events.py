"""CloudEvents over HTTP, to and from values: binary and structured mode, JSON format.

Pure: headers and a body in, an ``Event`` out, and back. Knows nothing of models. Version 1.0 of the specification;
0.3 is read as well, because its attributes differ only in how binary data is marked. Batches and other formats are
refused with 415: an answer to half a batch has no form in HTTP.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import orjson

from mlfn_runtime.errors import RequestError

__all__ = ["PING", "STRUCTURED", "Event", "answer_attributes", "binary_headers", "read_event", "structured_body"]

PING = "dev.knative.sources.ping"
"""The type of the events that Knative's PingSource sends."""
STRUCTURED = b"application/cloudevents+json"
_RESPONSE = "dev.mlfn.inference.response"
_REQUIRED = ("specversion", "id", "source", "type")
_VERSIONS = ("1.0", "0.3")
_ENCODINGS = ("data_base64", "datacontentencoding")
_UNESCAPED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Event:
    """Hold one event: its attributes, and its data as JSON text (``data``) or already parsed (``document``)."""

    attributes: dict[str, str]
    structured: bool
    data: bytes | None = None
    document: Any = None

    @property
    def is_ping(self) -> bool:
        """Tell whether the event only keeps the instance warm."""
        return self.attributes["type"] == PING


def read_event(headers: Headers, body: bytes) -> Event:
    """Read one event, or refuse it: 415 for a mode or a format that isn't offered, 400 for a malformed event."""
    content_type = b""
    attributes: dict[str, str] = {}
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name.startswith(b"ce-"):
            attributes[name[3:].decode("latin-1")] = unquote(value.decode("latin-1"), errors="replace")
    media = content_type.partition(b";")[0].strip().lower()
    if media.startswith(b"application/cloudevents"):
        if media != STRUCTURED:
            got = media.decode("latin-1", "replace")
            raise RequestError(415, f"content-type: expected one event as application/cloudevents+json, got {got}")
        return _read_structured(body)
    if not attributes:
        raise RequestError(
            415, "expected a CloudEvent (ce- headers, or content-type application/cloudevents+json), got neither"
        )
    _require(attributes, "header ce-")
    if attributes["type"] != PING and not _is_json(media):
        got = media.decode("latin-1", "replace")
        raise RequestError(415, f"content-type: expected an event's data as application/json, got {got}")
    return Event(attributes, structured=False, data=body)


def _read_structured(body: bytes) -> Event:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"expected a CloudEvent as JSON, got something else: {error}") from None
    if not isinstance(document, dict):
        raise RequestError(400, "expected a CloudEvent as a JSON object, got another JSON value")
    encoding = document.get("datacontentencoding")
    attributes: dict[str, str] = {}
    for name, value in document.items():
        if name == "data" or name in _ENCODINGS or value is None:
            continue
        if not _is_attribute(value):
            raise RequestError(400, f'event attribute "{name[:64]}": expected text, a boolean or an integer of 32 bits')
        if name in _REQUIRED and not isinstance(value, str):
            raise RequestError(400, f'event attribute "{name}": expected a string, got {value!r}')
        attributes[name] = value if isinstance(value, str) else orjson.dumps(value).decode()
    _require(attributes, "event attribute ")
    if attributes["type"] == PING:
        return Event(attributes, structured=True)
    media = attributes.get("datacontenttype", "").partition(";")[0].strip().lower()
    if not _is_json(media.encode()):
        raise RequestError(415, f"event attribute datacontenttype: expected application/json, got {media[:64]}")
    if "data_base64" in document or encoding == "base64":
        return Event(attributes, structured=True, data=_from_base64(document.get("data_base64", document.get("data"))))
    if document.get("data") is None:
        raise RequestError(400, 'event: expected "data", got none')
    data = document["data"]
    if isinstance(data, str):  # SDKs that are given JSON text put it here as a string
        return Event(attributes, structured=True, data=data.encode())
    return Event(attributes, structured=True, document=data)


def _is_attribute(value: object) -> bool:
    """Tell whether a value is one of the specification's attribute types."""
    if isinstance(value, int | float):
        return -(2**31) <= value < 2**31 and value == int(value)
    return isinstance(value, str)


def _require(attributes: dict[str, str], where: str) -> None:
    missing = [f"{where}{name}" for name in _REQUIRED if not attributes.get(name)]
    if missing:
        raise RequestError(400, f"{', '.join(missing)}: expected a value, got none")
    if attributes["specversion"] not in _VERSIONS:
        got = attributes["specversion"][:64]
        raise RequestError(400, f"{where}specversion: expected {' or '.join(_VERSIONS)}, got {got}")


def _is_json(media: bytes) -> bool:
    return media in (b"", b"application/json", b"text/json") or media.endswith(b"+json")


def _from_base64(value: object) -> bytes:
    if not isinstance(value, str):
        raise RequestError(400, "event data: expected base64 text, got another JSON value")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(400, "event data: expected base64 text, got other characters") from None


def answer_attributes(event: Event, source: str) -> dict[str, str]:
    """Return the attributes of the answer to ``event``.

    The id follows from the event's own id and source: an event delivered twice is answered with the same id twice, and
    who reads the answers can drop the second.
    """
    import hashlib  # 1 ms of a start, needed by events only

    asked = event.attributes
    cause = orjson.dumps([asked["source"], asked["id"]])
    attributes = {
        "specversion": asked["specversion"],
        "id": hashlib.sha256(cause).hexdigest()[:32],
        "source": source,
        "type": _RESPONSE,
        "causationid": asked["id"],
        "datacontenttype": "application/json",
    }
    if "subject" in asked:
        attributes["subject"] = asked["subject"]
    return attributes


def binary_headers(attributes: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Return the answer's headers in binary mode; the content type is set elsewhere."""
    return [
        (f"ce-{name}".encode(), quote(value, safe=_UNESCAPED).encode())
        for name, value in attributes.items()
        if name != "datacontenttype"
    ]


def structured_body(attributes: dict[str, str], data: bytes) -> bytes:
    """Return the answer's body in structured mode; ``data`` is JSON text and is not parsed again."""
    return orjson.dumps(attributes)[:-1] + b',"data":' + data + b"}"
