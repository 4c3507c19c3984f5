"""`mlfn sim import` and `mlfn sim generate`: clusters as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfn.command.output import say
from mlfn.command.sim.refusals import refusals
from mlfn.errors import InvalidInput
from mlfn.nearest import did_you_mean

if TYPE_CHECKING:
    from mlfn_sim.cluster.model import ClusterSnapshot

__all__ = ["generate", "import_cluster"]

_FILE = click.Path(path_type=Path)
_OUT = click.option(
    "-o", "--out", type=_FILE, required=True, show_envvar=True, help="File to write: FILE.parquet or FILE.arrow."
)


@click.command("import", short_help="Read a cluster out of what kubectl printed.")
@click.option("--nodes", type=_FILE, required=True, show_envvar=True, help="What `kubectl get nodes -o json` printed.")
@click.option("--pods", type=_FILE, show_envvar=True, help="What `kubectl get pods -A -o json` printed.")
@click.option("--services", type=_FILE, show_envvar=True, help="What `kubectl get services -A -o json` printed.")
@click.option(
    "--owners",
    type=_FILE,
    multiple=True,
    show_envvar=True,
    help="What `kubectl get replicasets,statefulsets -A -o json` printed; may be repeated.",
)
@_OUT
def import_cluster(nodes: Path, pods: Path | None, services: Path | None, owners: tuple[Path, ...], out: Path) -> None:
    """Read a cluster out of what kubectl printed, and keep it in one file.

    Pods on nodes are bound, pods without a node wait, pods that ended are passed over. Services and owners are what the
    scheduler's default spread counts with.

    \b
    Examples:
      mlfn sim import --nodes nodes.json --pods pods.json -o cluster.parquet
      mlfn sim import --nodes nodes.json --pods pods.json --services services.json -o cluster.arrow
    """
    from mlfn_sim.cluster.files import write_cluster
    from mlfn_sim.cluster.importing import ClusterFiles
    from mlfn_sim.cluster.importing import import_cluster as read

    with refusals():
        snapshot = read(ClusterFiles(nodes, pods, services, owners))
        write_cluster(snapshot, out)
    _tell(snapshot, out)


@click.command(short_help="Make up a cluster.")
@click.option("--nodes", type=click.IntRange(min=1), required=True, show_envvar=True, help="How many nodes.")
@click.option(
    "--shape",
    default="homogeneous",
    show_default=True,
    show_envvar=True,
    metavar="homogeneous|gpu-mix|core-edge|zones",
    help="What the nodes are like.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, show_envvar=True, help="Seed of what is drawn."
)
@_OUT
def generate(nodes: int, shape: str, seed: int, out: Path) -> None:
    """Make up a cluster of empty nodes, and keep it in one file.

    The same shape, count and seed give the same nodes, and more nodes do not change the first ones. homogeneous: 4
    cores and 32 GiB each; zones: the same in three zones; gpu-mix: the machines of a published GPU cluster, tainted;
    core-edge: one cloud node for every nine small devices in four cities.

    \b
    Examples:
      mlfn sim generate --nodes 5000 --shape zones -o cluster.parquet
    """
    from mlfn_sim.cluster.files import write_cluster
    from mlfn_sim.cluster.generators import SHAPES
    from mlfn_sim.cluster.generators import generate as make
    from mlfn_sim.streams import Streams

    if shape not in SHAPES:
        known = ", ".join(SHAPES)
        raise InvalidInput(f"--shape: unknown {shape!r}, expected one of {known}", hints=did_you_mean(shape, SHAPES))
    snapshot = make(shape, nodes, Streams(seed))
    with refusals():
        write_cluster(snapshot, out)
    _tell(snapshot, out)


def _tell(snapshot: ClusterSnapshot, out: Path) -> None:
    counts = f"{len(snapshot.nodes)} nodes, {len(snapshot.bound)} pods on them, {len(snapshot.pending)} waiting"
    say(f"{out}: {counts}, {len(snapshot.services)} Services")
