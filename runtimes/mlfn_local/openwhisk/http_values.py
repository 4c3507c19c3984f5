"""One request and one response of the API, free of any transport."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

__all__ = ["Request", "Response", "json_response", "text_response"]

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` is percent-decoded, ``query`` as it came; header names are lower case."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """Return a header's value, or nothing."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def fields(self) -> dict[str, str]:
        """Return the parameters of the query; the last of equal names counts."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a parameter that is true or false."""
        return self.fields.get(name, str(default)).lower() == "true"


@dataclass(frozen=True, slots=True)
class Response:
    """``content_type`` empty: no body, and none is announced."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Headers = ()


def json_response(status: int, value: Any, headers: Headers = ()) -> Response:
    """Return a response with a JSON body."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    return Response(status, body, "application/json", headers)


def text_response(status: int, text: str, headers: Headers = ()) -> Response:
    """Return a response with a text body."""
    return Response(status, text.encode(), "text/plain; charset=UTF-8", headers)
