"""`mlfn sim explain`: why a pod goes onto a node, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data, table
from mlfn.command.sim.refusals import refusals
from mlfn.command.sim.run import scenario_refusals, scenario_with
from mlfn.errors import InvalidInput

if TYPE_CHECKING:
    from mlfn_sim.explaining.values import Change, Explanation, Question, Reason

__all__ = ["explain"]

_FILE = click.Path(path_type=Path)


@click.command(short_help="Tell why a pod goes onto a node, or nowhere, and what would change that.")
@click.argument("source", type=_FILE, metavar="CLUSTERFILE|SCENARIO")
@click.option("--pod", required=True, show_envvar=True, help="The pod: NAME, NAMESPACE/NAME, or FUNCTION-NUMBER.")
@click.option("--node", default="", show_envvar=True, help="Tell what would bring the pod onto this node.")
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, show_envvar=True, help="Nodes with scores to show."
)
@click.option("--picture", type=_FILE, show_envvar=True, help="Draw it too: FILE.png or FILE.svg.")
@click.option("--alone", is_flag=True, show_envvar=True, help="Do not place the pods that wait in front of it first.")
@click.option("--profile", type=_FILE, show_envvar=True, help="KubeSchedulerConfiguration.  [default: that of 1.34]")
@click.option("--scheduler", default="", show_envvar=True, help="Profile of that file, by schedulerName.")
@click.option("--seed", type=click.IntRange(0), show_envvar=True, help="Of a scenario.  [default: run.first_seed]")
@click.option("--attempt", type=click.IntRange(1), show_envvar=True, help="Try of a scenario's pod.  [default: last]")
@click.option("--engine", type=click.Choice(["fast", "reference"]), show_envvar=True, help="Runs a scenario.")
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def explain(source: Path, picture: Path | None, output: Format, **asked: Any) -> None:
    """Tell why a pod goes onto a node, or nowhere, and what would change that.

    CLUSTERFILE is what `mlfn sim import` wrote, or a JSON file with nodes, bound, pods and services. A pod that waits
    is asked when its turn comes; one that is on a node is taken off it and asked anew. Of a SCENARIO (.yaml or .py), a
    run is done up to the moment at which the pod was decided; pods are called as in its file of decisions.

    \b
    Examples:
      mlfn sim explain cluster.parquet --pod flowers-1
      mlfn sim explain cluster.parquet --pod flowers-1 --node n3 --picture why.svg
      mlfn sim explain scenario.yaml --pod flowers-17 --seed 3
    """
    from mlfn_sim.explaining.values import Question

    is_scenario = source.suffix in (".yaml", ".yml", ".py")
    _refuse_others(asked, ("alone", "profile", "scheduler") if is_scenario else ("seed", "attempt", "engine"))
    question = Question(asked["pod"], asked["node"], asked["top"], asked["alone"])
    with refusals(), scenario_refusals():
        explanation = (_of_scenario if is_scenario else _of_cluster)(source, question, asked)
        if picture:
            from mlfn_sim.explaining.picture import draw

            draw(explanation, picture)
    if output.is_data:
        print_data(explanation.as_json(), output)
    else:
        print("\n\n".join(_told(explanation)))


def _refuse_others(asked: Mapping[str, Any], others: tuple[str, ...]) -> None:
    for name in others:
        if asked[name]:
            kind = "a cluster's file, not a scenario" if name in ("alone", "profile", "scheduler") else "a scenario"
            raise InvalidInput(f"--{name} is {asked[name]}; it goes with {kind}")


def _of_cluster(path: Path, question: Question, asked: Mapping[str, Any]) -> Explanation:
    from mlfn_sim.cluster.files import SUFFIXES, read_cluster
    from mlfn_sim.cluster.importing import import_recording
    from mlfn_sim.explaining.asking import explain as ask
    from mlfn_sim.kube.configuration import read_profile
    from mlfn_sim.kube.profile import Profile

    snapshot = read_cluster(path) if path.suffix in SUFFIXES else import_recording(path)
    profile = read_profile(asked["profile"], asked["scheduler"]) if asked["profile"] else Profile()
    return ask(snapshot, profile, question)


def _of_scenario(path: Path, question: Question, asked: Mapping[str, Any]) -> Explanation:
    from mlfn_sim.experiments.moment import Wanted, moment_of
    from mlfn_sim.explaining.asking import explain_moment

    scenario = scenario_with(path, engine=asked["engine"])
    seed = scenario.run.first_seed if asked["seed"] is None else asked["seed"]
    moment = moment_of(scenario, path, seed, Wanted(question.pod, asked["attempt"] or 0))
    return explain_moment(moment, question)


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
    return f"{_when(explanation)}{_where(explanation)}"


def _when(explanation: Explanation) -> str:
    if explanation.at_s is None:
        return ""
    return f"At {explanation.at_s:g} s, try {explanation.attempt} of {explanation.attempts}: "


def _where(explanation: Explanation) -> str:
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
