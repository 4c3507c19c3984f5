"""How warmth is told: the words and documents that `mlfn warm`, `mlfn describe` and `mlfn deploy` share. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from mlfn.command.output import utc

if TYPE_CHECKING:
    from mlfn.function import WarmStatus
    from mlfn_policies.warm import Choice, WarmPlan

__all__ = ["plan_document", "status_document", "status_line"]


def plan_document(plan: WarmPlan, options: tuple[str, ...]) -> dict[str, object]:
    """Return a plan for ``-o json``."""
    return {
        **_choice(plan.choice),
        "reason": plan.reason,
        "sender": plan.sender,
        "safe_period_s": plan.safe_period_s,
        "cliff_s": plan.cliff_s,
        "options": list(options),
        "alternatives": [{**_choice(each), "why_not": each.why_not} for each in plan.alternatives],
    }


def status_document(warm: WarmStatus) -> dict[str, object]:
    """Return how a function is kept warm for ``-o json``; the times are UTC."""
    at = warm.last_ping_at
    return {**asdict(warm), "last_ping_at": None if at is None else utc(at)}


def status_line(warm: WarmStatus, name: str) -> str:
    """Say in a line how the function ``name`` is kept warm, or what would keep it so."""
    trouble = f"; last error: {warm.last_error}" if warm.last_error else ""
    asked = f" ({warm.asked})" if warm.asked != "off" else ""
    if not warm.period_s and warm.always:
        return f"always {warm.always} instance{'s' if warm.always > 1 else ''}{asked}{trouble}"
    if not warm.period_s and warm.asked not in ("off", "auto"):
        return f"only while `mlfn warm run` runs: nothing of the platform sends the pings every {warm.asked}{trouble}"
    if not warm.period_s:
        plan = f"`mlfn warm plan {name}` says what would keep it warm, and what that costs"
        return f"no{asked}: it goes to zero when nobody asks; {plan}{trouble}"
    told = [f"a ping every {warm.period_s} s from {warm.sender}"]
    if warm.sent is not None:
        told.append(f"{warm.sent} sent, {warm.failed} failed")
    if warm.last_ping_at is not None:
        told.append(f"the last at {utc(warm.last_ping_at)}")
    return "; ".join(told) + trouble


def _choice(choice: Choice) -> dict[str, object]:
    return {
        "method": choice.method.value,
        "min_scale": choice.min_scale,
        "window_s": choice.window_s,
        "retention_s": choice.retention_s,
        "period_s": choice.period_s,
        "warm_instances": choice.warm_instances,
        "cold_share": round(choice.cold_share, 6),
        "instance_hours_per_day": round(choice.instance_seconds_per_day / 3600, 3),
        "pings_per_day": choice.pings_per_day,
    }
