"""The counters in Prometheus's text format, written when somebody asks and never before.

``METRICS`` is the one table of names: the text is rendered from it, and so is the reference page.
"""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, NamedTuple

from mlfn_runtime.limits import read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlfn_runtime.counters import Counters, Histogram

__all__ = ["CONTENT_TYPE", "METRICS", "Metric", "render"]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


_STARTED: float = time.time()


class Metric(NamedTuple):
    """Name one metric: what Prometheus calls its type, what it tells, and where the value comes from."""

    name: str
    type: str
    help: str
    value: Callable[[Counters], float | Histogram | dict[int, int]]


METRICS: tuple[Metric, ...] = (
    Metric("mlfn_requests_total", "counter", "Answered requests by status code, no warm pings.", lambda c: c.responses),
    Metric("mlfn_request_seconds", "histogram", "Seconds from first byte to answer.", lambda c: c.latency),
    Metric("mlfn_requests_in_flight", "gauge", "Requests that are not answered yet.", lambda c: c.in_flight),
    Metric("mlfn_connections", "gauge", "Open connections.", lambda c: c.connections),
    Metric(
        "mlfn_connections_refused_total",
        "counter",
        "Connections refused because too many were open.",
        lambda c: c.connections_refused,
    ),
    Metric("mlfn_queue_depth", "gauge", "Inferences that wait for a worker.", lambda c: c.queue_depth),
    Metric("mlfn_queue_seconds_total", "counter", "Seconds that inferences have waited.", lambda c: c.waited_s),
    Metric("mlfn_rejected_total", "counter", "Inferences refused because the queue was full.", lambda c: c.rejected),
    Metric("mlfn_inferences_total", "counter", "Inferences that succeeded.", lambda c: c.inferences),
    Metric("mlfn_inference_failures_total", "counter", "Inferences that the model refused.", lambda c: c.failures),
    Metric("mlfn_rows_total", "counter", "Rows inferred.", lambda c: c.rows),
    Metric("mlfn_run_rows", "histogram", "Rows of each run of the model (requests are merged).", lambda c: c.run_rows),
    Metric("mlfn_run_seconds_total", "counter", "Seconds that the model has run.", lambda c: c.run_s),
    Metric("mlfn_warm_pings_total", "counter", "Pings that only kept this instance warm.", lambda c: c.warm_pings),
    Metric("mlfn_ready", "gauge", "1 when this instance takes inferences.", lambda c: c.ready),
    Metric("mlfn_model_load_seconds", "gauge", "Seconds that loading the model took.", lambda c: c.load_s),
    Metric("mlfn_model_warm_up_seconds", "gauge", "Seconds of the inferences before ready.", lambda c: c.warm_up_s),
    Metric("mlfn_log_lines_dropped_total", "counter", "Log lines that could not be written.", lambda c: c.log_dropped),
    Metric("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", lambda c: _resident_bytes()),
    Metric("process_cpu_seconds_total", "counter", "User and system CPU seconds.", lambda c: _cpu_seconds()),
    Metric("process_open_fds", "gauge", "Open file descriptors.", lambda c: _open_files()),
    Metric("process_start_time_seconds", "gauge", "Unix time of the start.", lambda c: _STARTED),
)


def render(counters: Counters) -> bytes:
    """Write all metrics."""
    lines: list[str] = []
    for metric in METRICS:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.type}")
        value = metric.value(counters)
        if isinstance(value, dict):
            lines.extend(f'{metric.name}{{code="{code}"}} {count}' for code, count in sorted(value.items()))
        elif isinstance(value, (int, float)):
            lines.append(f"{metric.name} {value!r}")
        else:
            lines.extend(_histogram_lines(metric.name, value))
    return "\n".join([*lines, ""]).encode()


def _histogram_lines(name: str, histogram: Histogram) -> list[str]:
    sums = histogram.cumulative()
    bounds = zip(histogram.bounds, sums[:-1], strict=True)
    lines = [f'{name}_bucket{{le="{float(bound)!r}"}} {count}' for bound, count in bounds]
    lines.append(f'{name}_bucket{{le="+Inf"}} {sums[-1]}')
    return [*lines, f"{name}_sum {histogram.total!r}", f"{name}_count {sums[-1]}"]


def _resident_bytes() -> int:
    fields = (read_text("/proc/self/statm") or "").split()
    if len(fields) > 1:
        return int(fields[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # the highest so far, where /proc is missing


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count, not paths
    except OSError:
        return 0
