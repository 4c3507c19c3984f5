"""Read OpenWhisk's REST API, where `wsk` has only tables for people; with the same credential."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlfn.errors import MlfnError, NotAuthorised, Unreachable
from mlfn.function import Answer
from mlfn.platforms.openwhisk.access import Access

if TYPE_CHECKING:
    import httpx

__all__ = ["Api"]

_PAGE = 200
_TIMEOUT_S = 30.0


class Api:
    """The API of one host, as one user, in that user's own namespace."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def namespace(self) -> str:
        """Return the credential's own namespace."""
        found: list[str] = self._json(self._get("", root=True))
        return found[0] if found else "_"

    def action(self, name: str) -> dict[str, Any] | None:
        """Return an action's record without its code; None where there is none."""
        answer = self._get(f"actions/{quote(name)}?code=false")
        if answer.status_code == 404:
            return None
        found: dict[str, Any] = self._json(answer)
        return found

    def actions(self) -> list[dict[str, Any]]:
        """Return all actions of the namespace, as lists show them."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._json(self._get(f"actions?limit={_PAGE}&skip={len(found)}"))
            found += page
            if len(page) < _PAGE:
                return found

    def limits(self) -> dict[str, Any]:
        """Return the limits of the namespace; empty where the server tells none."""
        answer = self._get("limits")
        return {} if answer.status_code == 404 else self._json(answer)

    def activations(self, name: str, *, count: int, since_ms: int = 0) -> list[dict[str, Any]]:
        """Return the newest records of an action, with logs and results, newest first."""
        since = f"&since={since_ms}" if since_ms else ""
        found: list[dict[str, Any]] = self._json(
            self._get(f"activations?name={quote(name)}&docs=true&limit={count}{since}")
        )
        return found

    def invoke(self, name: str, body: bytes, timeout_s: float) -> Answer:
        """Invoke an action and wait; errors of the action are answers too."""
        started = time.perf_counter()
        path = f"/_/actions/{quote(name)}?blocking=true&result=true"
        answer = self._send("POST", path, body or b"{}", timeout_s)
        seconds = time.perf_counter() - started
        if answer.status_code == 401:
            raise self._refused(answer)
        headers = {key.lower(): value for key, value in answer.headers.items()}
        return Answer(answer.status_code, headers, answer.content, seconds)

    def _get(self, path: str, *, root: bool = False) -> httpx.Response:
        answer = self._send("GET", "" if root else f"/_/{path}", b"", _TIMEOUT_S)
        if answer.status_code in (401, 403):
            raise self._refused(answer)
        return answer

    def _send(self, method: str, path: str, body: bytes, timeout_s: float) -> httpx.Response:
        import httpx

        key = base64.b64encode(self._access.auth.encode()).decode()
        headers = {"authorization": f"Basic {key}"} | ({"content-type": "application/json"} if body else {})
        url = f"{self._access.host}/api/v1/namespaces{path}"
        try:
            return httpx.request(
                method, url, content=body, headers=headers, timeout=timeout_s, verify=not self._access.insecure
            )
        except httpx.HTTPError as error:
            raise Unreachable(
                f"{self._access.host} does not answer: {error}",
                hints=("is the API host right? wsk property get --apihost",),
            ) from error

    def _json(self, answer: httpx.Response) -> Any:
        if answer.status_code != 200:
            raise MlfnError(f"{self._access.host} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def _refused(self, answer: httpx.Response) -> NotAuthorised:
        return NotAuthorised(
            f"{self._access.host} refuses the credential: {answer.json().get('error', answer.text[:200])}",
            hints=("check WHISK_AUTH, or AUTH in ~/.wskprops",),
        )
