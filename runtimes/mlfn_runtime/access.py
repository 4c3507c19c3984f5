"""What is kept of each answered request: its counts and one line of the log.

Called by every transport once per answer; in the path of every request, so written for speed: a line is formatted by
hand (1.5 us) instead of being built as a document (4 us).
"""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_left
from typing import TYPE_CHECKING

import orjson

from mlfn_runtime.counters import LATENCY_BOUNDS_S
from mlfn_runtime.trace import new_trace_ids, parse_traceparent

if TYPE_CHECKING:
    from mlfn_runtime.counters import Counters
    from mlfn_runtime.logs import JsonLog
    from mlfn_runtime.routes import Exchange

__all__ = ["Access"]

_TOKEN = re.compile(rb"[!#-\[\]-~]{1,128}")
"""Visible ASCII without quote and backslash: what may stand in a header and in a JSON string as it is."""

_MOST_PATHS = 256
_perf_counter = time.perf_counter


class Access:
    """Name requests as they come and record them as they are answered."""

    def __init__(self, counters: Counters, log: JsonLog) -> None:
        self._counters = counters
        self._log = log
        self._trace_ids = new_trace_ids()
        self._prefix = os.urandom(6).hex()
        self._number = 0
        self._paths: dict[bytes, str] = {}
        self._names: dict[str, str] = {}

    def begin(self, exchange: Exchange) -> None:
        """Give the exchange its request id and trace id: the caller's, or new ones."""
        self.number(exchange)
        exchange.label = f'"method":"{exchange.method.decode("ascii", "replace")}","path":{self._quoted(exchange.path)}'
        fields = exchange.fields
        sent = fields.get(b"x-request-id")
        if sent is not None and _TOKEN.fullmatch(sent):
            exchange.request_id = sent.decode()
        traceparent = fields.get(b"traceparent")
        if traceparent is not None:
            exchange.trace_id = parse_traceparent(traceparent) or exchange.trace_id

    def number(self, exchange: Exchange) -> None:
        """Count an exchange in and give it new ids: all there is to begin where the caller names none."""
        self._number = number = self._number + 1
        exchange.request_id = f"{self._prefix}-{number:x}"
        exchange.trace_id = next(self._trace_ids)
        self._counters.in_flight += 1

    def record(self, exchange: Exchange, status: int, size: int) -> float:
        """Count the answer, write its line and return the time (of ``time.perf_counter``)."""
        now = _perf_counter()
        seconds = now - exchange.started
        counters = self._counters
        counters.in_flight -= 1
        if exchange.warm_ping:
            counters.warm_pings += 1
        else:
            responses = counters.responses
            responses[status] = responses.get(status, 0) + 1
            latency = counters.latency
            latency.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
            latency.total += seconds
        model = exchange.model
        if model:
            quoted = self._names.get(model) or self._quoted_name(model)
            extra = f',"model":{quoted},"rows":{exchange.rows},"run_rows":{exchange.run_rows}'
        else:
            extra = ""
        if exchange.context:
            extra += "," + orjson.dumps(exchange.context).decode()[1:-1]
        if exchange.warm_ping:
            extra += ',"warm_ping":true'
        log = self._log
        log.write(
            f'{{"time":"{log.stamp(now)}","level":"{"info" if status < 500 else "error"}",'
            f'"request_id":"{exchange.request_id}","trace_id":"{exchange.trace_id}",'
            f'{exchange.label},"status":{status},"ms":{seconds * 1000:.3f},'
            f'"bytes_in":{len(exchange.body)},"bytes_out":{size}{extra}}}\n'
        )
        if exchange.on_recorded is not None:
            exchange.on_recorded()
        return now

    def _quoted(self, path: bytes) -> str:
        quoted = self._paths.get(path)
        if quoted is None:
            quoted = orjson.dumps(path.decode("utf-8", "replace")[:1024]).decode()
            if len(self._paths) < _MOST_PATHS:
                self._paths[path] = quoted
        return quoted

    def _quoted_name(self, model: str) -> str:
        quoted = self._names[model] = orjson.dumps(model).decode()
        return quoted
