"""`mlfn sim run`: a scenario, its seeds, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data, say, table
from mlfn.command.sim.refusals import refusals
from mlfn.command.sim.spreading import spread_options, where
from mlfn.errors import CheckNotMet, InvalidInput
from mlfn.nearest import did_you_mean

if TYPE_CHECKING:
    from mlfn_sim.experiments.report import Report
    from mlfn_sim.experiments.scenario import Scenario

__all__ = ["run", "scenario_refusals", "scenario_with"]


@click.command(short_help="Run a scenario: figures with intervals, plots, every decision.")
@click.argument("scenario", type=click.Path(path_type=Path), metavar="SCENARIO")
@click.option("--engine", type=click.Choice(["fast", "reference"]), show_envvar=True, help="In place of run.engine.")
@click.option("--seeds", type=click.IntRange(1), show_envvar=True, help="In place of run.seeds.")
@click.option("--policy", default="", show_envvar=True, help="In place of scheduler.policy.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    show_envvar=True,
    help="Folder for report.html, report.json, plots, and decisions as Parquet.  [default: nothing is written]",
)
@spread_options
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def run(scenario: Path, out: Path | None, output: Format, **how: Any) -> None:
    """Run a scenario over its seeds on all cores, and tell what came of it.

    SCENARIO is a YAML file, or a Python file that makes one (it is run: only name one that you trust). The same
    scenario and seed give the same decisions, from either engine; a run that was broken off goes on where it was, with
    the same --out. Exit code 2: it cannot be used, or no function fits anywhere; 9: it ran, and no pod was placed.

    \b
    Examples:
      mlfn sim run examples/simulations/small.yaml --out result
      mlfn sim run scenario.yaml --seeds 10 --policy my_policies:tightest -o json
    """
    import mlfn_sim.experiments.report

    with refusals(), scenario_refusals():
        asked = scenario_with(scenario, **{name: how[name] for name in ("engine", "seeds", "policy")})
        report = mlfn_sim.experiments.report.run(asked, scenario, out=out, where=where(how, None), progress=say)
        if out:
            from mlfn_sim.experiments.writing import write_report

            write_report(report, out)
    if output.is_data:
        print_data(report.as_json(), output)
    else:
        _print_table(report)
    if out:
        say(f"{out / 'report.html'} shows it; decisions are in {out / 'decisions'}")
    if not report.placed_anything:
        raise CheckNotMet(f"{scenario}: no pod was placed in any run", hints=_why_not(report))


@contextmanager
def scenario_refusals() -> Iterator[None]:
    """Tell what is wrong with a scenario, with the names that were probably meant."""
    import mlfn_sim.experiments.problems

    try:
        yield
    except mlfn_sim.experiments.problems.ScenarioError as error:
        hints = [hint for each in error.problems if each.unknown for hint in did_you_mean(each.unknown, each.known)]
        raise InvalidInput(str(error), hints=tuple(dict.fromkeys(hints))) from error


def scenario_with(path: Path, *, engine: str | None = None, seeds: int | None = None, policy: str = "") -> Scenario:
    """Return the scenario of a file, with what options say in place of its own values."""
    from mlfn_sim.experiments.reading import read_scenario

    for folder in (str(Path.cwd()), str(path.resolve().parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)  # a policy of one's own lies where one works, or beside the scenario
    scenario = read_scenario(path)
    run = replace(scenario.run, engine=engine or scenario.run.engine, seeds=seeds or scenario.run.seeds)
    scheduler = replace(scenario.scheduler, policy=policy or scenario.scheduler.policy)
    return replace(scenario, run=run, scheduler=scheduler)


def _print_table(report: Report) -> None:
    from mlfn_sim.experiments.writing import figure_rows

    print(table(("FIGURE", "MEAN", "95 % INTERVAL", "UNIT"), figure_rows(report)))
    if report.unplaced:
        rows = [(name, f"{count:g}") for name, count in report.unplaced.items()]
        print(f"\n{table(('FILTER', 'CYCLES WITHOUT A NODE IT REJECTED IN'), rows)}")
    hashes = [(str(each.seed), str(each.cycles), each.decision_hash) for each in report.seeds]
    print(f"\n{table(('SEED', 'CYCLES', 'DECISION HASH'), hashes)}")


def _why_not(report: Report) -> tuple[str, ...]:
    if not any(each.figures["arrivals"] for each in report.seeds):
        return ("no pod came: raise workload.pods.arrivals.rate_per_s or run.duration_s",)
    names = ", ".join(report.unplaced)
    return (f"rejected by {names}",) if names else ()
