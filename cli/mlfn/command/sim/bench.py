"""`mlfn sim bench`: how fast the engines are here."""

from __future__ import annotations

import click

from mlfn.command.options import CONTEXT, NearGroup, output_option
from mlfn.command.output import Format, print_data, say, table
from mlfn.command.sim.refusals import refusals

__all__ = ["bench"]


@click.group(cls=NearGroup, short_help="Measure the simulator on this machine.", context_settings=CONTEXT)
def bench() -> None:
    """Measure the simulator on this machine, on fixed workloads."""


@bench.command(short_help="Placements per second of the kube-scheduler engines.")
@click.option("--nodes", type=click.IntRange(1), default=5000, show_default=True, help="Nodes of the cluster.")
@click.option("--pods", type=click.IntRange(1), default=100_000, show_default=True, help="Pods that come.")
@click.option(
    "--scoring",
    type=click.Choice(["adaptive", "full"]),
    default="adaptive",
    show_default=True,
    help="Look at the scheduler's adaptive share of the nodes, or at all.",
)
@click.option(
    "--engine", type=click.Choice(["fast", "reference"]), default="fast", show_default=True, help="Engine to measure."
)
@click.option("--services", is_flag=True, help="Put every pod into a Service and let it prefer a kind of nodes.")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def placement(nodes: int, pods: int, scoring: str, engine: str, services: bool, output: Format) -> None:
    """Place pods of 200 shapes on 8 kinds of nodes in 3 zones; half of the pods go again.

    The decision hash covers the first 2,000 placements: both engines print the same.

    \b
    Examples:
      mlfn sim bench placement --nodes 5000 --pods 100000
      mlfn sim bench placement --nodes 5000 --pods 2000 --engine reference -o json
    """
    import mlfn_sim.kube.bench

    order = mlfn_sim.kube.bench.Order(nodes, pods, scoring, engine, services)
    with refusals():
        report = mlfn_sim.kube.bench.measure_placement(order, say)
    if output.is_data:
        print_data(report, output)
    else:
        print(table(("WHAT", "VALUE"), [(name, str(value)) for name, value in report.items()]))


bench.add_command(placement)
