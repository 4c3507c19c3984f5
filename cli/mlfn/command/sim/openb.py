"""`mlfn sim openb`: the openb study of GPU fragmentation."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data, say, table
from mlfn.command.sim.refusals import refusals
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
@click.option("--jobs", type=click.IntRange(1), show_envvar=True, help="Processes.  [default: one for each core]")
@click.option("--plain", is_flag=True, help="Run the policies as they stand, without compiling them.")
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
    published it (USENIX ATC 2023); where its curves are known, the difference is told.

    \b
    Examples:
      mlfn sim openb --workload default --policy fgd --seeds 1
      mlfn sim openb --policy fgd --policy my_policies:tightest -o json
    """
    from mlfn_sim.openb.study import FIRST_SEED, Run, Study, study
    from mlfn_sim.openb.trace import WORKLOADS

    for workload in workloads:
        if workload not in WORKLOADS:
            expected = f"expected one of {', '.join(WORKLOADS)}"
            raise InvalidInput(f"workload is {workload!r}; {expected}", hints=did_you_mean(workload, WORKLOADS))
    names = [_our_name(policy) for policy in policies or _DEFAULT]
    runs = [
        Run(workload, policy, FIRST_SEED + k)
        for workload in workloads or WORKLOADS
        for policy in names
        for k in range(seeds)
    ]
    folder = data or _trace()
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a policy of one's own lies where one works
    curves: list[Curve] = []
    with refusals():
        for curve in study(Study(folder, fast=not how["plain"], jobs=how["jobs"]), runs, say):
            curves.append(curve)
            run = curve.run
            if len(curves) % seeds == 0:
                say(f"{len(curves)} of {len(runs)} runs: {run.workload}, {run.policy}")
        agreement = _agreement(folder, curves)
    if output.is_data:
        print_data(_as_json(curves, agreement), output)
    else:
        _print_table(curves, agreement)


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


def _agreement(folder: Path, curves: Iterable[Curve]) -> list[Difference]:
    from mlfn_sim.openb.published import differences, read_published

    path = folder / "published" / "analysis_allo_discrete.csv.gz"
    return differences(curves, read_published(path)) if path.exists() else []


def _as_json(curves: Iterable[Curve], agreement: Iterable[Difference]) -> dict[str, Any]:
    return {
        "schema": "mlfn.openb/v1",
        "runs": [
            {
                "workload": curve.run.workload,
                "policy": curve.run.policy,
                "seed": curve.run.seed,
                "placed": curve.placed,
                "refused": curve.refused,
                "seconds": round(curve.seconds, 4),
                "decision_hash": curve.decision_hash,
                "allocation": {str(percent): value for percent, value in enumerate(curve.allocation)},
                "fragmentation": {str(percent): value for percent, value in enumerate(curve.fragmentation)},
            }
            for curve in curves
        ],
        "agreement": [
            {
                "workload": each.workload,
                "policy": each.policy,
                "seeds": each.seeds,
                "largest_difference": each.largest,
                "agrees": each.agrees,
                "differences": {str(percent): value for percent, value in each.points.items()},
            }
            for each in agreement
        ],
    }


def _print_table(curves: Iterable[Curve], agreement: Iterable[Difference]) -> None:
    known = {(each.workload, each.policy): each for each in agreement}
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.run.workload, curve.run.policy), []).append(curve)
    rows = []
    for key, group in groups.items():
        last = [curve.allocation[-1] for curve in group]
        refused = sum(curve.refused for curve in group) / len(group)
        seconds = sum(curve.seconds for curve in group) / len(group)
        difference = f"{known[key].largest:.2f}" if key in known else "-"
        rows.append(
            (*key, str(len(group)), f"{sum(last) / len(last):.2f}", f"{refused:.0f}", difference, f"{seconds:.2f}")
        )
    print(table(("WORKLOAD", "POLICY", "SEEDS", "GPU USED %", "REFUSED", "FROM PUBLISHED", "SECONDS"), rows))
