"""What a registry says when it wants to know who asks: the ``WWW-Authenticate`` header, and the scopes of tokens.

Pure text, no secrets, no IO.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Challenge", "merge_scopes", "parse_challenges", "repository_scope"]

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s|,|$)(?!\s*=)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """Hold one way to prove who asks."""

    scheme: str
    """Lowercase: ``basic`` or ``bearer``."""
    realm: str = ""
    """Of ``bearer``: address of the token server."""
    service: str = ""
    scope: str = ""
    error: str = ""


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read the challenges of all ``WWW-Authenticate`` headers; what is no challenge is passed over."""
    challenges: list[Challenge] = []
    for header in headers:
        position = 0
        while found := _SCHEME.match(header, position):
            position = found.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                quoted = parameter.group(2)
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else parameter.group(3)
                parameters[parameter.group(1).lower()] = value
                position = parameter.end()
            known = {name: parameters.get(name, "") for name in ("realm", "service", "scope", "error")}
            challenges.append(Challenge(found.group(1).lower(), **known))
    return tuple(challenges)


def repository_scope(repository: str, *actions: str) -> str:
    """Return the scope that a token needs for actions (``pull``, ``push``) on a repository."""
    return f"repository:{repository}:{','.join(actions)}"


def merge_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes with the actions on one thing put together, sorted: the key of a token that covers all."""
    actions: dict[str, set[str]] = {}
    for scope in scopes:
        thing, colon, wanted = scope.rpartition(":")
        if colon:
            actions.setdefault(thing, set()).update(wanted.split(","))
    return tuple(f"{thing}:{','.join(sorted(wanted))}" for thing, wanted in sorted(actions.items()))
