"""What both engines promise. They differ in data structure and algorithm only; the rules are the same functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlfn_sim.errors import NeedsExtra
from mlfn_sim.kube.catalog import Catalog
from mlfn_sim.kube.decisions import Decision, Rejection
from mlfn_sim.kube.objects import NodeSpec, PodShape
from mlfn_sim.kube.profile import Profile
from mlfn_sim.kube.ties import Draws

__all__ = ["ENGINES", "Batch", "Decider", "Engine", "Outcome", "make_engine"]

ENGINES = ("fast", "reference")


@dataclass(frozen=True, slots=True)
class Batch:
    """Hold work for an engine: pods that come and go, in order."""

    shapes: Sequence[PodShape]
    steps: npt.NDArray[np.int32]
    """0 or more: a pod of that shape comes; -1 - k: the pod that came k-th in this batch goes, if it was placed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Tell, for each pod of a batch that came, where it went."""

    chosen: npt.NDArray[np.int32]
    """Node, -1 when none is feasible."""
    ties: npt.NDArray[np.int32]
    """How many nodes shared the highest total."""
    starts: npt.NDArray[np.int32]
    """Where the next search begins, after the decision."""


class Decider(Protocol):
    """Hold the state of a cluster and decide for one pod after another: all that a simulated scheduler needs."""

    start: int
    """Where the next search begins."""

    @property
    def catalog(self) -> Catalog:
        """Return the nodes and shapes."""

    def decide(self, shape: PodShape, barred: Mapping[int, Rejection] | None = None) -> Decision:
        """Return what the scheduler would do with a pod now; places nothing, but moves the start of the next search."""

    def rejection(self, shape: PodShape, node: int) -> Rejection | None:
        """Return why a pod cannot go onto one node now, None when it can."""

    def place(self, shape: PodShape, node: int) -> None:
        """Put a pod onto a node, fitting or not."""

    def remove(self, shape: PodShape, node: int) -> None:
        """Take a pod off a node."""

    def change_nodes(self, nodes: tuple[NodeSpec, ...]) -> None:
        """Go on with other nodes: those with known names keep their pods, pods of the others are gone."""


class Engine(Decider, Protocol):
    """Decide in bulk too."""

    def run(self, batch: Batch) -> Outcome:
        """Decide and place one pod after another."""


def make_engine(name: str, catalog: Catalog, profile: Profile, draws: Draws | None = None) -> Engine:
    """Return an engine by its name; without ``draws`` the first of the ties in the order of addition is taken."""
    if name == "fast":
        try:
            from mlfn_sim.kube.fast import FastEngine
        except ModuleNotFoundError as error:
            raise NeedsExtra(f"the fast engine needs {error.name}, which is not installed") from error
        return FastEngine(catalog, profile, draws)
    from mlfn_sim.kube.reference import ReferenceEngine, first_of

    return ReferenceEngine(catalog, profile, draws or first_of)
