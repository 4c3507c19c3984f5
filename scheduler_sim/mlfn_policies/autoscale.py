"""Decide how many instances a revision should have: the rules of Knative's autoscaler (KPA), tick for tick.

Source: knative/serving ``pkg/autoscaler/scaling`` (the decision), ``pkg/autoscaler/aggregation`` (windows.py) and
``pkg/reconciler/autoscaling/kpa/resources`` (the target). Every 2 s, and at once on a first request at zero::

    r      = max(1, ready)
    limit  = [reachable ? floor(r / max_scale_down_rate) : 0,  ceil(r * max_scale_up_rate)]
    stable = clamp(ceil(average over the stable window / target_value), limit)
    panic  = clamp(ceil(average over the panic window  / target_value), limit)
    panicking from the moment ceil(panic average / target_value) / r >= panic_threshold
    until a whole stable window has passed since that was last true
    desired = panicking ? the largest max(stable, panic) since panic began : stable
    desired = max over the scale-down delay of desired
    excess burst capacity = floor(ready * total_value - target_burst_capacity - panic average)

:func:`decide` is a plain function over scalars; :class:`Autoscaler` keeps its windows and panic state. What becomes of
``desired`` (bounds, scale to zero) is scale_bounds.py's business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from mlfn_policies.windows import NEVER, MaximumWindow, Window

__all__ = [
    "TICK_S",
    "Autoscaler",
    "AutoscalerSettings",
    "Decision",
    "Load",
    "PanicState",
    "ScaleRules",
    "decide",
    "for_function",
]

TICK_S: Final = 2
"""Seconds between two decisions, and the step of the scale-down delay window."""

_TARGET_DEFAULT: Final = 100.0  # container-concurrency-target-default
_TARGET_FLOOR: Final = 0.01  # the smallest target that the API accepts


class Load(NamedTuple):
    """Hold the two window averages of a metric, in concurrent requests (or requests per second) over all instances."""

    stable: float
    panic: float


class PanicState(NamedTuple):
    """Remember panic: when the threshold was last crossed (NEVER: not panicking), and the floor of instances."""

    since_s: float
    floor: int


class ScaleRules(NamedTuple):
    """Hold the numbers that :func:`decide` needs; the meaning is that of :class:`AutoscalerSettings`."""

    target_value: float
    total_value: float
    target_burst_capacity: float
    panic_threshold: float
    max_scale_up_rate: float
    max_scale_down_rate: float
    stable_window_s: float
    activation_scale: int
    reachable: bool


def decide(load: Load, ready: int, now_s: float, panic: PanicState, rules: ScaleRules) -> tuple[int, int, PanicState]:
    """Return (desired instances, excess burst capacity, panic state) for one tick."""
    count = max(1, ready)
    ceiling = math.ceil(rules.max_scale_up_rate * count)
    floor = math.floor(count / rules.max_scale_down_rate) if rules.reachable else 0
    for_panic = math.ceil(load.panic / rules.target_value)
    desired = _within(math.ceil(load.stable / rules.target_value), floor, ceiling, rules.activation_scale)
    desired_in_panic = _within(for_panic, floor, ceiling, rules.activation_scale)

    since_s, most = panic
    if for_panic / count >= rules.panic_threshold:
        since_s = now_s
    elif since_s != NEVER and since_s + rules.stable_window_s < now_s:
        since_s = float(NEVER)
        most = 0
    if since_s != NEVER:
        # Never down while panicking: the surge must first have made its way through the stable window.
        most = max(most, desired, desired_in_panic)
        desired = most
    return desired, excess_burst_capacity(load.panic, ready, rules), PanicState(since_s, most)


def _within(wanted: int, floor: int, ceiling: int, activation_scale: int) -> int:
    """Clamp to what one tick may change; a start from zero goes to the activation scale at least."""
    clamped = min(max(wanted, floor), ceiling)
    if wanted > 0 and activation_scale > 1:
        return max(clamped, activation_scale)
    return clamped


def excess_burst_capacity(panic_load: float, ready: int, rules: ScaleRules) -> int:
    """Return how many more requests than the wanted burst the ready instances could take; negative: too few.

    A target burst capacity of 0 keeps the router out of the path unless at zero (0), -1 always in it (-1).
    """
    if rules.target_burst_capacity == 0:
        return 0
    if rules.target_burst_capacity > 0:
        return math.floor(ready * rules.total_value - rules.target_burst_capacity - panic_load)
    return -1


@dataclass(frozen=True, slots=True)
class AutoscalerSettings:
    """Say what one revision is scaled by. The defaults are Knative's for a function without a concurrency limit."""

    metric: Literal["concurrency", "rps"] = "concurrency"
    """What the recorded values are: concurrent requests, or requests per second."""
    aggregation: Literal["linear", "weighted-exponential"] = "linear"
    total_value: float = 100.0
    """Load that one instance could take."""
    target_value: float = 70.0
    """Load per instance that is aimed at: total times utilization."""
    target_burst_capacity: float = 211.0
    """Requests that must find room at once without the router holding them; 0 = router only at zero, -1 = always."""
    panic_threshold: float = 2.0
    """Panic when this many times the ready instances are needed for the last ``panic_window_s``."""
    max_scale_up_rate: float = 1000.0
    """One tick multiplies the instances by at most this."""
    max_scale_down_rate: float = 2.0
    """One tick divides the instances by at most this."""
    stable_window_s: float = 60
    panic_window_s: float = 6
    scale_down_delay_s: float = 0
    """A lower scale is taken only after it has been wanted for this long."""
    activation_scale: int = 1
    """The least number of instances when starting from zero; 1 = no rule."""
    reachable: bool = True
    """Whether traffic is routed to the revision: if not, it may fall to zero in one step."""

    def __post_init__(self) -> None:
        """Refuse numbers that the rules cannot divide by or index with."""
        for name in ("target_value", "max_scale_up_rate", "max_scale_down_rate", "stable_window_s", "panic_window_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected more than 0")
        if self.aggregation not in ("linear", "weighted-exponential"):
            raise ValueError(f"aggregation is {self.aggregation!r}; expected linear or weighted-exponential")

    @property
    def rules(self) -> ScaleRules:
        """Return the numbers that a decision needs."""
        return ScaleRules(
            target_value=float(self.target_value),
            total_value=float(self.total_value),
            target_burst_capacity=float(self.target_burst_capacity),
            panic_threshold=float(self.panic_threshold),
            max_scale_up_rate=float(self.max_scale_up_rate),
            max_scale_down_rate=float(self.max_scale_down_rate),
            stable_window_s=float(self.stable_window_s),
            activation_scale=self.activation_scale,
            reachable=self.reachable,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """Tell what the autoscaler wants now; nothing but the averages holds where ``valid`` is False (no data)."""

    valid: bool
    desired: int
    excess_burst_capacity: int
    panicking: bool
    stable: float
    """Average over the stable window, all instances together."""
    panic: float
    """Average over the panic window, all instances together."""


class Autoscaler:
    """Keep the windows and the panic state of one revision.

    Starting with more than one ready instance (a restarted service) it starts in panic, so that it keeps them until a
    stable window of data has come in.
    """

    __slots__ = ("_delay", "_panic", "_panic_window", "_rules", "_stable_window")

    def __init__(self, settings: AutoscalerSettings, *, ready: int = 1, now_s: float = 0.0) -> None:
        weighted = settings.aggregation == "weighted-exponential"
        self._rules = settings.rules
        self._stable_window = Window(settings.stable_window_s, weighted=weighted)
        self._panic_window = Window(settings.panic_window_s, weighted=weighted)
        self._panic = PanicState(now_s if ready > 1 else float(NEVER), ready)
        delayed = settings.reachable and settings.scale_down_delay_s > 0
        self._delay = MaximumWindow(settings.scale_down_delay_s, TICK_S) if delayed else None

    @property
    def panicking(self) -> bool:
        """Tell whether the last decision was taken in panic."""
        return self._panic.since_s != NEVER

    def record(self, now_s: float, value: float) -> None:
        """Add one second's load, summed over the instances and the router; values in the same second add up."""
        self._stable_window.record(now_s, value)
        self._panic_window.record(now_s, value)

    def decide(self, now_s: float, ready: int) -> Decision:
        """Decide for now, given the number of ready instances."""
        load = Load(self._stable_window.average(now_s), self._panic_window.average(now_s))
        if self._stable_window.is_empty(now_s):
            return Decision(False, 0, 0, self.panicking, load.stable, load.panic)
        desired, excess, self._panic = decide(load, ready, now_s, self._panic, self._rules)
        if self._delay is not None:
            desired = self._delay.record(now_s, desired)
        return Decision(True, desired, excess, self.panicking, load.stable, load.panic)


def for_function(
    concurrency: int = 0,
    target: float | None = None,
    utilization: float = 0.7,
    window_s: float = 60,
    panic_share: float = 0.1,
) -> AutoscalerSettings:
    """Return the settings of a function scaled by concurrency, with Knative's clamps.

    The total is the concurrency limit, or 100 without one; a target replaces it, but never exceeds the limit. The
    panic window is ``panic_share`` of the stable window in whole seconds, at least one.
    """
    total = float(concurrency) if concurrency > 0 else _TARGET_DEFAULT
    if target is not None:
        total = min(target, float(concurrency)) if concurrency > 0 else float(target)
    return AutoscalerSettings(
        total_value=total,
        target_value=max(_TARGET_FLOOR, total * utilization),
        stable_window_s=window_s,
        panic_window_s=max(1, math.floor(window_s * panic_share + 0.5)),
    )
