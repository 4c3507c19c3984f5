"""The scheduler's queue: which pod is tried next, and when a rejected one is tried again.

Pods lie in one of three places: *active* (by priority, then by when they came), *backing off* (by when that ends), and
*unschedulable* (until something happens that may help them). Source: kubernetes v1.34,
``pkg/scheduler/backend/queue``. The queue reads no clock and plans no events: time is an argument.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mlfn_policies import kube_queue as rules
from mlfn_sim.kube.hints import Forced, HappenedEvent, NominationGone, is_worth
from mlfn_sim.kube.objects import PodShape

__all__ = ["Place", "QueueSettings", "QueuedPod", "SchedulingQueue"]


class Place(StrEnum):
    """Say where the queue holds a pod."""

    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    IN_FLIGHT = "in flight"
    """In a scheduling or binding cycle."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Say how long back-offs last. The defaults are those of kube-scheduler."""

    initial_backoff_us: int = 1_000_000
    max_backoff_us: int = 10_000_000
    pops_from_backoff: bool = True
    """Take pods out of their back-off while nothing else is to do (on since 1.33), with ends cut to whole seconds."""

    @property
    def window_us(self) -> int:
        """Return what ends of back-offs are cut to."""
        return rules.WINDOW_US if self.pops_from_backoff else 1


@dataclass(slots=True, eq=False)
class QueuedPod:
    """Hold what the queue knows of one pod."""

    pod: int
    """The caller's number."""
    shape: PodShape
    since_us: int
    """When it last entered; ties of priority go to the earlier one."""
    attempts: int = 0
    failures: int = 0
    """Attempts that ended with no node."""
    errors: int = 0
    """Errors in a row."""
    rejectors: frozenset[str] = frozenset()
    """The filters that rejected it last; empty after an error."""
    gated: bool = False
    """Kept out by scheduling gates, or by its own preemption that has not ended."""
    place: Place = Place.GONE
    ends_us: int = -1
    """When its back-off ends, aligned; -1 = it has none."""
    _entry: int = field(default=-1, repr=False)
    """The heap entry that counts; others of this pod are stale."""
    _seen: int = field(default=0, repr=False)
    """Where the events of its own cycle begin."""


_Entry = tuple[tuple[int, ...], int, QueuedPod]


class SchedulingQueue:
    """Hold the pods that wait for a node."""

    def __init__(
        self,
        settings: QueueSettings | None = None,
        worth: Callable[[PodShape, frozenset[str], HappenedEvent], bool] = is_worth,
    ) -> None:
        self.settings = settings or QueueSettings()
        self._worth = worth
        self._active: list[_Entry] = []
        self._backoff: list[_Entry] = []
        self._error_backoff: list[_Entry] = []
        self._unschedulable: dict[int, QueuedPod] = {}
        self._in_flight: dict[int, QueuedPod] = {}
        self._events: list[HappenedEvent] = []
        """Since the oldest pod in flight was popped; kept while any is in flight."""
        self._forgotten = 0
        """Events dropped from the front of that list."""
        self._entries = 0

    def add(self, pod: int, shape: PodShape, now_us: int, *, gated: bool = False) -> QueuedPod:
        """Take a new pod in."""
        queued = QueuedPod(pod, shape, now_us, gated=gated)
        self._to_active(queued)
        return queued

    def pop(self) -> QueuedPod | None:
        """Return the next pod to try, None when there is none; it is in flight until :meth:`done` or given back."""
        queued = self._take(self._active)
        if queued is None and self.settings.pops_from_backoff:
            queued = self._take(self._backoff)
        if queued is None:
            return None
        queued.attempts += 1
        queued.rejectors = frozenset()
        queued.place = Place.IN_FLIGHT
        queued._seen = self._forgotten + len(self._events)
        self._in_flight[queued.pod] = queued
        return queued

    def done(self, queued: QueuedPod) -> None:
        """Forget a pod that is bound or deleted."""
        self._leave(queued)
        queued.place = Place.GONE

    def give_back(self, queued: QueuedPod, rejectors: Iterable[str], now_us: int) -> Place:
        """Take back a pod that found no node (``rejectors`` name the filters) or met an error (there are none)."""
        queued.rejectors = frozenset(rejectors)
        if queued.rejectors:
            queued.failures += 1
            queued.errors = 0
        else:
            queued.errors += 1
        queued.since_us = now_us
        self._set_end(queued)
        meanwhile = self._events[queued._seen - self._forgotten :]
        self._leave(queued)
        if not queued.rejectors or any(self._worth(queued.shape, queued.rejectors, each) for each in meanwhile):
            self._requeue(queued, now_us)
        else:
            self._to_unschedulable(queued)
        return queued.place

    def happened(self, event: HappenedEvent, now_us: int, pod: int = -1) -> tuple[QueuedPod, ...]:
        """Move the unschedulable pods that an event may help, and return them; ``pod`` is the one it is about."""
        if isinstance(event, NominationGone):
            # A node is kept free from pods that are no more important only; those alone are asked about.
            most = event.shape.priority
            own = self._unschedulable.get(pod)
            moved = self._move((own,) if own else (), replace(event, own=True), now_us)
            others = [each for each in self._unschedulable.values() if each is not own and each.shape.priority <= most]
            moved += self._move(others, event, now_us)
        else:
            moved = self._move(tuple(self._unschedulable.values()), event, now_us)
        self._note(event)
        return moved

    def flush_backoff(self, now_us: int) -> tuple[QueuedPod, ...]:
        """Move the pods whose back-off has ended to the active ones; to be called once a second."""
        moved: list[QueuedPod] = []
        for heap in (self._backoff, self._error_backoff):
            while (first := self._first(heap)) is not None and not self._is_backing_off(first, now_us):
                self._take(heap)
                moved.append(first)
                self._to_active(first)
        return tuple(moved)

    def flush_leftover(self, now_us: int) -> tuple[QueuedPod, ...]:
        """Try again the pods that have been unschedulable for too long; to be called every 30 s."""
        old = tuple(each for each in self._unschedulable.values() if rules.is_left_over(each.since_us, now_us))
        if not old:
            return ()
        self._note(Forced())
        return self._move(old, Forced(), now_us)

    def remove(self, queued: QueuedPod) -> None:
        """Forget a pod that was deleted while it waited."""
        self._unschedulable.pop(queued.pod, None)
        self._leave(queued)
        queued._entry = -1
        queued.place = Place.GONE

    def ungate(self, queued: QueuedPod, now_us: int) -> Place:
        """Let a pod in whose gates were removed."""
        queued.gated = False
        if queued.place is Place.UNSCHEDULABLE:
            del self._unschedulable[queued.pod]
            self._requeue(queued, now_us)
        return queued.place

    def waiting(self) -> Iterator[QueuedPod]:
        """Return the pods that wait, wherever they are, in no order."""
        yield from self._unschedulable.values()
        for heap in (self._active, self._backoff, self._error_backoff):
            yield from (queued for _, entry, queued in heap if queued._entry == entry)

    def has_flushable(self) -> bool:
        """Tell whether a flush of the back-offs, now or later, has anything to move."""
        return self._first(self._backoff) is not None or self._first(self._error_backoff) is not None

    def has_unschedulable(self) -> bool:
        """Tell whether any pod waits for something to happen."""
        return any(not queued.gated for queued in self._unschedulable.values())

    def _note(self, event: HappenedEvent) -> None:
        """Keep an event for the pods that are in flight."""
        if self._in_flight:
            self._events.append(event)

    # -- moving --

    def _move(self, pods: Iterable[QueuedPod], event: HappenedEvent, now_us: int) -> tuple[QueuedPod, ...]:
        moved = []
        for queued in pods:
            if queued.gated or not self._worth(queued.shape, queued.rejectors, event):
                continue
            del self._unschedulable[queued.pod]
            self._requeue(queued, now_us)
            moved.append(queued)
        return tuple(moved)

    def _requeue(self, queued: QueuedPod, now_us: int) -> None:
        if queued.gated:
            self._to_unschedulable(queued)
        elif self._is_backing_off(queued, now_us):
            queued.place = Place.BACKOFF
            priority_order = (-queued.shape.priority, queued.since_us) if self.settings.pops_from_backoff else ()
            if queued.rejectors:
                self._push(self._backoff, (queued.ends_us, *priority_order), queued)
            else:
                self._push(self._error_backoff, (queued.ends_us,), queued)
        else:
            self._to_active(queued)

    def _to_active(self, queued: QueuedPod) -> None:
        if queued.gated:
            self._to_unschedulable(queued)
            return
        queued.place = Place.ACTIVE
        self._push(self._active, (-queued.shape.priority, queued.since_us), queued)

    def _to_unschedulable(self, queued: QueuedPod) -> None:
        queued.place = Place.UNSCHEDULABLE
        self._unschedulable[queued.pod] = queued

    def _set_end(self, queued: QueuedPod) -> None:
        settings = self.settings
        ends = rules.expiry_us(
            queued.since_us, queued.failures, queued.errors, settings.initial_backoff_us, settings.max_backoff_us
        )
        queued.ends_us = rules.aligned(ends, settings.window_us) if ends >= 0 else -1

    def _is_backing_off(self, queued: QueuedPod, now_us: int) -> bool:
        return rules.is_backing_off(queued.ends_us, now_us, self.settings.window_us)

    def _leave(self, queued: QueuedPod) -> None:
        if self._in_flight.pop(queued.pod, None) is None:
            return
        # Events are kept from the oldest flight on. Pods leave flight about in the order in which they entered it.
        oldest = next(iter(self._in_flight.values()), None)
        keep = oldest._seen if oldest is not None else self._forgotten + len(self._events)
        del self._events[: keep - self._forgotten]
        self._forgotten = keep

    # -- heaps, with stale entries left in place --

    def _push(self, heap: list[_Entry], key: tuple[int, ...], queued: QueuedPod) -> None:
        self._entries += 1
        queued._entry = self._entries
        heapq.heappush(heap, (key, self._entries, queued))

    def _first(self, heap: list[_Entry]) -> QueuedPod | None:
        while heap:
            _, entry, queued = heap[0]
            if queued._entry == entry:
                return queued
            heapq.heappop(heap)
        return None

    def _take(self, heap: list[_Entry]) -> QueuedPod | None:
        queued = self._first(heap)
        if queued is not None:
            heapq.heappop(heap)
            queued._entry = -1
        return queued
