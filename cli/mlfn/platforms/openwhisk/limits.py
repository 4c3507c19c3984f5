"""Check a function against the server's own limits before anything is changed, and say what will surprise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlfn.errors import InvalidInput
from mlfn.function import Finding, FunctionSpec, Severity

__all__ = ["ActionLimits", "action_limits", "notes"]

MIB = 2**20
DEFAULT_TIMEOUT_MS = 60_000
_DEFAULTS = {
    "maxActionConcurrency": 1,
    "maxActionMemory": 512,
    "minActionMemory": 128,
    "maxActionTimeout": 300_000,
    "minActionTimeout": 100,
    "invocationsPerMinute": 120,
}
"""Of Apache OpenWhisk, where a server does not tell."""


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """The limits of an action: ms, MB, MB of logs, calls at once in a container."""

    timeout_ms: int
    memory_mb: int
    logs_mb: int
    concurrency: int

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the options of `wsk action update`."""
        return (
            "--timeout",
            str(self.timeout_ms),
            "--memory",
            str(self.memory_mb),
            "--logsize",
            str(self.logs_mb),
            "--concurrency",
            str(self.concurrency),
        )


def action_limits(spec: FunctionSpec, logs_mb: int, told: Mapping[str, Any]) -> ActionLimits:
    """Return a function's limits. Raises InvalidInput for one that the server would refuse.

    Without a setting of its own a function gets 256 MB, or the nearest that the server allows, 60 s, and one call at
    once in a container.
    """
    server = {**_DEFAULTS, **{key: value for key, value in told.items() if isinstance(value, int)}}
    least_mb, most_mb = server["minActionMemory"], server["maxActionMemory"]
    memory_mb = -(-spec.memory_bytes // MIB) if spec.memory_bytes else min(max(256, least_mb), most_mb)
    standard_s = FunctionSpec(spec.name).timeout_s
    timeout_ms = DEFAULT_TIMEOUT_MS if spec.timeout_s == standard_s else round(spec.timeout_s * 1000)
    concurrency = spec.concurrency or 1
    _within("--memory", memory_mb, (least_mb, most_mb), "MB")
    _within("--timeout", timeout_ms, (server["minActionTimeout"], server["maxActionTimeout"]), "ms")
    _within("--concurrency", concurrency, (1, server["maxActionConcurrency"]), "calls at once in a container")
    return ActionLimits(timeout_ms, memory_mb, logs_mb, concurrency)


def _within(option: str, value: int, bounds: tuple[int, int], unit: str) -> None:
    least, most = bounds
    if not least <= value <= most:
        raise InvalidInput(
            f"{option}: this OpenWhisk allows {least} to {most} {unit}, not {value}",
            hints=(f"{option} {most if value > most else least}", "or have the operator change the server's limits"),
        )


def notes(limits: ActionLimits, told: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return what is worth knowing of a function with these limits."""
    found = []
    if limits.logs_mb:
        found.append(
            Finding(
                Severity.INFO,
                "logs-hold-container",
                "a container is not free until its logs have been read, 50 to 100 ms after each answer: "
                "a call that comes sooner starts another one",
                seen=f"{limits.logs_mb} MB of logs",
                expected="--logs-mb 0 where calls come back to back",
            )
        )
    per_minute = told.get("invocationsPerMinute")
    if isinstance(per_minute, int) and per_minute <= 120:
        found.append(
            Finding(
                Severity.INFO,
                "minute-quota",
                f"the namespace may make {per_minute} invocations a minute; more are refused with 429, pings count too",
                seen=f"{per_minute} a minute",
                expected="above the peak of all functions together",
            )
        )
    return tuple(found)
