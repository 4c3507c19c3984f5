"""Measure the targets of benchmarks/README.md: one JSON line per row on stdout, the table on stderr at the end.

    python benchmarks/run.py                               everything, about ten minutes on two quiet cores
    python benchmarks/run.py --only deploy,router          some of it
    python benchmarks/run.py --seconds 1 --rounds 1 --samples 2     a smoke run; its figures mean little

Exit code 9 when a target is missed.
"""

from __future__ import annotations

import argparse
import sys

import cold_start
import deploy
import first_request
import image_builds
import machine
import memory
import placement
import router
import serving
import warm
from options import Options
from prepare import prepare
from rows import Row, table

PARTS = {
    "serving": serving.measure,
    "cold_start": cold_start.measure,
    "first_request": first_request.measure,
    "router": router.measure,
    "memory": memory.measure,
    "deploy": deploy.measure,
    "images": image_builds.measure,
    "warm": warm.measure,
    "placement": placement.measure,
}
MISSED = 9


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure mlfn against its targets and its peers.")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, comma-separated (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="of load per figure")
    parser.add_argument("--rounds", type=int, default=Options.rounds, help="of load, contestants interleaved")
    parser.add_argument("--samples", type=int, default=Options.samples, help="starts and deploys")
    asked = parser.parse_args()
    unknown = sorted(set(asked.only.split(",")) - set(PARTS))
    if unknown:
        parser.error(f"unknown parts {', '.join(unknown)}; there are {', '.join(PARTS)}")
    machine.require_two_cores()
    home, options = prepare(), Options(asked.seconds, asked.rounds, asked.samples)
    rows: list[Row] = []
    for part in asked.only.split(","):
        calibration = machine.calibration_ms()
        print(f"{part} (calibration: {calibration:.1f} ms for a million Python additions)", file=sys.stderr)
        for row in PARTS[part](home, options):
            rows.append(row)
            print(row.as_json(calibration), flush=True)
    print(table(rows), file=sys.stderr)
    return 0 if all(row.met for row in rows) else MISSED


if __name__ == "__main__":
    sys.exit(main())
