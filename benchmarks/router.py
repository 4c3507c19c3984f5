"""The local platform's router: what it adds to a request, how much it carries, and a request that finds no instance."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator

import cold_start
import load
import machine
from local_platform import LocalPlatform, local_platform
from options import Options
from prepare import Home
from rows import Row
from servers import call_for, check


def measure(home: Home, options: Options) -> Iterator[Row]:
    """Yield the rows of the router."""
    load.require_wrk()
    with local_platform(home) as platform:
        yield from _cost(platform, options)
        yield _from_zero(platform, options)


def _cost(platform: LocalPlatform, options: Options) -> Iterator[Row]:
    """Load the same instance directly and through the router."""
    file = str(platform.home.model("iris"))
    deployed = platform.run("deploy", file, "--name", "warm", "--min-scale", "1", "--max-scale", "1")
    call = call_for(platform.home, "mlfn", "iris", "warm")
    (instance,) = platform.run("describe", "warm")["instances"]
    direct, routed = f"http://{instance['address']}", str(deployed["url"])
    pids = platform.pids()
    load.wrk(routed, call, 4, 1, pids)
    added: list[float] = []
    carried: list[load.Figures] = []
    pairs: list[dict[str, float]] = []
    for _ in range(options.rounds):
        alone = load.wrk(direct, call, 1, options.seconds, pids)
        through = load.wrk(routed, call, 1, options.seconds, pids)
        added.append(through.p50_ms - alone.p50_ms)
        pairs.append({"direct p50_ms": alone.p50_ms, "routed p50_ms": through.p50_ms})
        carried.append(load.wrk(routed, call, 32, options.seconds, pids))
    print(f"  router adds {statistics.median(added):.3f} ms", file=sys.stderr)
    yield Row("router: p50 added at 1 connection", statistics.median(added), "ms", "<=", 0.25, {"rounds": pairs})
    rps = statistics.median(each.rps for each in carried)
    details = {"rounds": [each.as_json() for each in carried]}
    yield Row("router: requests/s at 32 connections", rps, "1/s", ">=", 8000, details)


def _from_zero(platform: LocalPlatform, options: Options) -> Row:
    """Deploy one function per sample, wait until all have scaled to zero, send one request to each."""
    file, home = str(platform.home.model("iris")), platform.home
    names = [f"zero-{i}" for i in range(options.samples)]
    urls = [str(platform.run("deploy", file, "--name", name, "--window", "6s")["url"]) for name in names]
    platform.wait_for_zero(names)
    seconds = []
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    try:
        for name, url in zip(names, urls, strict=True):
            began = time.perf_counter()
            answer = load.ask(url, call_for(home, "mlfn", "iris", name))
            seconds.append(time.perf_counter() - began)
            check("mlfn", answer, home.expected("iris"))
    finally:
        os.sched_setaffinity(0, before)
    print(f"  from zero: median {statistics.median(seconds) * 1e3:.0f} ms", file=sys.stderr)
    spawned = cold_start.starts(home, ("mlfn",), options.samples)["mlfn"]
    return Row(
        "from zero through the router, request to answer vs cold start of mlfn serve",
        statistics.median(seconds) / statistics.median(spawned),
        "x",
        "<=",
        0.25,
        {"from zero seconds": [round(s, 4) for s in seconds], "mlfn serve seconds": [round(s, 4) for s in spawned]},
    )
