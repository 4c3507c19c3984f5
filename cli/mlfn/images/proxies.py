"""Which proxy leads to an address: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.

Read as container tools read them, so that one setting serves all: this machine itself is never asked through a proxy,
and ``NO_PROXY`` takes names, ``.domains``, addresses, networks (``10.0.0.0/8``) and ports. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["is_loopback", "proxy_for"]


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine itself."""
    bare = host.strip("[]").lower().rstrip(".")
    try:
        return bare == "localhost" or ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the address of the proxy that leads to ``url``, or None for a direct way."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if is_loopback(host) or _excepted(host, parts.port or (443 if parts.scheme == "https" else 80), environ):
        return None
    proxy = _variable(environ, f"{parts.scheme}_proxy") or _variable(environ, "all_proxy")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _excepted(host: str, port: int, environ: Mapping[str, str]) -> bool:
    rules = (rule.strip().lower() for rule in _variable(environ, "no_proxy").split(","))
    return any(_matches(rule, host, port) for rule in rules if rule)


def _matches(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        pass
    name, colon, wanted = rule.rpartition(":")
    if colon and wanted.isdigit():
        if int(wanted) != port:
            return False
        rule = name
    bare = rule.strip("[]").removeprefix("*").lstrip(".")
    return host.endswith("." + bare) or (host == bare and not rule.startswith((".", "*.")))
