"""Placements per second of the simulator's kube-scheduler engines, beside skippy-core in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from options import Options
from prepare import Home
from rows import Row

PEER = Path(__file__).resolve().parent / "peers" / "skippy_core.py"
PEER_PACKAGE = "edgerun-skippy-core"
FULL = ("--scoring", "full")
RATES = (
    ("5,000 nodes, adaptive sampling", 5000, 100_000, (), 90_000),
    ("5,000 nodes, full scoring", 5000, 100_000, FULL, 158_000),
    ("100,000 nodes, full scoring", 100_000, 200_000, FULL, 100_000),
    ("5,000 nodes, adaptive, Services over 3 zones, preferred node affinity", 5000, 50_000, ("--services",), 30_000),
)
HASHED = 2000


def measure(home: Home, options: Options) -> Iterator[Row]:
    """Yield the rows; each figure is the median of the rounds."""
    for what, nodes, pods, more, target in RATES:
        reports = [_bench(home, nodes, pods, *more) for _ in range(options.rounds)]
        rates = [float(str(each["placements_per_s"])) for each in reports]
        yield Row(f"placement: {what}", median(rates), "placements/s", ">=", target, {"runs": reports})
        if nodes == 5000:  # the reference engine works through 2,000 pods here, and is held to them
            reference = _bench(home, nodes, HASHED, "--engine", "reference", *more)
            equal = reference["decision_hash"] == reports[0]["decision_hash"]
            yield Row(f"placement: {what}: decisions of both engines are equal", float(equal), "", ">=", 1, reference)
    yield _beside_skippy(home, options)
    large = _bench(home, 100_000, 2_000_000, *FULL)
    what = "placement: 100,000 nodes, 1,000,000 pods there: memory"
    yield Row(what, float(str(large["peak_rss_mb"])), "MB", "<=", 1000, large)


def _bench(home: Home, nodes: int, pods: int, *more: str) -> dict[str, object]:
    command = [home.mlfn, "sim", "bench", "placement", "--nodes", str(nodes), "--pods", str(pods), *more, "-o", "json"]
    report: dict[str, object] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return report


def _beside_skippy(home: Home, options: Options) -> Row:
    """Compare the reference engine with skippy-core, in turn."""
    python = _peer(home)
    ratios, details = [], []
    for _ in range(options.rounds):
        ours = _bench(home, 5000, HASHED, "--engine", "reference")
        peer = json.loads(subprocess.run([python, str(PEER), "5000", "200"], check=True, stdout=subprocess.PIPE).stdout)
        ratios.append(float(str(ours["placements_per_s"])) / float(peer["placements_per_s"]))
        details.append({"reference": ours, "skippy-core": peer})
    what = "placement: reference engine, 5,000 nodes, adaptive vs skippy-core"
    return Row(what, median(ratios), "x", ">=", 10, {"rounds": details})


def _peer(home: Home) -> str:
    """Make the environment of skippy-core once."""
    folder = home.folder / "skippy"
    python = folder / "bin" / "python"
    if not (folder / "made").is_file():
        print(f"making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", PEER_PACKAGE], check=True, stdout=sys.stderr)
        (folder / "made").touch()
    return str(python)
