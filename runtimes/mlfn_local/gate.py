"""One revision's gate: who may go to which instance now, who waits, who is refused. It knows no HTTP.

The rules are those of Knative's activator and queue-proxy: requests wait while no instance is ready (10,000 at most);
with a concurrency limit each ready instance has at most that many, and ten times as many wait; the choice among
instances is ``mlfn_policies.choose``. Waiting counts as concurrency. All calls come from the event loop's thread.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mlfn_local.records import FunctionSettings
from mlfn_policies.choose import choose_instance
from mlfn_policies.concurrency import ConcurrencyMeter

if TYPE_CHECKING:
    from mlfn_local.upstream import Target

__all__ = ["COLD_QUEUE", "QUEUE_PER_SLOT", "Blocked", "Gate", "GateOwner", "Waiter"]

COLD_QUEUE = 10_000
"""Requests held while no instance is ready."""
QUEUE_PER_SLOT = 10
"""Requests that wait for each place of a ready instance with a concurrency limit."""


class Waiter(Protocol):
    """What passes a gate: one request."""

    def begin(self, target: Target) -> None:
        """Go to ``target``, where a place is held until ``leave``."""

    def refuse(self, status: int, message: str, retry_after_s: int | None) -> None:
        """Do not go; the gate has forgotten the waiter already."""

    def expire(self) -> None:
        """Hear that the time for the request is over; leave."""


class GateOwner(Protocol):
    """Who starts and stops the instances behind a gate."""

    def poke(self) -> None:
        """Hear of a request that found no ready instance."""

    def unreachable(self, instance: str) -> None:
        """Hear that an instance does not accept connections."""

    def idle(self, instance: str) -> None:
        """Hear that a draining instance has finished its last request."""


class Blocked:
    """Say why no instance can be had, and when the next one is tried."""

    def __init__(self, message: str, until_s: float) -> None:
        self.message = message
        self.until_s = until_s


class Gate:
    """Hold the ready instances of a revision and the requests that want one."""

    def __init__(
        self,
        revision: str,
        settings: FunctionSettings,
        owner: GateOwner,
        meter: ConcurrencyMeter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.revision = revision
        self.timeout_s = settings.timeout_s
        self._concurrency = settings.concurrency
        self._owner = owner
        self._meter = meter
        self._clock = clock
        self._targets: list[Target] = []
        self._draining: dict[str, Target] = {}
        self._cursor = 0
        self._queue: OrderedDict[Waiter, None] = OrderedDict()
        self._deadlines: OrderedDict[Waiter, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._blocked: Blocked | None = None

    @property
    def ready(self) -> int:
        """Return the number of instances that take requests."""
        return len(self._targets)

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait."""
        return len(self._queue)

    @property
    def active(self) -> int:
        """Return the number of requests that wait or run."""
        return len(self._deadlines)

    def in_flight(self, instance: str) -> int:
        """Return the number of requests at one instance."""
        for target in (*self._targets, *self._draining.values()):
            if target.instance == instance:
                return target.in_flight
        return 0

    # -- requests -----------------------------------------------------------------------------------------------------

    def enter(self, waiter: Waiter) -> None:
        """Let a request go, wait, or refuse it."""
        # First come, first served: nobody passes those that wait for a place.
        target = None if self._queue else self._free()
        if target is None and not self._admits(waiter):
            return
        self._meter.change(self._clock(), 1)
        self._deadlines[waiter] = time.monotonic() + self.timeout_s
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.timeout_s, self._expire)
        if target is not None:
            target.in_flight += 1
            waiter.begin(target)
            return
        self._queue[waiter] = None
        if not self._targets:
            self._owner.poke()

    def leave(self, waiter: Waiter, target: Target | None) -> None:
        """Forget a request; its place at ``target`` goes to the next that waits."""
        if self._deadlines.pop(waiter, None) is None:
            return
        self._meter.change(self._clock(), -1)
        if target is None:
            self._queue.pop(waiter, None)
        else:
            self._vacate(target)

    def again(self, waiter: Waiter, target: Target, *, unreachable: bool) -> None:
        """Take a request back that could not be sent to ``target``, and let it go elsewhere, before all others."""
        if waiter not in self._deadlines:
            return
        self._queue[waiter] = None
        self._queue.move_to_end(waiter, last=False)
        if unreachable:
            self.remove(target.instance)
            self._owner.unreachable(target.instance)
        self._vacate(target)
        if not self._targets and waiter in self._queue:
            self._owner.poke()

    def _vacate(self, target: Target) -> None:
        target.in_flight -= 1
        if target.in_flight == 0 and target.instance in self._draining:
            del self._draining[target.instance]
            target.close()
            self._owner.idle(target.instance)
        if self._queue:
            self._pump()

    def _admits(self, waiter: Waiter) -> bool:
        waiting = len(self._queue)
        if self._targets:
            limit = QUEUE_PER_SLOT * self._concurrency * len(self._targets)
            if waiting >= limit:
                waiter.refuse(503, f"{waiting} requests wait for {self.revision} already, at most {limit} may", 1)
                return False
            return True
        if self._blocked is not None:
            wait_s = self._blocked.until_s - time.monotonic()
            if wait_s > 0:
                waiter.refuse(503, self._blocked.message, max(1, math.ceil(wait_s)))
                return False
        if waiting >= COLD_QUEUE:
            waiter.refuse(503, f"{waiting} requests wait for an instance of {self.revision} to start", 1)
            return False
        return True

    def _free(self) -> Target | None:
        targets = self._targets
        if self._concurrency == 0 and len(targets) == 1:
            return targets[0]
        index = choose_instance(
            [target.in_flight for target in targets],
            self._concurrency,
            self._cursor,
            random.random(),  # noqa: S311  spreading load needs no secret
            random.random(),  # noqa: S311
        )
        if index < 0:
            return None
        self._cursor = index + 1
        return targets[index]

    def _pump(self) -> None:
        while self._queue:
            target = self._free()
            if target is None:
                return
            waiter, _ = self._queue.popitem(last=False)
            target.in_flight += 1
            waiter.begin(target)

    def _expire(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._deadlines:
            waiter, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                self._timer = asyncio.get_running_loop().call_later(deadline - now, self._expire)
                return
            waiter.expire()
            assert waiter not in self._deadlines

    # -- instances ----------------------------------------------------------------------------------------------------

    def add(self, target: Target) -> None:
        """Take a ready instance in; those that wait go to it at once."""
        self._blocked = None
        self._targets.append(target)
        self._pump()

    def drain(self, instance: str) -> bool:
        """Send an instance no more requests; True when it has none now, else its owner hears when it is idle."""
        for target in self._targets:
            if target.instance == instance:
                self._targets.remove(target)
                if target.in_flight == 0:
                    target.close()
                    return True
                self._draining[instance] = target
                return False
        return instance not in self._draining

    def remove(self, instance: str) -> None:
        """Forget an instance that is gone; its requests learn it from their connections."""
        self._draining.pop(instance, None)
        for target in self._targets:
            if target.instance == instance:
                self._targets.remove(target)
                target.close()
                return

    def block(self, message: str, until_s: float) -> None:
        """Refuse those that wait and, until then (``time.monotonic``), those that come: no instance can be had."""
        if self._targets:
            return
        self._blocked = Blocked(message, until_s)
        retry_after_s = max(1, math.ceil(until_s - time.monotonic()))
        for waiter in list(self._queue):
            self.leave(waiter, None)
            waiter.refuse(503, message, retry_after_s)

    def close(self, message: str) -> None:
        """Refuse all that wait and stop the clock; nothing comes after this."""
        for waiter in list(self._queue):
            self.leave(waiter, None)
            waiter.refuse(503, message, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
