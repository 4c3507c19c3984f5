"""`mlfn sim explain`: why a pod goes onto a node, or nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data, table
from mlfn.command.sim.refusals import refusals

if TYPE_CHECKING:
    from mlfn_sim.explaining.values import Change, Explanation, Reason

__all__ = ["explain"]

_FILE = click.Path(path_type=Path)


@click.command(short_help="Tell why a pod goes onto a node, or nowhere, and what would change that.")
@click.argument("cluster", type=_FILE, metavar="CLUSTERFILE")
@click.option("--pod", required=True, show_envvar=True, help="The pod: NAME or NAMESPACE/NAME.")
@click.option("--node", default="", show_envvar=True, help="Tell what would bring the pod onto this node.")
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, show_envvar=True, help="Nodes with scores to show."
)
@click.option("--alone", is_flag=True, show_envvar=True, help="Do not place the pods that wait in front of it first.")
@click.option("--profile", type=_FILE, show_envvar=True, help="KubeSchedulerConfiguration.  [default: that of 1.34]")
@click.option("--scheduler", default="", show_envvar=True, help="Profile of that file, by schedulerName.")
@click.option("--picture", type=_FILE, show_envvar=True, help="Draw it too: FILE.png or FILE.svg.")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def explain(
    cluster: Path,
    pod: str,
    node: str,
    top: int,
    alone: bool,
    profile: Path | None,
    scheduler: str,
    picture: Path | None,
    output: Format,
) -> None:
    """Tell why a pod goes onto a node, or nowhere, and what would change that.

    CLUSTERFILE is what `mlfn sim import` wrote, or a JSON file with nodes, bound, pods and services. A pod that waits
    is asked when its turn comes; one that is on a node is taken off it and asked anew. Every change that is told was
    tried.

    \b
    Examples:
      mlfn sim explain cluster.parquet --pod flowers-1
      mlfn sim explain cluster.parquet --pod flowers-1 --node n3 --picture why.svg
    """
    from mlfn_sim.cluster.files import SUFFIXES, read_cluster
    from mlfn_sim.cluster.importing import import_recording
    from mlfn_sim.explaining.asking import explain as ask
    from mlfn_sim.explaining.values import Question
    from mlfn_sim.kube.configuration import read_profile
    from mlfn_sim.kube.profile import Profile

    with refusals():
        snapshot = read_cluster(cluster) if cluster.suffix in SUFFIXES else import_recording(cluster)
        chosen = read_profile(profile, scheduler) if profile else Profile()
        explanation = ask(snapshot, chosen, Question(pod, node, top, alone))
        if picture:
            from mlfn_sim.explaining.picture import draw

            draw(explanation, picture)
    if output.is_data:
        print_data(explanation.as_json(), output)
    else:
        print("\n\n".join(_told(explanation)))


def _told(explanation: Explanation) -> list[str]:
    told = [_outcome(explanation)]
    rows = [(each.name, str(each.asked), str(each.rejected), _reasons(each.reasons)) for each in explanation.filters]
    told.append(table(("FILTER", "ASKED", "REJECTED", "WHY"), rows))
    if explanation.scores:
        plugins = tuple(explanation.scores[0].plugins)
        scores = [(s.node, str(s.total), *(str(s.plugins[name]) for name in plugins)) for s in explanation.scores]
        told.append(table(("NODE", "TOTAL", *plugins), scores))
    if explanation.to_win:
        told.append("\n".join(["To go to another node instead, any one of:", *map(_change, explanation.to_win)]))
    if explanation.to_fit:
        told.append("\n".join(["To fit onto a node that rejects it:", *map(_change, explanation.to_fit)]))
    return told


def _outcome(explanation: Explanation) -> str:
    if not explanation.chosen:
        return f"{explanation.pod} fits nowhere: {explanation.message}"
    equals = len(explanation.ties)
    chance = f", one of {equals} equally good ones" if equals > 1 else ""
    is_there = f" It is on {explanation.bound} now." if explanation.bound else ""
    looked = f"{explanation.feasible} of {explanation.evaluated} nodes looked at could take it"
    return f"{explanation.pod} goes to {explanation.chosen}{chance}: {looked}.{is_there}"


def _reasons(reasons: tuple[Reason, ...]) -> str:
    return "; ".join(f"{each.nodes} {each.text} ({', '.join(each.examples)})" for each in reasons)


def _change(change: Change) -> str:
    return f"  {change.node} ({change.reason}): {' and '.join(change.steps)}"
