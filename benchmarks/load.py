"""Send requests: one at a time to check an answer, or as many as a server takes (wrk, closed loop)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent
FOREIGN = 0.15  # cores: with more than this used by others, requests per second mean little


@dataclass(frozen=True)
class Call:
    """Say what is sent where."""

    path: str
    body: Path
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Figures:
    """Hold what one load run gave."""

    rps: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    requests: int
    foreign: float
    """Cores used by anyone but server and load during the run."""

    def as_json(self) -> dict[str, float]:
        """Return the figures, rounded."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def require_wrk() -> None:
    """End the program when the load generator is missing."""
    if shutil.which("wrk") is None:
        sys.exit("error: wrk is not on PATH; it makes the load\nhint: apt-get install wrk")


def ask(url: str, call: Call, timeout_s: float = 30.0) -> bytes:
    """Send one request and return the body of its answer."""
    request = urllib.request.Request(url + call.path, call.body.read_bytes(), dict(call.headers), method="POST")
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        body: bytes = answer.read()
        return body


def ask_when_ready(url: str, call: Call, alive: Callable[[], bool] = lambda: True, patience_s: float = 60.0) -> bytes:
    """Send a request again and again until a server that is starting answers it."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return ask(url, call)
        except OSError:  # refused, reset, or a 503
            if time.monotonic() > end or not alive():
                raise
            time.sleep(0.002)


def wrk(url: str, call: Call, connections: int, seconds: float, pids: list[int]) -> Figures:
    """Load a URL from the load core; ``pids`` are the server's processes.

    A run that others disturbed is repeated, at most twice; the least disturbed counts.
    """
    best = _wrk(url, call, connections, seconds, pids)
    for _ in range(2):
        if best.foreign <= FOREIGN:
            break
        machine.wait_for_quiet()
        best = min(best, _wrk(url, call, connections, seconds, pids), key=lambda figures: figures.foreign)
    return best


def _wrk(url: str, call: Call, connections: int, seconds: float, pids: list[int]) -> Figures:
    env = {
        **os.environ,
        "BENCH_BODY": str(call.body),
        "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in call.headers.items()),
    }
    argv = ["taskset", "-c", str(machine.LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    argv += ["--timeout", "30s", "-s", str(HERE / "wrk.lua"), url + call.path]
    busy, served = machine.busy_s(), machine.cpu_s(pids)
    own = sum(os.times()[2:4])
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    busy, served, own = machine.busy_s() - busy, machine.cpu_s(pids) - served, sum(os.times()[2:4]) - own
    found = re.search(r"^JSON(.*)$", done.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError(f"wrk failed on {url}{call.path}: {(done.stdout + done.stderr)[-500:]}")
    seen = json.loads(found.group(1))
    if seen["errors"] or not seen["requests"]:
        raise RuntimeError(f"{url}{call.path} at {connections} connections: {seen}")
    return Figures(
        rps=seen["requests"] / seen["seconds"],
        p50_ms=seen["p50_ms"],
        p90_ms=seen["p90_ms"],
        p99_ms=seen["p99_ms"],
        requests=seen["requests"],
        foreign=max(0.0, busy - served - own) / seen["seconds"],
    )
