"""What the function server can be told: frozen values with a default, a unit and a reason each."""

from __future__ import annotations

import os.path
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DoorSettings", "FetchSettings", "ServerSettings"]


_LONGEST_ACTION_S = 300.0
"""What OpenWhisk lets an action take at most: its invoker ends a run that takes too long, and a 504 of ours before that
would cost the container."""


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Bound what one client may do to the server."""

    max_body_bytes: int = 64 * 1024 * 1024
    """Bytes of one body; 413 above. Room for 16 million floats; each request is held in memory whole."""
    max_head_bytes: int = 32 * 1024
    """Bytes of request line and headers; 431 above. Twice what browsers and proxies allow themselves."""
    max_headers: int = 100
    """Headers of one request; 431 above."""
    max_connections: int = 2048
    """Open connections; 503 above. Each costs a file descriptor and 10 KiB."""
    head_timeout_s: float = 10.0
    """Seconds from the first byte to the end of the head; 408 after."""
    body_timeout_s: float = 60.0
    """Seconds from the end of the head to the end of the body; 408 after."""
    idle_timeout_s: float = 75.0
    """Seconds that a connection may stay open without a request. Longer than the 60 s of common proxies, so that they
    close first and never send into a closing connection."""
    request_timeout_s: float = 60.0
    """Seconds from the last byte of a request to its answer; 504 after."""


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """Bound what is fetched for one request."""

    private: bool = False
    max_bytes: int = 64 * 1024 * 1024
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Say which model is served, where, and within which bounds."""

    model_path: str
    """The ONNX file."""
    name: str = ""
    """The model's name in paths; empty: the stem of the file."""
    version: str = "1"
    """The model's version in paths."""
    host: str = "127.0.0.1"
    """Address to listen on; an image sets 0.0.0.0."""
    port: int = 8080
    """Port to listen on; 0: any free one."""
    log_path: str | None = None
    """File for the JSON lines; none: standard output."""
    log_max_bytes: int = 0
    """Bytes after which the log file is renamed to ``.1`` and begun anew; 0: never."""
    max_queue: int = 256
    """Inferences that may wait; 503 with Retry-After above. At 5 ms a run, 256 wait for over a second."""
    threads: int = 0
    """Cores for the model; 0: as many as the affinity and the control group allow."""
    leave_s: float = 0.0
    """Seconds after SIGTERM in which all requests are still taken and each answer ends its connection, so that clients
    go elsewhere: for places whose proxies hear late that an instance ends."""
    drain_s: float = 25.0
    """Seconds that requests in flight get after that; below the 30 s after which Kubernetes kills."""
    openwhisk: bool = False
    """Answer ``/init`` and ``/run``."""
    fetch: bool = False
    """Follow ``{"url": "https://…"}`` in place of a tensor's data in ``/run``; off, because callers then choose what
    this server asks of others."""
    fetch_private: bool = False
    """Fetch from private, loopback and metadata addresses too, and without TLS: for a store inside the network, where
    all callers are trusted."""
    fetch_max_bytes: int = 64 * 1024 * 1024
    """Bytes fetched for one request; refused above. As large as the largest body; four requests fetch at a time."""
    fetch_timeout_s: float = 30.0
    """Seconds to fetch all that one request names; its deadline, where that is sooner."""
    memory_bytes: int = 0
    """Bytes the process may use, for the report of a failed load; 0: the control group's limit."""
    max_body_bytes: int = 64 * 1024 * 1024
    """As in the door's settings."""
    max_head_bytes: int = 32 * 1024
    """As in the door's settings."""
    max_connections: int = 2048
    """As in the door's settings."""
    head_timeout_s: float = 10.0
    """As in the door's settings."""
    body_timeout_s: float = 60.0
    """As in the door's settings."""
    idle_timeout_s: float = 75.0
    """As in the door's settings."""
    request_timeout_s: float = 60.0
    """As in the door's settings."""

    @property
    def served_name(self) -> str:
        """Return the name in paths."""
        file = os.path.basename(self.model_path)  # noqa: PTH119  # pathlib costs 4 ms of a start
        return self.name or os.path.splitext(file)[0]  # noqa: PTH122

    def door(self) -> DoorSettings:
        """Return the part that the door needs."""
        shared = {field.name for field in fields(DoorSettings)} & {field.name for field in fields(self)}
        return DoorSettings(**{name: getattr(self, name) for name in shared})

    def fetching(self) -> FetchSettings | None:
        """Return the bounds of fetching, or None where it is off."""
        if not self.fetch:
            return None
        return FetchSettings(self.fetch_private, self.fetch_max_bytes, self.fetch_timeout_s)

    @classmethod
    def from_environment(cls, env: Mapping[str, str], **given: Any) -> ServerSettings:
        """Read ``MLFN_*`` variables (``MLFN_MAX_QUEUE``…), ``HOST`` and ``PORT``; ``given`` goes first.

        Raise ValueError that names the variable, what was expected and what came. OpenWhisk's own variable
        ``__OW_API_HOST`` asks for its contract.
        """
        values: dict[str, Any] = {"openwhisk": bool(env.get("__OW_API_HOST"))}
        if values["openwhisk"]:
            values["request_timeout_s"] = _LONGEST_ACTION_S
        for field in fields(cls):
            variable = f"MLFN_{field.name.upper()}"
            text = env.get(variable)
            if text is None and field.name in ("host", "port"):
                variable = field.name.upper()
                text = env.get(variable)
            if text:
                values[field.name] = _parsed(variable, str(field.type), text)
        values.update(given)
        if "model_path" not in values:
            raise ValueError("MLFN_MODEL_PATH: expected the path of an ONNX file, got none")
        return cls(**values)


def _parsed(variable: str, kind: str, text: str) -> object:
    if kind == "bool":
        if text.lower() not in ("0", "1", "true", "false", "yes", "no"):
            raise ValueError(f"{variable}: expected true or false, got {text!r}")
        return text.lower() in ("1", "true", "yes")
    if kind in ("int", "float"):
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            expected = "a whole number" if kind == "int" else "a number"
            raise ValueError(f"{variable}: expected {expected}, got {text!r}") from None
    return text
