"""The two ways in which the function server fails: a request, or the start.

A ``RequestError`` is the answer to one request and never more than that; a ``StartError`` ends the process before it
was ready. Neither carries a foreign exception's type: the module that met it has already put it into words.
"""

from __future__ import annotations

__all__ = ["RequestError", "StartError"]


class RequestError(Exception):
    """Answer one request with an HTTP status and one sentence that names what was expected and what came."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class StartError(Exception):
    """End the start of a server: ``kind`` is "load", "warm_up", "listen" or "memory"."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = " ".join(message.split())

    @property
    def exit_code(self) -> int:
        """Return 2 where the model is at fault, 1 where the machine is."""
        return 2 if self.kind in ("load", "warm_up") else 1
