"""Turn what the autoscaler wants into what runs: bounds, the initial scale, and the way to zero.

Source: knative/serving ``pkg/reconciler/autoscaling/kpa`` (``scaler.go``, ``kpa.go``). A revision is *activating* until
as many instances are ready as it must start with, then *active*, and *inactive* once nothing is wanted of it:

- bounds: at least ``min_scale`` (until first reached also ``initial_scale``; nothing when unreachable), at most
  ``max_scale``;
- wanted 0 while activating: wait, give up after ``activation_timeout_s``;
- wanted 0 while active: one instance stays until active for a stable window, then the revision becomes inactive;
- wanted 0 while inactive: to zero after ``max(grace_s, retention_s)``, or sooner ("fast path") when ``retention_s`` has
  passed and the router has been in the path for ``grace_s``. On the local platform it always has been, so that a
  revision at its defaults falls to zero ``requeue_s`` after it became inactive.

:func:`step` is the machine as a plain function; :class:`RevisionScale` keeps its state and says why in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mlfn_policies.autoscale import AutoscalerSettings, Decision

__all__ = [
    "Activity",
    "BoundRules",
    "Cause",
    "RevisionScale",
    "Scale",
    "ScaleSettings",
    "ScaleState",
    "apply_bounds",
    "step",
]

UNKNOWN = -1
"""What is wanted before the first valid decision."""


class Activity(IntEnum):
    """Where a revision stands (the ``Active`` condition: Unknown, True, False)."""

    ACTIVATING = 0
    ACTIVE = 1
    INACTIVE = 2


class Cause(IntEnum):
    """Why a step ended as it did; :class:`RevisionScale` words it."""

    NO_DATA = 0
    WANTED = 1
    AT_LEAST = 2
    AT_MOST = 3
    NEVER_ZERO = 4
    STILL_ACTIVATING = 5
    NOT_ACTIVATED = 6
    ACTIVE_TOO_SHORTLY = 7
    DEACTIVATED = 8
    KEPT = 9
    IDLE = 10


class BoundRules(NamedTuple):
    """Hold the numbers that :func:`step` needs; the meaning is that of :class:`ScaleSettings`."""

    min_scale: int
    max_scale: int
    initial_scale: int
    window_s: float
    grace_s: float
    retention_s: float
    activation_timeout_s: float
    requeue_s: float
    to_zero: bool
    reachable: bool


class ScaleState(NamedTuple):
    """Remember one revision between two steps."""

    replicas: int
    """Instances that were asked for last."""
    wanted: int
    """The last valid decision; -1 before the first."""
    activity: Activity
    since_s: float
    """Since when ``activity`` holds."""
    proxied_since_s: float
    """Since when the router has been in the request path."""
    reached: bool
    """Whether the initial scale was once ready."""


def apply_bounds(minimum: int, maximum: int, wanted: int) -> int:
    """Clamp to the bounds; a maximum of 0 is none."""
    if wanted < minimum:
        return minimum
    if maximum != 0 and wanted > maximum:
        return maximum
    return wanted


def step(state: ScaleState, wanted: int, ready: int, now_s: float, rules: BoundRules) -> tuple[ScaleState, Cause]:
    """Apply one decision (-1: none yet) and return the new state with its cause."""
    least = _least(state.reached, rules)
    want, keep, cause = UNKNOWN, True, Cause.NO_DATA
    if wanted != UNKNOWN or state.activity == Activity.ACTIVATING:
        want = apply_bounds(least, rules.max_scale, wanted)
        keep = False
        cause = Cause.WANTED if want == wanted else Cause.AT_LEAST if want > wanted else Cause.AT_MOST
        if want == 0:
            want, keep, cause = _towards_zero(state, now_s, rules)
    activity, reached = _activity(state, want, ready, rules)
    return (
        ScaleState(
            replicas=state.replicas if keep else want,
            wanted=wanted,
            activity=activity,
            since_s=state.since_s if activity == state.activity else now_s,
            proxied_since_s=state.proxied_since_s,
            reached=reached,
        ),
        cause,
    )


def _least(reached: bool, rules: BoundRules) -> int:
    """Return the lower bound now. An initial scale of 1 is no bound: a revision that nobody calls may go to zero."""
    if not rules.reachable:
        return 0
    if not reached and rules.initial_scale > 1:
        return max(rules.min_scale, rules.initial_scale)
    return rules.min_scale


def _towards_zero(state: ScaleState, now_s: float, rules: BoundRules) -> tuple[int, bool, Cause]:
    """Return (want, whether the replicas stay as they are, cause) where the bounded wish is 0."""
    if not rules.to_zero:
        return 1, False, Cause.NEVER_ZERO
    for_s = now_s - state.since_s
    if state.activity == Activity.ACTIVATING:
        if for_s > rules.activation_timeout_s:
            return 0, False, Cause.NOT_ACTIVATED
        return UNKNOWN, True, Cause.STILL_ACTIVATING
    if state.activity == Activity.ACTIVE:
        if for_s >= rules.window_s:
            return 0, True, Cause.DEACTIVATED
        return 1, False, Cause.ACTIVE_TOO_SHORTLY
    retention_s = rules.retention_s if rules.reachable else 0.0
    if for_s >= max(rules.grace_s, retention_s):
        return 0, False, Cause.IDLE
    if for_s < max(retention_s, rules.requeue_s) or now_s - state.proxied_since_s < rules.grace_s:
        return 0, True, Cause.KEPT
    return 0, False, Cause.IDLE


def _activity(state: ScaleState, want: int, ready: int, rules: BoundRules) -> tuple[Activity, bool]:
    """Return the new activity, and whether the initial scale has been reached."""
    minimum = rules.min_scale if rules.reachable else 0
    needed = max(minimum, 1 if state.reached else rules.initial_scale)
    reached = state.reached or ready >= needed
    if want == 0 or needed == 0:
        return Activity.INACTIVE, reached
    if want == UNKNOWN and state.activity == Activity.INACTIVE:
        return Activity.INACTIVE, reached
    return (Activity.ACTIVE if ready >= needed else Activity.ACTIVATING), reached


@dataclass(frozen=True, slots=True)
class ScaleSettings:
    """Say between which bounds a revision scales and how it goes to zero. The defaults are Knative's."""

    min_scale: int = 0
    max_scale: int = 0
    """0 = no bound."""
    initial_scale: int = 1
    """Instances to start with; 0 = wait for the first request."""
    to_zero: bool = True
    """False keeps one instance whatever happens (enable-scale-to-zero)."""
    grace_s: float = 30.0
    """Time that the router must have been in the path before the last instance goes (scale-to-zero-grace-period)."""
    retention_s: float = 0.0
    """The least time that the last instance stays after traffic ended (scale-to-zero-pod-retention-period)."""
    activation_timeout_s: float = 630.0
    """When to give up on instances that nobody waits for (progress deadline and 30 s)."""
    requeue_s: float = 3.0
    """The pause between becoming inactive and going to zero."""

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other."""
        if self.min_scale < 0 or self.max_scale < 0 or self.initial_scale < 0:
            raise ValueError(f"negative scale in {self}; expected 0 or more")
        if 0 < self.max_scale < self.min_scale:
            raise ValueError(f"min_scale {self.min_scale} is above max_scale {self.max_scale}")

    def rules(self, window_s: float, *, reachable: bool) -> BoundRules:
        """Return the numbers that a step needs; an initial scale above the maximum means the maximum."""
        return BoundRules(
            min_scale=self.min_scale,
            max_scale=self.max_scale,
            initial_scale=apply_bounds(0, self.max_scale, self.initial_scale),
            window_s=window_s,
            grace_s=self.grace_s,
            retention_s=self.retention_s,
            activation_timeout_s=self.activation_timeout_s,
            requeue_s=self.requeue_s,
            to_zero=self.to_zero,
            reachable=reachable,
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """Tell how many instances should run, and why: a part of a sentence for people."""

    desired: int
    reason: str
    changed: bool
    """Whether ``desired`` differs from the answer before."""
    activity: Activity


class RevisionScale:
    """Keep the scale of one revision.

    Call :meth:`apply` on every tick of the autoscaler. Record a value there for each second in which an instance is
    ready or a request waits (0 counts): at zero and without requests nothing is recorded, and the last decision stands.
    """

    __slots__ = ("_autoscaler", "_decision", "_reason", "_rules", "_state")

    def __init__(
        self,
        settings: ScaleSettings,
        autoscaler: AutoscalerSettings,
        now_s: float,
        *,
        resumed_with: int | None = None,
        proxied_since_s: float | None = None,
    ) -> None:
        """Start a new revision at its initial scale, or resume one that was already up with so many instances.

        The router is in the request path since ``proxied_since_s``, or from now on.
        """
        self._autoscaler = autoscaler
        self._rules = settings.rules(autoscaler.stable_window_s, reachable=autoscaler.reachable)
        self._decision: Decision | None = None
        reached = resumed_with is not None
        replicas = max(
            _least(reached, self._rules), self._rules.initial_scale if resumed_with is None else resumed_with
        )
        replicas = apply_bounds(0, self._rules.max_scale, replicas)
        activity = Activity.ACTIVATING if replicas else Activity.INACTIVE
        proxied = now_s if proxied_since_s is None else proxied_since_s
        self._state = ScaleState(replicas, UNKNOWN, activity, now_s, proxied, reached)
        self._reason = "resumed" if reached else f"initial scale {replicas}"

    @property
    def scale(self) -> Scale:
        """Return the answer of the last :meth:`apply`, unchanged; at first the scale to begin with."""
        return Scale(self._state.replicas, self._reason, False, self._state.activity)

    def apply(self, now_s: float, decision: Decision | None, ready: int) -> Scale:
        """Take a decision (None or invalid: the last valid one stands) and return the scale to run at."""
        before = self._state
        wanted = before.wanted
        if decision is not None and decision.valid:
            self._decision = decision
            wanted = decision.desired
        self._state, cause = step(before, wanted, ready, now_s, self._rules)
        changed = self._state.replicas != before.replicas
        if changed:
            self._reason = self._why(cause, before)
        return Scale(self._state.replicas, self._reason, changed, self._state.activity)

    def _why(self, cause: Cause, before: ScaleState) -> str:
        rules = self._rules
        if cause == Cause.AT_LEAST:
            if _least(before.reached, rules) > rules.min_scale:
                return f"initial scale {rules.initial_scale}"
            return f"min-scale {rules.min_scale}"
        if cause == Cause.AT_MOST:
            return f"{self._load()}; max-scale {rules.max_scale}"
        if cause == Cause.NEVER_ZERO:
            return f"no traffic for {rules.window_s:g} s; scale to zero is off"
        if cause == Cause.NOT_ACTIVATED:
            return f"not ready within {rules.activation_timeout_s:g} s, and nobody waits for it"
        if cause == Cause.ACTIVE_TOO_SHORTLY:
            return f"no traffic; the last instance stays until active for {rules.window_s:g} s"
        if cause == Cause.IDLE:
            return f"no traffic for {rules.window_s:g} s"
        return self._load()

    def _load(self) -> str:
        """Say what the last decision saw."""
        decision, settings = self._decision, self._autoscaler
        if decision is None:
            return "nothing measured yet"
        unit = "requests per second" if settings.metric == "rps" else "concurrent"
        target = f"against {settings.target_value:g} per instance"
        if decision.panicking and decision.panic > decision.stable:
            return f"panic: {decision.panic:.3g} {unit} over {settings.panic_window_s:g} s {target}"
        return f"{decision.stable:.3g} {unit} over {settings.stable_window_s:g} s {target}"
