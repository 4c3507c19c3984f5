"""Plan how a function is kept warm: which setting or which pings, and what they cost.

A pure function of what the platform does (:class:`WarmTerms`) and what is wanted (:class:`WarmWish`), over the rules of
``staying``. The share of cold answers is that of requests at random moments (exponential gaps). One ping keeps one
instance, never more. The deployer calls it; nothing here knows a cluster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from mlfn_policies.staying import (
    DAY_S,
    HOUR_S,
    LONGEST_PERIOD_S,
    MINUTE_S,
    cliff_s,
    cold_share,
    firings_per_day,
    instance_seconds,
    router_stays,
    safe_period_s,
    sendable_period_s,
    stay_s,
    window_for_s,
)

__all__ = ["Choice", "Method", "NotPossible", "UnsafePeriod", "WarmPlan", "WarmTerms", "WarmWish", "plan"]


class Method(StrEnum):
    """What keeps a function warm."""

    NONE = "none"
    RETENTION = "retention"
    WINDOW = "window"
    MIN_SCALE = "min-scale"
    PING = "ping"


@dataclass(frozen=True, slots=True)
class WarmTerms:
    """Say how the platform scales this function to zero, and what may be set there. The defaults are Knative's."""

    window_s: float = 60
    retention_s: float = 0
    min_scale: int = 0
    max_scale: int = 0
    """0 = no bound."""
    total_value: float = 100.0
    """Requests that one instance could take at once."""
    target_burst_capacity: float = 211.0
    grace_s: float = 30.0
    requeue_s: float = 3.0
    to_zero: bool = True
    """False where nothing ever goes to zero (enable-scale-to-zero)."""
    longest_window_s: float = 3600
    longest_retention_s: float = 3600
    """0 = the platform has no such setting."""
    settable: bool = True
    """Whether the function's settings may be changed; else only pings are left."""
    sender: str = ""
    """What sends pings: a name for the reason; "" = nothing does."""
    finest_s: int = 1
    """The shortest period of the sender: 1, or 60 where it fires on full minutes only."""
    exact: bool = False
    """Whether the sender keeps its own time; else it is a schedule that starts anew each minute or hour."""

    @property
    def stay_s(self) -> float:
        """Return how long the last instance surely stays after a request."""
        return self.stay_with(self.window_s, self.retention_s)

    def stay_with(self, window_s: float, retention_s: float) -> float:
        """Return the same for another window and retention."""
        in_path = router_stays(self.total_value, self.target_burst_capacity)
        return stay_s(window_s, retention_s, self.grace_s, self.requeue_s, in_path=in_path)

    @property
    def fires_on_minutes(self) -> bool:
        """Tell whether the sender cannot ping within a minute."""
        return not self.exact and self.finest_s >= MINUTE_S

    @property
    def always_warm(self) -> int:
        """Return the instances that are there whatever happens."""
        return max(self.min_scale, 0 if self.to_zero else 1)


@dataclass(frozen=True, slots=True)
class WarmWish:
    """Say what is wanted."""

    instances: int = 1
    """Instances that are always ready."""
    cold_share: float = 0.0
    """The share of requests that may find none, 0 to 1."""
    gap_s: float = 0.0
    """Mean seconds between two requests; 0 = not known, so that only what needs no traffic counts."""
    period_s: int = 0
    """Ask for pings of this period; 0 = plan freely."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.instances < 1:
            raise NotPossible(f"{self.instances} warm instances; expected 1 or more")
        if not 0 <= self.cold_share <= 1:
            raise NotPossible(f"a share of {self.cold_share:g} cold answers; expected 0 to 1")
        if self.gap_s < 0 or self.period_s < 0:
            raise NotPossible("a time below 0 between requests or pings; expected 0 or more")


class NotPossible(ValueError):
    """What is wanted cannot be had on these terms; the message says why and what can."""


class UnsafePeriod(NotPossible):
    """Pings of this period would find nothing, or might; ``safe_s`` is the longest that is safe."""

    def __init__(self, message: str, safe_s: int, window_s: int) -> None:
        super().__init__(message)
        self.safe_s = safe_s
        """0 = no period is safe with this sender and window."""
        self.window_s = window_s
        """The window with which the asked period would be safe; 0 = none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold one way to keep a function warm."""

    method: Method
    min_scale: int
    window_s: float
    retention_s: float
    period_s: int
    """0 = no pings."""
    warm_instances: int
    """Instances that are always there; 0 = it depends on the traffic."""
    cold_share: float
    """Expected share of cold answers; 1 where the traffic is not known."""
    instance_seconds_per_day: float
    pings_per_day: int
    why_not: str = ""
    """Why it was not chosen; "" for the plan itself."""


@dataclass(frozen=True, slots=True)
class WarmPlan:
    """Hold what was chosen, why, and what else was considered."""

    choice: Choice
    reason: str
    sender: str
    """What sends the pings; "" without any."""
    safe_period_s: int
    """The longest safe period of pings at the plan's window and retention."""
    cliff_s: int
    """The first period at which pings would be cold there."""
    alternatives: tuple[Choice, ...] = ()

    @property
    def method(self) -> Method:
        """Return the method."""
        return self.choice.method


_NOT_OURS: Final = "the function's settings are not ours to change"
_PREFERENCE = {each: place for place, each in enumerate(Method)}


def plan(terms: WarmTerms, wish: WarmWish) -> WarmPlan:
    """Return the cheapest way to what is wanted.

    With a period asked for: pings of that period, or UnsafePeriod. Raises NotPossible where nothing fits.
    """
    if 0 < terms.max_scale < wish.instances:
        raise NotPossible(f"{wish.instances} warm instances are more than max-scale {terms.max_scale} allows")
    if wish.period_s:
        chosen = _asked_pings(terms, wish)
        return _planned(terms, chosen, f"pings every {chosen.period_s} s were asked for", ())
    choices = [make(terms, wish) for make in _MAKERS]
    fitting = [each for each in choices if not each.why_not]
    if not fitting:
        told = "; ".join(f"{each.method}: {each.why_not}" for each in choices)
        raise NotPossible(f"no way to {wish.instances} warm instances on this platform ({told})")
    chosen = min(fitting, key=_cost)
    rest = tuple(_costlier(each, chosen) for each in choices if each is not chosen)
    return _planned(terms, chosen, _reason(chosen, terms, wish), rest)


def _cost(choice: Choice) -> tuple[int, int, int]:
    return round(choice.instance_seconds_per_day), choice.pings_per_day, _PREFERENCE[choice.method]


def _costlier(choice: Choice, chosen: Choice) -> Choice:
    if choice.why_not:
        return choice
    seconds = choice.instance_seconds_per_day - chosen.instance_seconds_per_day
    if round(seconds) > 0:
        return replace(choice, why_not=f"{seconds / HOUR_S:.1f} instance-hours a day more")
    if choice.pings_per_day > chosen.pings_per_day:
        return replace(choice, why_not=f"as many instance-hours, and {choice.pings_per_day} pings a day")
    return replace(choice, why_not="costs the same and changes more")


def _planned(terms: WarmTerms, chosen: Choice, reason: str, rest: tuple[Choice, ...]) -> WarmPlan:
    return WarmPlan(
        choice=chosen,
        reason=reason,
        sender=terms.sender if chosen.period_s else "",
        safe_period_s=safe_period_s(chosen.window_s, chosen.retention_s),
        cliff_s=cliff_s(terms.stay_with(chosen.window_s, chosen.retention_s)),
        alternatives=rest,
    )


def _reason(chosen: Choice, terms: WarmTerms, wish: WarmWish) -> str:
    match chosen.method:
        case Method.NONE if terms.always_warm >= wish.instances:
            return (
                "nothing goes to zero here" if not terms.to_zero else f"min-scale {terms.min_scale} keeps them already"
            )
        case Method.NONE:
            return f"the last instance stays {terms.stay_s:g} s, long enough for a request each {wish.gap_s:g} s"
        case Method.MIN_SCALE:
            return "always there, without a ping; anything else costs as much or answers more requests cold"
        case Method.RETENTION:
            return f"the last instance stays {chosen.retention_s:g} s longer than its window"
        case Method.WINDOW:
            return f"an instance stays for a window of {chosen.window_s:g} s"
        case Method.PING:
            return f"a ping every {chosen.period_s} s comes before the window of {chosen.window_s:g} s ends"


def _choice(terms: WarmTerms, method: Method, why_not: str = "", **changed: Any) -> Choice:
    """Make a choice out of the terms; without a price where it is not possible."""
    as_it_is = Choice(
        method=method,
        min_scale=terms.min_scale,
        window_s=float(terms.window_s),
        retention_s=float(terms.retention_s),
        period_s=0,
        warm_instances=terms.always_warm,
        cold_share=1.0,
        instance_seconds_per_day=float(DAY_S * terms.always_warm),
        pings_per_day=0,
        why_not=why_not,
    )
    return replace(as_it_is, **changed)


def _none(terms: WarmTerms, wish: WarmWish) -> Choice:
    if terms.always_warm >= wish.instances:
        return _choice(terms, Method.NONE, cold_share=0.0)
    return _by_staying(terms, wish, Method.NONE)


def _by_staying(terms: WarmTerms, wish: WarmWish, method: Method, why_not: str = "", **changed: float) -> Choice:
    """Price a choice that keeps the instance of the last request for some time."""
    if why_not or wish.gap_s == 0:
        unknown = "how often requests come is not known (gap)"
        return _choice(terms, method, why_not or unknown)
    if wish.instances > 1:
        return _choice(terms, method, "keeps the last instance only")
    stay = terms.stay_with(changed.get("window_s", terms.window_s), changed.get("retention_s", terms.retention_s))
    cold = cold_share(stay, wish.gap_s)
    seconds = instance_seconds(stay, wish.gap_s)
    if cold > wish.cold_share * (1 + 1e-9):
        why_not = f"{cold:.2%} of the answers would be cold"
    return _choice(terms, method, why_not, cold_share=cold, instance_seconds_per_day=seconds, **changed)


def _needed_stay_s(wish: WarmWish) -> float:
    """Return how long an instance must stay so that few enough requests are cold; inf where none may be."""
    if wish.cold_share >= 1 or wish.gap_s == 0:
        return 0.0
    return -math.log(wish.cold_share) * wish.gap_s if wish.cold_share > 0 else math.inf


def _retention(terms: WarmTerms, wish: WarmWish) -> Choice:
    if not terms.settable:
        return _choice(terms, Method.RETENTION, _NOT_OURS)
    if terms.longest_retention_s == 0:
        return _choice(terms, Method.RETENTION, "the platform has no such setting")
    needed = max(_needed_stay_s(wish) - terms.window_s, terms.retention_s)
    retention = min(float(math.ceil(needed)) if needed < math.inf else math.inf, terms.longest_retention_s)
    return _by_staying(terms, wish, Method.RETENTION, retention_s=retention)


def _window(terms: WarmTerms, wish: WarmWish) -> Choice:
    if not terms.settable:
        return _choice(terms, Method.WINDOW, _NOT_OURS)
    extra = terms.stay_s - terms.window_s
    needed = max(_needed_stay_s(wish) - extra, terms.window_s)
    window = min(float(math.ceil(needed)) if needed < math.inf else math.inf, terms.longest_window_s)
    return _by_staying(terms, wish, Method.WINDOW, window_s=window)


def _min_scale(terms: WarmTerms, wish: WarmWish) -> Choice:
    if not terms.settable:
        return _choice(terms, Method.MIN_SCALE, _NOT_OURS)
    least = max(terms.min_scale, wish.instances)
    seconds = float(DAY_S * least)
    return _choice(
        terms,
        Method.MIN_SCALE,
        min_scale=least,
        warm_instances=least,
        cold_share=0.0,
        instance_seconds_per_day=seconds,
    )


def _ping(terms: WarmTerms, wish: WarmWish) -> Choice:
    """Ping at the longest safe period; a sender that is too coarse for it gets a longer window where that may be."""
    why_not = _no_pings(terms, wish)
    if why_not:
        return _choice(terms, Method.PING, why_not)
    period = sendable_period_s(safe_period_s(terms.window_s, terms.retention_s), terms.finest_s, exact=terms.exact)
    window = terms.window_s
    if period == 0:
        period, window = MINUTE_S, max(window, window_for_s(MINUTE_S))
        if not terms.settable or window > terms.longest_window_s:
            why = f"{terms.sender} fires once a minute, which needs a window of {window:g} s"
            return _choice(terms, Method.PING, why)
    return _pings(terms, period, window)


def _pings(terms: WarmTerms, period: int, window: float) -> Choice:
    return _choice(
        terms,
        Method.PING,
        period_s=period,
        window_s=float(window),
        warm_instances=1,
        cold_share=0.0,
        instance_seconds_per_day=float(DAY_S),
        pings_per_day=firings_per_day(period, exact=terms.exact),
    )


def _no_pings(terms: WarmTerms, wish: WarmWish) -> str:
    """Say why pings make no sense here."""
    if terms.always_warm >= 1:
        why = f"min-scale {terms.min_scale}" if terms.min_scale and terms.to_zero else "nothing goes to zero here"
        return f"{why}: an instance is always there, pings would add nothing"
    if wish.instances > 1:
        return "one ping keeps one instance only"
    return "" if terms.sender else "nothing can send pings here"


def _asked_pings(terms: WarmTerms, wish: WarmWish) -> Choice:
    why_not = _no_pings(terms, wish)
    if why_not:
        raise NotPossible(f"no pings: {why_not}")
    asked = wish.period_s
    safe = safe_period_s(terms.window_s, terms.retention_s)
    sendable = sendable_period_s(min(asked, safe), terms.finest_s, exact=terms.exact)
    if asked <= safe and sendable:
        return _pings(terms, sendable, terms.window_s)
    minute = window_for_s(MINUTE_S)
    if asked <= MINUTE_S and terms.fires_on_minutes and terms.settable and minute <= terms.longest_window_s:
        # Below a minute cannot be had from this sender: a minute can, with the window that makes it safe.
        return _pings(terms, MINUTE_S, max(terms.window_s, minute))
    raise _unsafe(terms, asked, safe)


def _unsafe(terms: WarmTerms, asked: int, safe: int) -> NotPossible:
    """Say why a period cannot be had, and which can."""
    needed = window_for_s(max(asked, MINUTE_S) if terms.fires_on_minutes else asked)
    if asked <= safe:
        return NotPossible(f"no pings: {terms.sender} fires once a minute, which needs a window of {needed} s")
    why = (
        f"with a window of {terms.window_s:g} s and a retention of {terms.retention_s:g} s, pings find nothing from a "
        f"period of {cliff_s(terms.stay_s)} s on"
    )
    if asked > LONGEST_PERIOD_S:
        needed, why = 0, "so seldom, their load is rounded to nothing before it is averaged"
    message = f"pings every {asked} s are not safe: {why}; the longest safe period is {safe} s"
    return UnsafePeriod(message, sendable_period_s(safe, terms.finest_s, exact=terms.exact), needed)


_MAKERS: tuple[Callable[[WarmTerms, WarmWish], Choice], ...] = (_none, _retention, _window, _min_scale, _ping)
