"""The function server against its peers: throughput and latency, interleaved by rounds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator

import load
import machine
from options import Options
from prepare import HERE, Home
from rows import Row
from servers import serving

Rounds = dict[str, list[load.Figures]]


def measure(home: Home, options: Options) -> Iterator[Row]:
    """Yield the rows of iris, magika and the 150,000 floats."""
    load.require_wrk()
    yield from _iris(home, options)
    yield from _magika(home, options)
    yield from _floats(home, options)


def _iris(home: Home, options: Options) -> Iterator[Row]:
    seen = _rounds(home, "iris", {"mlfn": (1, 32), "FastAPI": (1, 32), "uvicorn": (32,)}, options)
    for peer, target in (("FastAPI", 8.0), ("uvicorn", 1.5)):
        yield _ratio(
            seen, "mlfn 32", f"{peer} 32", "rps", f"iris, 32 connections: requests/s vs {peer}", (">=", target)
        )
    yield _ratio(seen, "mlfn 1", "FastAPI 1", "p50_ms", "iris, 1 connection: p50 vs FastAPI", ("<=", 0.5))


def _magika(home: Home, options: Options) -> Iterator[Row]:
    limits: list[float] = []

    def in_process() -> None:
        limits.append(_runs_per_second(home, "magika", options.seconds))

    seen = _rounds(
        home, "magika", {"mlfn": (1, 32), "FastAPI": (32,), "uvicorn": (1,)}, options, before_round=in_process
    )
    tails = [each.p99_ms / each.p50_ms for each in seen["mlfn 32"]]
    yield Row("magika, 32 connections: p99 / p50", statistics.median(tails), "x", "<=", 1.2, _details(seen, "mlfn 32"))
    yield _ratio(seen, "mlfn 32", "FastAPI 32", "rps", "magika, 32 connections: requests/s vs FastAPI", (">=", 1.1))
    shares = [each.rps / limit for each, limit in zip(seen["mlfn 1"], limits, strict=True)]
    yield Row(
        "magika, 1 connection: requests/s vs session.run in process",
        statistics.median(shares),
        "x",
        ">=",
        0.95,
        # uvicorn runs the model on its loop and checks nothing: what the way there and back costs any server here.
        {
            **_details(seen, "mlfn 1"),
            **_details(seen, "uvicorn 1"),
            "session.run per second": [round(limit, 1) for limit in limits],
        },
    )


def _floats(home: Home, options: Options) -> Iterator[Row]:
    longer = Options(options.seconds * 2, options.rounds, options.samples)
    seen = _rounds(home, "resnet50-light", {"mlfn binary": (1,), "FastAPI": (1,)}, longer)
    what = "150,528 floats, 1 connection: binary tensors vs FastAPI's JSON, p50"
    yield _ratio(seen, "mlfn binary 1", "FastAPI 1", "p50_ms", what, ("<=", 0.97))


def _rounds(
    home: Home,
    model: str,
    plan: dict[str, tuple[int, ...]],
    options: Options,
    before_round: Callable[[], None] = lambda: None,
) -> Rounds:
    """Load every contestant once a round, so that what disturbs the machine disturbs all of them."""
    seen: Rounds = defaultdict(list)
    for number in range(options.rounds):
        before_round()
        for name, connections in plan.items():
            with serving(home, name, model) as server:
                load.wrk(server.url, server.call, 4, 1, server.pids)
                for count in connections:
                    figures = load.wrk(server.url, server.call, count, options.seconds, server.pids)
                    seen[f"{name} {count}"].append(figures)
                    note = " (others used the machine)" if figures.foreign > load.FOREIGN else ""
                    what = f"round {number + 1} {model} {name} x{count}"
                    print(f"  {what}: {figures.rps:,.0f}/s, p50 {figures.p50_ms:.2f} ms{note}", file=sys.stderr)
    return seen


def _ratio(seen: Rounds, ours: str, theirs: str, figure: str, what: str, goal: tuple[str, float]) -> Row:
    """Return the median over the rounds of ours / theirs."""
    pairs = zip(seen[ours], seen[theirs], strict=True)
    ratios = [getattr(mine, figure) / getattr(other, figure) for mine, other in pairs]
    return Row(what, statistics.median(ratios), "x", *goal, {**_details(seen, ours), **_details(seen, theirs)})


def _details(seen: Rounds, key: str) -> dict[str, object]:
    return {f"{key} connections": [figures.as_json() for figures in seen[key]]}


def _runs_per_second(home: Home, model: str, seconds: float) -> float:
    argv = ["taskset", "-c", str(machine.SERVER_CORE), home.peer_python, str(HERE / "peers" / "in_process.py")]
    argv += [str(seconds), str(home.body(model, "simple.json"))]
    env = {**os.environ, "MODEL": str(home.model(model)), "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout)
