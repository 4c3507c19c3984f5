"""On what terms Knative keeps a function warm, and how one of them is kept: read from the cluster, nothing changed.

What the cluster's operator set counts where the function says nothing; where it may not be read, Knative's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlfn.errors import InvalidInput, MlfnError, NotFound
from mlfn.function import FunctionSpec, WarmStatus
from mlfn.platforms.kube.companions import companions_of
from mlfn.platforms.kube.door import ClusterDoor
from mlfn.platforms.kube.instances import condition, unix_time
from mlfn.platforms.kube.kinds import CRON_JOB, PING_SOURCE, Object
from mlfn.platforms.kube.limits import ClusterLimits, read, read_duration
from mlfn.platforms.kube.records import own_annotations
from mlfn_policies.warm import WarmTerms

__all__ = ["RETENTION", "best_sender", "terms_of", "warm_status", "warm_terms"]

RETENTION = "autoscaling.knative.dev/scale-to-zero-pod-retention-period"
_BY_HAND = "mlfn warm run"
_BURST = "autoscaling.knative.dev/target-burst-capacity"
_PERIOD = "mlfn.dev/warm-period"


def warm_terms(door: ClusterDoor, spec: FunctionSpec) -> WarmTerms:
    """Return the terms for a function on this cluster."""
    sender, finest_s = best_sender(door)
    return terms_of(spec, read(door, ("config-autoscaler", "config-defaults")), sender, finest_s)


def terms_of(spec: FunctionSpec, limits: ClusterLimits, sender: str, finest_s: int) -> WarmTerms:
    """Return the same, of what was read. Pure."""
    blank = FunctionSpec(spec.name)
    target = spec.target if spec.target != blank.target else limits.container_concurrency_target_default
    capacity = limits.target_burst_capacity
    return WarmTerms(
        window_s=spec.window_s if spec.window_s != blank.window_s else limits.stable_window_s,
        retention_s=_retention_s(spec, limits.scale_to_zero_pod_retention_period_s),
        min_scale=spec.min_scale or limits.min_scale,
        max_scale=spec.max_scale or limits.max_scale,
        total_value=min(spec.concurrency, target) if spec.concurrency else target,
        target_burst_capacity=float(spec.annotations.get(_BURST, capacity)),
        grace_s=limits.scale_to_zero_grace_period_s,
        to_zero=limits.enable_scale_to_zero,
        sender=sender,
        finest_s=finest_s,
        exact=sender == _BY_HAND,
    )


def best_sender(door: ClusterDoor) -> tuple[str, int]:
    """Return what sends pings here, and its shortest period in seconds."""
    try:
        served = door.raw(f"/apis/{PING_SOURCE.api_version}")
        known = any(each["name"] == PING_SOURCE.plural for each in served.get("resources", ()))
        if known and door.may("create", PING_SOURCE):
            return PING_SOURCE.kind, 1
    except NotFound:
        pass
    if door.may("create", CRON_JOB):
        return CRON_JOB.kind, 60
    return _BY_HAND, 1


def warm_status(door: ClusterDoor, spec: FunctionSpec) -> WarmStatus:
    """Tell how a function is kept warm: its minimum, or the object that pings it."""
    for kind in (PING_SOURCE, CRON_JOB):
        try:
            found = companions_of(door, spec.name, kind)
        except MlfnError as error:
            return WarmStatus(spec.warm, always=spec.min_scale, last_error=error.message)
        if found:
            return _of_sender(spec, found)
    return WarmStatus(spec.warm, always=spec.min_scale)


def _of_sender(spec: FunctionSpec, found: Sequence[Object]) -> WarmStatus:
    sender = found[0]
    period = own_annotations(sender).get(_PERIOD, "0")
    ready = condition(sender, "Ready")
    at = sender.get("status", {}).get("lastSuccessfulTime")
    return WarmStatus(
        spec.warm,
        always=spec.min_scale,
        sender=sender["kind"],
        period_s=int(period) if period.isdecimal() else 0,
        last_ping_at=unix_time(at) if at else None,
        last_error=ready.get("message", "") if ready.get("status") == "False" else "",
    )


def _retention_s(spec: FunctionSpec, assumed_s: float) -> float:
    text = spec.annotations.get(RETENTION)
    if text is None:
        return assumed_s
    try:
        return read_duration(text)
    except ValueError as error:
        raise InvalidInput(f"--annotation {RETENTION}={text}: expected a duration such as 90s or 1m30s") from error
