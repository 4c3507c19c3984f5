"""Proving to a registry who asks: Basic, or bearer tokens that are fetched, kept and renewed before they expire.

One ``Login`` speaks for one registry. It looks for credentials only when the registry asks for them, and keeps tokens
by their scopes, so that parallel uploads share one. Secrets go into headers and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from mlfn.errors import NotAuthorised, Unreachable
from mlfn.images.challenges import Challenge, merge_scopes, parse_challenges
from mlfn.images.credentials import Credentials, Found
from mlfn.images.proxies import is_loopback
from mlfn.images.refusals import Asking, not_authorised, said
from mlfn.images.retries import Retrying
from mlfn.images.wire import Reply, Wire, origin_of, read_reply

__all__ = ["Login"]

DEFAULT_LIFE_S = 60.0
"""Life of a token that names none (the token protocol's own default)."""
EARLY_SHARE = 0.1
"""Part of its life before the end of which a token is renewed."""


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    expires_at: float
    """Of the monotonic clock."""


class Login:
    """Answer a registry's challenges. For use by several threads at once."""

    def __init__(self, registry: str, wire: Wire, retrying: Retrying, find: Callable[[str], Found]) -> None:
        """``find`` looks up the credentials for one repository of the registry."""
        self._registry = registry
        self._wire = wire
        self._retrying = retrying
        self._find = find
        self._found: dict[str, Found] = {}
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._lock = threading.RLock()

    def headers(self, scopes: Sequence[str]) -> dict[str, str]:
        """Return the ``Authorization`` header for a request, or none before the registry has asked for one."""
        with self._lock:
            if self._challenge is None:
                return {}
            value = self._value(self._challenge, merge_scopes(scopes))
            return {"authorization": value} if value else {}

    def renew(self, challenges: Sequence[str], scopes: Sequence[str], used: str) -> bool:
        """Take the challenge of a 401; tell whether the request is worth a second try with new headers.

        ``used`` is the ``Authorization`` that was refused.
        """
        offered = {challenge.scheme: challenge for challenge in parse_challenges(challenges)}
        challenge = offered.get("bearer") or offered.get("basic")
        if challenge is None:
            return False
        with self._lock:
            self._challenge = challenge
            wanted = merge_scopes(scopes)
            token = self._tokens.get(wanted)
            if token is not None and used == f"Bearer {token.value}":
                del self._tokens[wanted]  # expired early, or revoked; another thread may have renewed it already
            value = self._value(challenge, wanted)
            return bool(value) and value != used

    def asked_as(self, scopes: Sequence[str]) -> str:
        """Say who asks, without secrets."""
        return self._credentials_for(scopes).asked_as

    def _value(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
        credentials = self._credentials_for(scopes).credentials
        if credentials is not None and credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        if challenge.scheme == "basic":
            return credentials.basic if credentials is not None and credentials.password else ""
        token = self._tokens.get(scopes)
        if token is None or time.monotonic() >= token.expires_at:
            token = self._tokens[scopes] = self._fetch(challenge, scopes, credentials)
        return f"Bearer {token.value}"

    def _credentials_for(self, scopes: Sequence[str]) -> Found:
        repository = next((scope.split(":")[1] for scope in scopes if scope.startswith("repository:")), "")
        with self._lock:
            if repository not in self._found:
                self._found[repository] = self._find(repository)
            return self._found[repository]

    def _fetch(self, challenge: Challenge, scopes: tuple[str, ...], credentials: Credentials | None) -> _Token:
        self._check_realm(challenge)
        scopes = merge_scopes((*scopes, *challenge.scope.split()))
        reply = self._retrying.reply(lambda: self._ask(challenge, scopes, credentials))
        asking = Asking(self._registry, "in: its token server says no", self.asked_as(scopes))
        if reply.status in {400, 401, 403}:
            raise not_authorised(reply, asking)
        if reply.status != 200:
            raise Unreachable(f"token server {origin_of(challenge.realm)} of {self._registry}: {said(reply)[1]}")
        return _token(reply, challenge)

    def _ask(self, challenge: Challenge, scopes: tuple[str, ...], credentials: Credentials | None) -> Reply:
        service = [("service", challenge.service)] if challenge.service else []
        if credentials is not None and credentials.identity_token:
            form = [
                *service,
                ("grant_type", "refresh_token"),
                ("client_id", "mlfn"),
                ("scope", " ".join(scopes)),
                ("refresh_token", credentials.identity_token),
            ]
            headers = {"content-type": "application/x-www-form-urlencoded"}
            return read_reply(self._wire, self._wire.send("POST", challenge.realm, headers, urlencode(form).encode()))
        query = [*service, *(("scope", scope) for scope in scopes)]
        headers = {}
        if credentials is not None:
            query.append(("account", credentials.username))
            headers["authorization"] = credentials.basic
        joint = "&" if urlsplit(challenge.realm).query else "?"
        return read_reply(self._wire, self._wire.send("GET", challenge.realm + joint + urlencode(query), headers))

    def _check_realm(self, challenge: Challenge) -> None:
        """Refuse to send a password in the clear because a registry says so."""
        realm = urlsplit(challenge.realm)
        registry_host = urlsplit(f"//{self._registry}").hostname or ""
        plain_is_fine = is_loopback(realm.hostname or "") or realm.hostname == registry_host
        if realm.scheme != "https" and not (realm.scheme == "http" and plain_is_fine):
            raise NotAuthorised(
                f"registry {self._registry} wants the login at {origin_of(challenge.realm)}, which is not encrypted",
                hints=("give the registry's token server an https:// address",),
            )


def _token(reply: Reply, challenge: Challenge) -> _Token:
    value, life_s = "", DEFAULT_LIFE_S
    # The error is raised outside, so that nothing chained to it carries the answer, which may hold a secret.
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        document: Mapping[str, Any] = json.loads(reply.body)
        value = str(document.get("token") or document.get("access_token") or "")
        life_s = float(document.get("expires_in") or DEFAULT_LIFE_S)
    if not value:
        raise Unreachable(f"token server {origin_of(challenge.realm)} answers without a token")
    return _Token(value, time.monotonic() + life_s * (1 - EARLY_SHARE))
