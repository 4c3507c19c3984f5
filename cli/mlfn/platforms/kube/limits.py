"""What a cluster's Knative allows and assumes, read from its ConfigMaps, and a function's settings held against it.

:func:`read` asks the door, all else is pure. A ConfigMap that may not be read (it is in another namespace, and a Role
for mlfn need not lead there) stands with Knative's own defaults, and every value tells which of both it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlfn.errors import NotAuthorised
from mlfn.platforms.kube.quantities import amount

if TYPE_CHECKING:
    from mlfn.platforms.kube.door import ClusterDoor

__all__ = ["CHECKED", "CONFIG_MAPS", "NAMESPACE", "ClusterLimits", "limits_of", "read", "read_duration"]

NAMESPACE = "knative-serving"
"""Where Knative keeps its configuration."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """Hold what the cluster's operator decided. Every default is Knative's."""

    enable_scale_to_zero: bool = True
    allow_zero_initial_scale: bool = False
    initial_scale: int = 1
    min_scale: int = 0
    """Of a function that does not say one."""
    max_scale: int = 0
    """Of a function that does not say one; 0 = no bound."""
    max_scale_limit: int = 0
    """The largest max-scale that a function may ask for; 0 = any."""
    stable_window_s: float = 60.0
    scale_to_zero_grace_period_s: float = 30.0
    scale_to_zero_pod_retention_period_s: float = 0.0
    scale_down_delay_s: float = 0.0
    container_concurrency_target_default: float = 100.0
    container_concurrency_target_percentage: float = 70.0
    requests_per_second_target_default: float = 200.0
    target_burst_capacity: float = 211.0
    revision_timeout_s: float = 300.0
    max_revision_timeout_s: float = 600.0
    container_concurrency: int = 0
    container_concurrency_max_limit: int = 1000
    allow_container_concurrency_zero: bool = True
    revision_cpu_limit: str = ""
    """Of a container that does not say one."""
    revision_memory_limit: str = ""
    empty_dir: bool = True
    """Whether pods may have scratch space (kubernetes.podspec-volumes-emptydir), which mlfn's have in /tmp."""
    secure_pod_defaults: str = "disabled"
    progress_deadline_s: float = 600.0
    registries_skipping_tag_resolving: tuple[str, ...] = ("kind.local", "ko.local", "dev.local")
    retain_since_create_time_s: float = 48 * 3600.0
    retain_since_last_active_time_s: float = 15 * 3600.0
    min_non_active_revisions: int = 20
    max_non_active_revisions: int = 1000
    ingress_class: str = "istio.ingress.networking.knative.dev"
    domain_template: str = "{{.Name}}.{{.Namespace}}.{{.Domain}}"
    domains: tuple[str, ...] = ("svc.cluster.local",)
    """Of the addresses of functions; the first is the one for all."""
    unread: tuple[str, ...] = ()
    """ConfigMaps that may not be read: their values are assumed."""

    def origin(self, name: str) -> str:
        """Say where a value is from: ``cluster``, or ``assumed`` where the rights to read it are missing."""
        return "assumed" if _SOURCES[name].config_map in self.unread else "cluster"


@dataclass(frozen=True, slots=True)
class _Source:
    """Say which key of which ConfigMap holds a value, and how it is written there."""

    config_map: str
    key: str
    parse: Callable[[str], Any]


def _boolean(text: str) -> bool:
    return text.strip().lower() == "true"


def _flag(text: str) -> bool:
    return text.strip().lower() != "disabled"


def _whole(text: str) -> int:
    return int(text.strip())


def _number(text: str) -> float:
    return float(text.strip())


def _percentage(text: str) -> float:
    """Read ``70`` or ``0.7``: Knative takes both."""
    value = float(text.strip())
    return value if value > 1 else value * 100


def _count(text: str) -> int:
    """Read a number of revisions; "disabled" is none that bounds."""
    return -1 if text.strip() == "disabled" else int(text.strip())


def read_duration(text: str) -> float:
    """Read a duration as Go writes it (``1m30s``), or a bare number of seconds; "disabled" is for ever.

    Raises ValueError.
    """
    bare = text.strip()
    if bare == "disabled":
        return float("inf")
    found = _DURATION.findall(bare)
    if found and "".join(number + unit for number, unit in found) == bare:
        return sum(float(number) * _SECONDS[unit] for number, unit in found)
    return float(bare)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _quantity(text: str) -> str:
    return text.strip() if amount(text) else ""


_AUTOSCALER, _DEFAULTS, _FEATURES = "config-autoscaler", "config-defaults", "config-features"
_DEPLOYMENT, _GC, _NETWORK, _DOMAIN = "config-deployment", "config-gc", "config-network", "config-domain"
CHECKED = (_AUTOSCALER, _DEFAULTS, _FEATURES)
"""What :func:`mlfn.platforms.kube.checks.check` needs: enough for a deploy."""
CONFIG_MAPS = (_AUTOSCALER, _DEFAULTS, _FEATURES, _DEPLOYMENT, _GC, _NETWORK, _DOMAIN)

_SOURCES: dict[str, _Source] = {
    "enable_scale_to_zero": _Source(_AUTOSCALER, "enable-scale-to-zero", _boolean),
    "allow_zero_initial_scale": _Source(_AUTOSCALER, "allow-zero-initial-scale", _boolean),
    "initial_scale": _Source(_AUTOSCALER, "initial-scale", _whole),
    "min_scale": _Source(_AUTOSCALER, "min-scale", _whole),
    "max_scale": _Source(_AUTOSCALER, "max-scale", _whole),
    "max_scale_limit": _Source(_AUTOSCALER, "max-scale-limit", _whole),
    "stable_window_s": _Source(_AUTOSCALER, "stable-window", read_duration),
    "scale_to_zero_grace_period_s": _Source(_AUTOSCALER, "scale-to-zero-grace-period", read_duration),
    "scale_to_zero_pod_retention_period_s": _Source(_AUTOSCALER, "scale-to-zero-pod-retention-period", read_duration),
    "scale_down_delay_s": _Source(_AUTOSCALER, "scale-down-delay", read_duration),
    "container_concurrency_target_default": _Source(_AUTOSCALER, "container-concurrency-target-default", _number),
    "container_concurrency_target_percentage": _Source(
        _AUTOSCALER, "container-concurrency-target-percentage", _percentage
    ),
    "requests_per_second_target_default": _Source(_AUTOSCALER, "requests-per-second-target-default", _number),
    "target_burst_capacity": _Source(_AUTOSCALER, "target-burst-capacity", _number),
    "revision_timeout_s": _Source(_DEFAULTS, "revision-timeout-seconds", read_duration),
    "max_revision_timeout_s": _Source(_DEFAULTS, "max-revision-timeout-seconds", read_duration),
    "container_concurrency": _Source(_DEFAULTS, "container-concurrency", _whole),
    "container_concurrency_max_limit": _Source(_DEFAULTS, "container-concurrency-max-limit", _whole),
    "allow_container_concurrency_zero": _Source(_DEFAULTS, "allow-container-concurrency-zero", _boolean),
    "revision_cpu_limit": _Source(_DEFAULTS, "revision-cpu-limit", _quantity),
    "revision_memory_limit": _Source(_DEFAULTS, "revision-memory-limit", _quantity),
    "empty_dir": _Source(_FEATURES, "kubernetes.podspec-volumes-emptydir", _flag),
    "secure_pod_defaults": _Source(_FEATURES, "secure-pod-defaults", str.strip),
    "progress_deadline_s": _Source(_DEPLOYMENT, "progress-deadline", read_duration),
    "registries_skipping_tag_resolving": _Source(_DEPLOYMENT, "registries-skipping-tag-resolving", _names),
    "retain_since_create_time_s": _Source(_GC, "retain-since-create-time", read_duration),
    "retain_since_last_active_time_s": _Source(_GC, "retain-since-last-active-time", read_duration),
    "min_non_active_revisions": _Source(_GC, "min-non-active-revisions", _count),
    "max_non_active_revisions": _Source(_GC, "max-non-active-revisions", _count),
    "ingress_class": _Source(_NETWORK, "ingress-class", str.strip),
    "domain_template": _Source(_NETWORK, "domain-template", str.strip),
    "domains": _Source(_DOMAIN, "", _names),
}


def read(door: ClusterDoor, names: Iterable[str] = CONFIG_MAPS) -> ClusterLimits:
    """Read the ConfigMaps that may be read; those that are not asked for count as unread."""
    return limits_of({name: _read(door, name) for name in names})


def _read(door: ClusterDoor, name: str) -> Mapping[str, str] | None:
    try:
        return door.config_map(NAMESPACE, name)
    except NotAuthorised:
        return None


def limits_of(maps: Mapping[str, Mapping[str, str] | None]) -> ClusterLimits:
    """Return what the data of ConfigMaps (name -> data, None where it may not be read) say.

    A value that cannot be read as what it should be counts as not said: Knative's controller refuses it as well, and
    goes on with what it had.
    """
    said: dict[str, Any] = {}
    for field, source in _SOURCES.items():
        data = maps.get(source.config_map) or {}
        try:
            if field == "domains":
                said |= {"domains": _domains(data)} if _domains(data) else {}
            elif source.key in data:
                said[field] = source.parse(data[source.key])
        except ValueError:
            continue
    return ClusterLimits(**said, unread=tuple(name for name in CONFIG_MAPS if maps.get(name) is None))


def _domains(data: Mapping[str, str]) -> tuple[str, ...]:
    """Return the domains, that without a selector (for all functions) first."""
    names = [name for name in data if not name.startswith("_")]
    return tuple(sorted(names, key=lambda name: ("selector" in data[name], name)))
