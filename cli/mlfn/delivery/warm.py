"""Keep a function warm: plan on the platform's terms, and turn the plan into settings and into what pings.

The plan itself is ``mlfn_policies.warm``, a pure function; here its refusals become ours, with what would do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from mlfn.errors import InvalidInput, MlfnError
from mlfn.function import FunctionSpec, ImageRef

if TYPE_CHECKING:
    from mlfn.platforms import KeepsWarm, Platform
    from mlfn_policies.warm import Choice, WarmPlan, WarmTerms, WarmWish

__all__ = ["Kept", "companions", "cost", "keep_warm", "options", "ping_sender", "plan_for", "summary", "terms_for"]

OFF, AUTO = "off", "auto"
_RETENTION = "autoscaling.knative.dev/scale-to-zero-pod-retention-period"


@dataclass(frozen=True, slots=True)
class Kept:
    """Hold the settings with which a function is kept warm, and why these."""

    spec: FunctionSpec
    plan: WarmPlan | None
    """None where nothing was asked for."""


def keep_warm(platform: Platform, spec: FunctionSpec) -> Kept:
    """Return the settings for what ``spec.warm`` asks. Raises InvalidInput with what would do instead."""
    if spec.warm == OFF:
        return Kept(spec, None)
    from mlfn_policies.warm import WarmWish

    period_s = 0 if spec.warm == AUTO else int(spec.warm.removesuffix("s"))
    plan = plan_for(terms_for(platform, spec), WarmWish(period_s=period_s))
    return Kept(_planned(spec, plan.choice), plan)


def terms_for(platform: Platform, spec: FunctionSpec) -> WarmTerms:
    """Return the platform's terms for a function. Raises InvalidInput where it keeps none warm."""
    if "warm" not in platform.capabilities.settings:
        raise InvalidInput(f"the platform {platform.name} has no --warm")
    return cast("KeepsWarm", platform).warm_terms(spec)


def plan_for(terms: WarmTerms, wish: WarmWish) -> WarmPlan:
    """Plan; raises InvalidInput, with the safe period offered where the asked one is not."""
    from mlfn_policies.warm import NotPossible, UnsafePeriod, plan

    try:
        return plan(terms, wish)
    except UnsafePeriod as error:
        hints = [f"--warm {error.safe_s}s is safe"] if error.safe_s else []
        if error.window_s:
            hints.append(f"or, with a window that suits it: --warm {wish.period_s}s --window {error.window_s}s")
        raise InvalidInput(str(error), hints=tuple(hints)) from error
    except NotPossible as error:
        raise InvalidInput(str(error), hints=("leave --warm out, or say --warm auto",)) from error


def companions(kept: Kept, image: ImageRef | None) -> tuple[dict[str, Any], ...]:
    """Return the objects that ping, for a platform whose functions are images."""
    if kept.plan is None or not kept.plan.sender or image is None:
        return ()
    from mlfn.warmers import PingOrder, objects

    spec = kept.spec
    return objects(
        PingOrder(
            spec.name,
            kept.plan.choice.period_s,
            kept.plan.sender,
            image=image.pinned,
            image_pull_secret=spec.image_pull_secret,
        )
    )


def summary(plan: WarmPlan) -> str:
    """Say in a line what is done and what it costs."""
    from mlfn.warmers import WARM_RUN

    choice = plan.choice
    done = {
        "none": f"nothing to do, {plan.reason}",
        "min-scale": f"min-scale {choice.min_scale}",
        "retention": f"retention {choice.retention_s:g} s",
        "window": f"window {choice.window_s:g} s",
        "ping": f"a ping every {choice.period_s} s from {plan.sender} (window {choice.window_s:g} s)",
    }[choice.method]
    todo = f"; keep `{WARM_RUN} NAME --period {choice.period_s}s` running" if plan.sender == WARM_RUN else ""
    return f"{done}; {cost(choice)}{todo}"


def cost(choice: Choice) -> str:
    """Say what a choice costs a day."""
    pings = f", {choice.pings_per_day} pings" if choice.pings_per_day else ""
    return f"{choice.instance_seconds_per_day / 3600:.3g} instance-hours{pings} a day"


def options(plan: WarmPlan, spec: FunctionSpec) -> tuple[str, ...]:
    """Return the options of `mlfn deploy` that carry a plan out."""
    choice, found = plan.choice, []
    if choice.min_scale != spec.min_scale and choice.method == "min-scale":
        found.append(f"--min-scale {choice.min_scale}")
    if choice.method in ("window", "ping") and choice.window_s > spec.window_s:
        found.append(f"--window {choice.window_s:g}s")
    if choice.method == "retention":
        found.append(f"--annotation {_RETENTION}={choice.retention_s:g}s")
    if choice.period_s:
        found.append(f"--warm {choice.period_s}s")
    return tuple(found)


def ping_sender(platform: Platform, name: str, timeout_s: float) -> Callable[[int], None]:
    """Return what sends one warm ping to a function through its platform, and raises MlfnError when it fails."""
    import uuid

    from mlfn_runtime.ping import WARM_PATH, ping_headers

    run = str(uuid.uuid4())

    def send(number: int) -> None:
        answer = platform.invoke(name, WARM_PATH, b"", ping_headers("mlfn/warm-run", f"{run}-{number}"), timeout_s)
        if answer.status >= 400:
            raise MlfnError(f"{name} answered {answer.status}")

    return send


def _planned(spec: FunctionSpec, choice: Choice) -> FunctionSpec:
    """Return the settings with what a plan sets; what it leaves as the platform's own stays unsaid."""
    annotations = dict(spec.annotations)
    if choice.method == "retention":
        annotations[_RETENTION] = f"{choice.retention_s:g}s"
    wider = choice.method in ("window", "ping") and choice.window_s > spec.window_s
    least = max(spec.min_scale, choice.min_scale) if choice.method == "min-scale" else spec.min_scale
    window_s = int(choice.window_s) if wider else spec.window_s
    return replace(spec, min_scale=least, window_s=window_s, annotations=annotations)
