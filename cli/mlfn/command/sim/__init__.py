"""`mlfn sim`: the simulator at the command line. Each command has a module; all import the simulator late."""

from __future__ import annotations

import click

from mlfn.command.options import CONTEXT, NearGroup
from mlfn.command.sim.bench import bench
from mlfn.command.sim.cluster import generate, import_cluster
from mlfn.command.sim.explain import explain
from mlfn.command.sim.openb import openb
from mlfn.command.sim.run import run
from mlfn.command.sim.scale import scale
from mlfn.command.sim.verify import verify

__all__ = ["sim"]


@click.group(cls=NearGroup, short_help="Ask a simulated cluster what a scheduler would do.", context_settings=CONTEXT)
def sim() -> None:
    """Ask a simulated cluster what a scheduler would do.

    \b
    Examples:
      mlfn sim import --nodes nodes.json --pods pods.json -o cluster.parquet
      mlfn sim generate --nodes 5000 --shape zones -o cluster.parquet
      mlfn sim run scenario.yaml --seeds 10 --out result
      mlfn sim explain cluster.parquet --pod flowers-1
      mlfn sim verify recordings/*.json.gz
    """


for command in (bench, import_cluster, generate, explain, openb, run, scale, verify):
    sim.add_command(command)
