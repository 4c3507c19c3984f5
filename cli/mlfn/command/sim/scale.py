"""`mlfn sim scale`: how far the scheduler scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data, say, stages, table
from mlfn.command.sim.refusals import refusals
from mlfn.command.sim.spreading import spread_options, where
from mlfn.errors import InvalidInput
from mlfn.nearest import did_you_mean

if TYPE_CHECKING:
    from mlfn_sim.scaling.values import Grid

__all__ = ["scale"]

_MOST_NODES = 200_000
_Number = TypeVar("_Number", int, float)


@click.command(short_help="Find where the scheduler becomes the bottleneck, up to 100,000 nodes.")
@click.option("--nodes", show_envvar=True, metavar="N,…", help="Sizes.  [default: 100,1000,5000,20000,100000]")
@click.option("--constraints", show_envvar=True, metavar="N,…", help="Per function, to 10.  [default: 0,2,6,9,10]")
@click.option("--rates", show_envvar=True, metavar="X,…", help="Pods/s that come.  [default: 3,10,30,100,300,1000]")
@click.option("--designs", show_envvar=True, metavar="NAME,…", help="Schedulers to compare.  [default: all five]")
@click.option("--pods", type=click.IntRange(20, 100_000), show_envvar=True, help="Pods that come.  [default: 500]")
@click.option("--seed", type=click.IntRange(0), show_envvar=True, help="Of all that is drawn.  [default: 1]")
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 100.0),
    show_envvar=True,
    help="The scheduler's machine; 1 is two shared cores.  [default: 1]",
)
@click.option("--quick", is_flag=True, show_envvar=True, help="A small grid, for a first look.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    show_envvar=True,
    help="Folder for the page, its plots and each run; what is there is not run again.",
)
@spread_options
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def scale(out: Path | None, output: Format, **how: Any) -> None:
    """Find where the scheduler becomes the bottleneck: nodes x constraints per function x arrival rate.

    Compares the scheduler as it comes with smaller samples, several schedulers at once, and the better of two random
    nodes: throughput, queueing, latency, and how good the placements are. Placements are real, time is modelled.
    With --out it ends with a page to read, and goes on from there when it is interrupted.

    \b
    Examples:
      mlfn sim scale --quick
      mlfn sim scale --out scale/
      mlfn sim scale --nodes 5000 --constraints 9 --rates 15 -o json
    """
    from mlfn_sim.scaling.experiment import run_grid
    from mlfn_sim.scaling.report import write_report

    grid = _grid(how)
    with refusals():
        place = where(how, out / "runs" if out else None)
        with stages() as progress:
            document = run_grid(grid, place, progress)
        if out:
            say(f"the page: {write_report(document, out)}")
    if output.is_data:
        print_data(document, output)
    else:
        _print_table(document)


def _grid(how: Mapping[str, Any]) -> Grid:
    from dataclasses import replace

    from mlfn_sim.scaling.constraints import CONSTRAINTS
    from mlfn_sim.scaling.values import DEFAULT_GRID, DESIGNS, QUICK_GRID

    names = [design.name for design in DESIGNS]
    given: dict[str, Any] = {name: how[name] for name in ("pods", "seed", "speed") if how[name] is not None}
    for name, kind, least, most in (
        ("nodes", int, 1, _MOST_NODES),
        ("constraints", int, 0, len(CONSTRAINTS)),
        ("rates", float, 0.001, 1e6),
    ):
        if how[name] is not None:
            given[name] = _numbers(how[name], name, kind, (least, most))
    if how["designs"] is not None:
        given["designs"] = tuple(dict.fromkeys(each.strip() for each in how["designs"].split(",")))
        for each in given["designs"]:
            if each not in names:
                expected = f"expected some of {', '.join(names)}"
                raise InvalidInput(f"--designs has {each!r}; {expected}", hints=did_you_mean(each, names))
    return replace(QUICK_GRID if how["quick"] else DEFAULT_GRID, **given)


def _numbers(text: str, name: str, kind: Callable[[str], _Number], bounds: tuple[float, float]) -> tuple[_Number, ...]:
    found = []
    for part in text.split(","):
        try:
            value = kind(part)
        except ValueError:
            value = None
        if value is None or not bounds[0] <= value <= bounds[1]:
            what = "whole numbers" if kind is int else "numbers"
            expected = f"expected {what} from {bounds[0]:g} to {bounds[1]:g} with commas between them"
            raise InvalidInput(f"--{name} has {part.strip()!r}; {expected}")
        found.append(value)
    return tuple(sorted(set(found)))


def _print_table(document: Mapping[str, Any]) -> None:
    from mlfn_sim.scaling.report import at_rate, summary
    from mlfn_sim.scaling.values import BURST

    rows = []
    for point in document["points"]:
        burst = at_rate(point, BURST)
        shown = (point["nodes"], point["constraints"], point["design"])
        figures = (burst["throughput_per_s"], burst["latency_p99_s"], burst["conflicts"], burst["refused"])
        qualities = (burst[name] for name in ("zone_skew_percent", "fragmentation_percent", "image_hit_percent"))
        rows.append((*map(str, shown), *map(str, figures), *map(str, qualities)))
    heads = (
        "NODES",
        "CONSTRAINTS",
        "DESIGN",
        "PODS/S",
        "P99 S",
        "CONFLICTS",
        "REFUSED",
        "SKEW %",
        "FRAGMENTED %",
        "IMAGES %",
    )
    print(table(heads, rows))
    print("\n" + "\n".join(summary(document)))
