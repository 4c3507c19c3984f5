"""``python -m mlfn_runtime.ping URL``: send one warm ping, from the image of the function itself.

A ping is the event that Knative's PingSource sends, so a function knows it whoever sends it. Standard library only, and
nothing of the server: a pod that pings once a minute should cost little. Exit code 0 when it was answered.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

__all__ = ["PING_TYPE", "TIMEOUT_S", "WARM_PATH", "ping", "ping_headers"]

WARM_PATH = "/"
"""Where a function takes events, and so pings."""
PING_TYPE = "dev.knative.sources.ping"
TIMEOUT_S = 60.0
"""A ping may find nothing and has to wait for a start."""


def ping_headers(source: str, number: str) -> dict[str, str]:
    """Return the head of a ping: a CloudEvent in binary mode without data, told apart by ``source`` and ``number``."""
    return {
        "Ce-Specversion": "1.0",
        "Ce-Type": PING_TYPE,
        "Ce-Source": source,
        "Ce-Id": number,
        "Content-Length": "0",
    }


def ping(url: str, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> int:
    """Send a ping and return the status of its answer. Raises OSError, HTTPException, ValueError (no such URL)."""
    target = urlsplit(url)
    if target.scheme not in ("http", "https") or not target.hostname:
        raise ValueError(f"expected http://HOST[:PORT]/[PATH], got {url!r}")
    kind = HTTPSConnection if target.scheme == "https" else HTTPConnection
    link = kind(target.hostname, target.port, timeout=timeout_s)
    try:
        link.request("POST", target.path or WARM_PATH, headers=dict(headers))
        answer = link.getresponse()
        answer.read()
        return answer.status
    finally:
        link.close()


def main(arguments: list[str]) -> int:
    """Ping once and say what came of it."""
    if len(arguments) != 1:
        print("mlfn: expected one URL: python -m mlfn_runtime.ping http://HOST/", file=sys.stderr)
        return 2
    import uuid

    url = arguments[0]
    try:
        status = ping(url, ping_headers("mlfn/ping", str(uuid.uuid4())))
    except ValueError as error:
        print(f"mlfn: {error}", file=sys.stderr)
        return 2
    except (OSError, HTTPException) as error:
        print(f"mlfn: {url} does not answer: {error}", file=sys.stderr)
        return 1
    print(f"{url} answered {status}")
    return 0 if status < 400 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
