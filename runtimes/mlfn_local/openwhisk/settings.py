"""Every number of the small OpenWhisk, with the defaults of Apache OpenWhisk's standalone server."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServerSettings"]

MIB = 1_048_576


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits, throttles and times of a server; memory in MB, sizes in bytes, times in ms."""

    invocations_per_minute: int = 60
    fires_per_minute: int = 60
    concurrent_invocations: int = 30
    most_action_instances: int | None = None
    """Shown by ``limits``; None: as many as concurrent invocations."""
    least_memory_mb: int = 128
    most_memory_mb: int = 512
    default_memory_mb: int = 256
    least_timeout_ms: int = 100
    most_timeout_ms: int = 300_000
    default_timeout_ms: int = 60_000
    most_logs_mb: int = 10
    most_concurrency: int = 1
    most_sequence: int = 50
    most_payload_bytes: int = MIB
    most_exec_bytes: int = 48 * MIB
    most_body_bytes: int = 50 * MIB
    blocking_wait_ms: int = 60_000
    user_memory_mb: int = 1024
    """Memory for containers on this one invoker."""
    pause_grace_ms: int = 10_000
    idle_container_ms: int = 600_000
    repeat_dropped: bool = True
    """Whether a warm ``/run`` whose connection broke runs again elsewhere (standalone: yes; clusters: no)."""
    list_limit: int = 200
    list_default: int = 30
    kinds: tuple[tuple[str, str], ...] = ()
    """Kinds of the runtimes manifest with their images, besides ``blackbox`` and ``sequence``."""
    unpulled_images: tuple[str, ...] = ()
    """Images that are never pulled (``blackboxes`` of the manifest)."""

    def limits_json(self) -> dict[str, int | str]:
        """Return what ``GET /api/v1/namespaces/NS/limits`` answers."""
        return {
            "concurrentInvocations": self.concurrent_invocations,
            "firesPerMinute": self.fires_per_minute,
            "invocationsPerMinute": self.invocations_per_minute,
            "maxActionConcurrency": self.most_concurrency,
            "maxActionInstances": self.most_action_instances or self.concurrent_invocations,
            "maxActionLogs": self.most_logs_mb,
            "maxActionMemory": self.most_memory_mb,
            "maxActionTimeout": self.most_timeout_ms,
            "maxParameterSize": f"{self.most_payload_bytes} B",
            "minActionConcurrency": 1,
            "minActionLogs": 0,
            "minActionMemory": self.least_memory_mb,
            "minActionTimeout": self.least_timeout_ms,
        }
