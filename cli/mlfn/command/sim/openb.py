"""`mlfn sim openb`: the openb study of GPU fragmentation."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data, say, stages, table
from mlfn.command.sim.refusals import refusals
from mlfn.command.sim.spreading import spread_options, where
from mlfn.errors import InvalidInput
from mlfn.nearest import did_you_mean

if TYPE_CHECKING:
    from mlfn_sim.openb.published import Difference
    from mlfn_sim.openb.study import Curve

__all__ = ["openb"]

_DEFAULT = ("random", "dot-product", "gpu-clustering", "gpu-packing", "best-fit", "fgd")


@click.command(short_help="Fill a production GPU cluster under several policies.")
@click.option(
    "--workload", "workloads", multiple=True, show_envvar=True, help="Variant of the trace.  [default: all 17]"
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    show_envvar=True,
    help="Placement policy: a built-in name, or module:name.  [default: the six of the published study]",
)
@click.option("--seeds", type=click.IntRange(1), default=10, show_default=True, show_envvar=True, help="Runs of each.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    show_envvar=True,
    help="Folder with the trace.  [default: examples/openb]",
)
@click.option("--plain", is_flag=True, help="Run the policies as they stand, without compiling them.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    show_envvar=True,
    help="Folder for report.html, report.json, plots, and the runs that are done.  [default: nothing is written]",
)
@spread_options
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def openb(
    workloads: tuple[str, ...],
    policies: tuple[str, ...],
    seeds: int,
    data: Path | None,
    output: Format,
    **how: Any,
) -> None:
    """Fill a cluster of 6,212 GPUs until 130 % of them are asked for, and tell how many get used.

    The trace is that of a production cluster, the policies and the measure of fragmentation are those of the study that
    published it (USENIX ATC 2023); where its curves are known, the difference is told, and how many runs equal the
    published one with their seed. With --out, a study that was broken off goes on where it was.

    \b
    Examples:
      mlfn sim openb --workload default --policy fgd --seeds 1
      mlfn sim openb --policy fgd --policy my_policies:tightest -o json
      mlfn sim openb --out study
    """
    from mlfn_sim.openb.report import HEADS, Report, write_report
    from mlfn_sim.openb.study import Study, study
    from mlfn_sim.openb.trace import WORKLOADS

    for workload in workloads:
        if workload not in WORKLOADS:
            expected = f"expected one of {', '.join(WORKLOADS)}"
            raise InvalidInput(f"workload is {workload!r}; {expected}", hints=did_you_mean(workload, WORKLOADS))
    names = [_our_name(policy) for policy in policies or _DEFAULT]
    folder, out = (data or _trace()).resolve(), how["out"]
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a policy of one's own lies where one works
    plan = Study(folder, _once(workloads or WORKLOADS), _once(names), seeds, fast=not how["plain"])
    with refusals(), stages() as progress:
        curves = study(plan, where(how, out / "runs" if out else None), say, progress)
        report = Report(curves, _published(folder, curves))
        if out:
            write_report(report, out)
    if output.is_data:
        print_data(report.as_json(), output)
    else:
        print(table(tuple(head.upper() for head in HEADS), report.rows()))
    if out:
        say(f"{out / 'report.html'} shows it")


def _once(names: Iterable[str]) -> tuple[str, ...]:
    """Return names in their order, each once."""
    return tuple(dict.fromkeys(names))


def _our_name(policy: str) -> str:
    """Return our name of a policy that may be named as the study does."""
    from mlfn_sim.openb.published import NAMES

    theirs = {name.partition("-")[2].casefold(): ours for ours, name in NAMES.items()}
    return theirs.get(policy.casefold(), policy)


def _trace() -> Path:
    """Return the folder of the trace: here, or in the checkout that mlfn runs from."""
    import mlfn_sim

    here = Path("examples") / "openb"
    checkout = Path(mlfn_sim.__file__).resolve().parents[2] / here
    for folder in (here, checkout):
        if folder.is_dir():
            return folder
    raise InvalidInput(
        f"{here}: no such folder; expected the openb trace",
        hints=("name its folder: mlfn sim openb --data FOLDER (it is examples/openb of mlfn's repository)",),
    )


def _published(folder: Path, curves: Iterable[Curve]) -> list[Difference]:
    from mlfn_sim.openb.published import differences, read_published

    path = folder / "published" / "analysis_allo_discrete.csv.gz"
    return differences(curves, read_published(path)) if path.exists() else []
