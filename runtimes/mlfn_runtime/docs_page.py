"""The page at /docs: one file that needs no network, and the policy that keeps it so.

The policy allows exactly this page's own script and style, by their digests, and requests to this server alone: were
something from elsewhere ever to get into the page, a browser would refuse to load or run it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources

__all__ = ["CONTENT_TYPE", "page", "page_headers"]

CONTENT_TYPE = b"text/html; charset=utf-8"


@cache
def page() -> bytes:
    """Return the page, read at the first request: a start has no time for it."""
    return resources.files("mlfn_runtime").joinpath("docs.html").read_bytes()


@cache
def page_headers() -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that go with the page."""
    text = page().decode()
    script, style = (_digest(re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return (
        (b"content-type", CONTENT_TYPE),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )


def _digest(parts: list[str]) -> str:
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts)
