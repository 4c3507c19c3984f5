"""Ping the functions that ask for it, through the router like anybody, so that the autoscaler keeps an instance.

:class:`PingSchedule` says which function is due and counts; it has no clock and sends nothing, so that a simulated day
runs through it. :class:`Pinger` sends what is due; one still on its way when the next is due stands for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from mlfn_local.records import FunctionRecord
from mlfn_runtime.ping import TIMEOUT_S, WARM_PATH, ping_headers

__all__ = ["PingCount", "PingSchedule", "Pinger", "period_of"]

_PERIOD = re.compile(r"([0-9]{1,6})s")


def period_of(warm: str) -> int:
    """Return the period of pings that a function's ``warm`` setting asks for, 0 for none."""
    match = _PERIOD.fullmatch(warm)
    return int(match[1]) if match else 0


@dataclass(slots=True)
class PingCount:
    """Count the pings of one function since the service started."""

    period_s: int
    due_s: float
    """When the next one is due, by the clock of the schedule."""
    sent: int = 0
    failed: int = 0
    last_at: float | None = None
    """Unix time of the last answer."""
    last_error: str = ""


class PingSchedule:
    """Say who is due. A function is due as soon as it is seen, then once in each of its periods."""

    def __init__(self) -> None:
        self._counts: dict[str, PingCount] = {}

    def due(self, now_s: float, periods: Mapping[str, int]) -> tuple[str, ...]:
        """Return the functions to ping now; ``periods`` names all that are to be pinged."""
        for name in self._counts.keys() - periods.keys():
            del self._counts[name]
        found = []
        for name, period_s in sorted(periods.items()):
            count = self._counts.get(name)
            if count is None or count.period_s != period_s:
                count = self._counts[name] = PingCount(period_s, now_s)
            if now_s >= count.due_s:
                count.due_s += period_s
                if count.due_s <= now_s:
                    # After a pause (a laptop that slept) what was missed is not made up for.
                    count.due_s = now_s + period_s
                found.append(name)
        return tuple(found)

    def count(self, name: str) -> PingCount | None:
        """Return what is counted of a function, None while it is not pinged."""
        return self._counts.get(name)

    def sent(self, name: str, at: float, error: str) -> None:
        """Note the outcome of a ping: ``error`` is "" for a good one."""
        count = self._counts.get(name)
        if count is not None:
            count.sent += 1
            count.failed += bool(error)
            count.last_at = at
            count.last_error = error or count.last_error


class Pinger:
    """Send what is due."""

    def __init__(self, port: Callable[[], int], clock: Callable[[], float]) -> None:
        """``port`` is the router's; ``clock`` the time that scale is decided by."""
        self._port = port
        self._clock = clock
        self._schedule = PingSchedule()
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def beat(self, records: Iterable[FunctionRecord]) -> None:
        """Ping whoever is due; called each second. Only what serves and may go to zero is pinged."""
        periods = {record.name: period_s for record in records if (period_s := _asked_of(record))}
        for name in self._schedule.due(self._clock(), periods):
            if name not in self._under_way:
                task = asyncio.get_running_loop().create_task(self._ping(name))
                self._under_way[name] = task
                task.add_done_callback(partial(self._done, name))

    def describe(self, record: FunctionRecord) -> dict[str, Any] | None:
        """Return what is counted of a function as JSON, None where it is not pinged."""
        period_s = _asked_of(record)
        if not period_s:
            return None
        told = asdict(self._schedule.count(record.name) or PingCount(period_s, 0.0))
        del told["due_s"]
        return told

    def _done(self, name: str, _: asyncio.Task[None]) -> None:
        del self._under_way[name]

    async def close(self) -> None:
        """Give up the pings that are under way."""
        tasks = tuple(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ping(self, name: str) -> None:
        at = time.time()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._send(name, f"{at:.6f}")
            error = "" if status < 400 else f"answered {status}"
        except TimeoutError:
            error = f"no answer within {TIMEOUT_S:g} s"
        except (OSError, ValueError) as failure:
            error = str(failure) or type(failure).__name__
        self._schedule.sent(name, at, error)

    async def _send(self, name: str, number: str) -> int:
        """Send one ping to the router and return the status of the answer. Raises OSError, ValueError."""
        port = self._port()
        lines = [f"POST /{name}{WARM_PATH} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        lines += [f"{key}: {value}" for key, value in ping_headers("mlfn/local", number).items()]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
            status = await reader.readline()
            await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if not status:
            raise ConnectionError("the router ended the connection")
        return int(status.split(maxsplit=2)[1])


def _asked_of(record: FunctionRecord) -> int:
    """Return the period at which a function is to be pinged: only what serves and may go to zero is."""
    serving = record.latest
    if serving is None or serving.settings.min_scale > 0:
        return 0
    return period_of(serving.settings.warm)
