"""Replay what a recorded OpenWhisk invoker did with calls: which share a container, which wait, which containers go.

A recording is a list of ``{server, name, trace, …}``: ``calls`` sent together (``sent_ms``, ``params``) with the joint
trace of the containers, or a trace alone that fills the pool. A decision is how many calls each container of
a record served (the containers sorted by it, since their starts race), or the containers that were destroyed for room,
in their order. The times that are not the rules' own are nominal: they order what happens, and nothing is compared
with them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from mlfn_policies import openwhisk_pool as pool
from mlfn_sim.agreement_values import Case
from mlfn_sim.recordings import Item, Recording

__all__ = ["NAME", "compare", "recognises"]

NAME = "openwhisk-invoker"

_POOL_MB = 1024
_START_MS = 500.0
_BRIEF_MS = 2.0
_LOGS_MS = 70.0
_BETWEEN_MS = 4000.0


@dataclass(slots=True)
class _Container:
    """One container of the replayed pool."""

    action: str
    memory_mb: int
    limit: int
    stage: int = pool.STARTING
    active: int = 0
    last_used_us: int = 0
    served: int = 0
    ready_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: when it was sent, how long it runs, and whether its container lives on."""

    action: str
    sent_ms: float
    runs_ms: float
    keeps: bool
    memory_mb: int
    limit: int


@dataclass(slots=True)
class _Pool:
    """The containers of one server, over all of its records."""

    containers: list[_Container] = field(default_factory=list)
    waiting: list[_Call] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)
    gone: list[_Container] = field(default_factory=list)
    """Containers that a failed call has ended."""
    now_ms: float = 0.0

    def place(self, call: _Call) -> _Container | None:
        """Return the container of a call by the pool's rules; None: it waits."""
        held = self.containers
        names = {
            action: number for number, action in enumerate(dict.fromkeys([c.action for c in held] + [call.action]))
        }
        at = pool.find_warm(
            [each.stage for each in held],
            [names[each.action] for each in held],
            [0 for _ in held],
            [each.limit - each.active for each in held],
            (names[call.action], 0),
        )
        if at != pool.COLD:
            return held[at]
        used_mb = sum(each.memory_mb for each in held)
        if not pool.fits(used_mb, call.memory_mb, _POOL_MB):
            chosen = pool.to_evict(
                [each.stage for each in held],
                [each.active for each in held],
                [each.memory_mb for each in held],
                [each.last_used_us for each in held],
                call.memory_mb,
            )
            if not chosen:
                return None
            self.evicted += [held[i].action for i in chosen]
            self.containers = held = [each for i, each in enumerate(held) if i not in chosen]
        made = _Container(call.action, call.memory_mb, call.limit, ready_ms=self.now_ms + _START_MS)
        held.append(made)
        return made


def recognises(document: object) -> bool:
    """Tell whether a document looks like this kind: a list whose first object has a server and a trace."""
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        return False
    first = document[0]
    return "server" in first and "trace" in first and "exchanges" not in first and "api" not in first


def compare(recording: Recording) -> Iterator[Case]:
    """Replay every record, one case each. Raises RecordingError."""
    document = recording.document
    assert isinstance(document, list)  # recognises() said so
    pools: dict[str, _Pool] = {}
    for i, value in enumerate(document):
        item = Item(recording.path, f"item {i}", value)
        held = pools.setdefault(item.text("server"), _Pool())
        assert isinstance(value, dict)
        if "calls" in value:
            yield _together(item, held)
        elif "action" not in value:
            yield _filled(item)


def _together(item: Item, held: _Pool) -> Case:
    action = Item(item.path, f"{item.where} action", item.value("action"))
    name = action.text("name")
    known = next((each for each in held.containers if each.action == name), None)
    given = action.document.get("concurrency")
    limit = given if isinstance(given, int) else (known.limit if known else 1)
    calls = [
        _read_call(Item(item.path, f"{item.where} call {i}", call), name, limit)
        for i, call in enumerate(item.items("calls"))
    ]
    if len(calls) > _POOL_MB // calls[0].memory_mb:
        held = _Pool()  # the recorder began with an empty one
    held.gone.clear()
    for each in held.containers:
        each.served = 0
    _run(held, sorted(calls, key=lambda call: call.sent_ms))
    ours = sorted(each.served for each in held.containers + held.gone if each.action == name and each.served)
    real = sorted(_runs(item).values())
    held.now_ms += _BETWEEN_MS
    return _case(item, "calls by container", real, ours)


def _filled(item: Item) -> Case:
    """Replay calls one after the other, as the trace's containers came, and compare what was destroyed for room."""
    order: list[str] = []
    memory: dict[str, int] = {}
    killed: list[str] = []
    for event in item.items("trace"):
        assert isinstance(event, dict)
        name = str(event.get("name", ""))
        if event.get("event") == "docker create":
            order.append(name)
            memory[name] = 256 if name.endswith("ev8") else 128
        elif event.get("event") == "docker kill":
            killed.append(name)
    held = _Pool()
    for name in order:
        _run(held, [_Call(name, held.now_ms, _BRIEF_MS, True, memory[name], 1)])
        held.now_ms += _BETWEEN_MS
    return _case(item, "containers destroyed for room", killed, held.evicted)


def _run(held: _Pool, calls: list[_Call]) -> None:
    """Run calls to their ends on one pool."""
    start_ms = held.now_ms
    order = 0
    events: list[tuple[float, int, _Call, _Container | None]] = []
    for call in calls:
        heapq.heappush(events, (start_ms + call.sent_ms, order, call, None))
        order += 1
    while events:
        held.now_ms, _, call, container = heapq.heappop(events)
        if container is None:
            held.waiting.append(call)
        else:
            container.active -= 1
            container.stage = container.stage if call.keeps else pool.LEAVING
            if container.stage == pool.LEAVING and not container.active and container in held.containers:
                held.containers.remove(container)
                held.gone.append(container)
        while held.waiting:
            chosen = held.place(held.waiting[0])
            if chosen is None:
                break
            taken = held.waiting.pop(0)
            chosen.active += 1
            chosen.served += 1
            chosen.last_used_us = int(held.now_ms * 1000)
            begin_ms = max(held.now_ms, chosen.ready_ms)
            if chosen.stage == pool.STARTING:
                chosen.stage = pool.WARM
            heapq.heappush(events, (begin_ms + taken.runs_ms + _LOGS_MS, order, taken, chosen))
            order += 1


def _read_call(item: Item, action: str, limit: int) -> _Call:
    params = item.value("params")
    mode = params.get("mode") if isinstance(params, dict) else None
    seconds = params.get("s", 0) if isinstance(params, dict) else 0
    keeps = not str(mode).startswith("http")
    runs_ms = float(seconds) * 1000 if mode == "sleep" else _BRIEF_MS
    return _Call(action, item.number("sent_ms"), runs_ms, keeps, 128, limit)


def _runs(item: Item) -> dict[str, int]:
    """Return how many calls each recorded container was asked to run."""
    counted: dict[str, int] = {}
    for event in item.items("trace"):
        if isinstance(event, dict) and event.get("event") == "request" and event.get("path") == "/run":
            container = str(event.get("container"))
            counted[container] = counted.get(container, 0) + 1
    return counted


def _case(item: Item, field_name: str, recorded: object, ours: object) -> Case:
    if recorded == ours:
        return Case(1, 1)
    place = {"record": item.text("name"), "field": field_name, "recorded": recorded, "ours": ours}
    return Case(1, 0, first_difference=place)
