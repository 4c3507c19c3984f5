"""Compare runs with the curves that the study's authors published."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlfn_sim.errors import RecordingError
from mlfn_sim.openb.study import STEPS, Curve

__all__ = ["AGREES_WITHIN", "NAMES", "Difference", "Published", "differences", "read_published"]

NAMES: Mapping[str, str] = {
    "random": "01-Random",
    "dot-product": "02-DotProd",
    "gpu-clustering": "03-GpuClustering",
    "gpu-packing": "04-GpuPacking",
    "best-fit": "05-BestFit",
    "fgd": "06-FGD",
}
"""Our name -> the name in the published files."""
AGREES_WITHIN = 0.5
"""Points of allocation."""
_EVERY = 10

Published = Mapping[tuple[str, str, int], Sequence[float]]
"""(workload, policy as published, seed) -> percent of the GPUs in use at each percent."""
_ROUNDED = 0.011
"""Two numbers of two digits that are this near differ by rounding."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Hold our mean over the seeds less the mean over the published runs with these seeds, every ten percent."""

    workload: str
    policy: str
    seeds: int
    points: Mapping[int, float]
    same: int
    """Runs that equal the published one with their seed, at every percent."""

    @property
    def largest(self) -> float:
        """The largest of them, without its sign."""
        return max(abs(each) for each in self.points.values())

    @property
    def agrees(self) -> bool:
        """Whether all are small enough."""
        return self.largest <= AGREES_WITHIN


def read_published(path: Path) -> Published:
    """Return the published curves."""
    curves = {}
    try:
        with gzip.open(path, "rt", newline="") as file:
            for row in csv.DictReader(file):
                workload = row["workload"].removeprefix("openb_pod_list_")
                curves[workload, row["sc_policy"], int(row["seed"])] = [float(row[str(at)]) for at in range(STEPS)]
    except (OSError, EOFError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"{path}: {error!r}; expected the published curves") from error
    return curves


def differences(curves: Iterable[Curve], published: Published) -> list[Difference]:
    """Return how far the runs are from the published ones, for every workload and policy that was published.

    Seeds that were not published stand against the mean over all that were.
    """
    groups: dict[tuple[str, str], list[Curve]] = defaultdict(list)
    for curve in curves:
        groups[curve.workload, curve.policy].append(curve)
    theirs: dict[tuple[str, str], dict[int, Sequence[float]]] = defaultdict(dict)
    for (workload, name, seed), values in published.items():
        theirs[workload, name][seed] = values
    found = []
    for (workload, policy), group in groups.items():
        known = theirs.get((workload, NAMES.get(policy, "")))
        if known:
            found.append(_difference(group, known))
    return found


def _difference(group: Sequence[Curve], known: Mapping[int, Sequence[float]]) -> Difference:
    """Return how far the runs of a workload and policy are from the published ones, by seed."""
    against = [known[curve.seed] for curve in group if curve.seed in known]
    if len(against) < len(group):
        against = list(known.values())
    points = {}
    for at in range(0, STEPS, _EVERY):
        mean = sum(curve.allocation[at] for curve in group) / len(group)
        points[at] = round(mean - sum(values[at] for values in against) / len(against), 2)
    same = sum(_same(curve.allocation, known[curve.seed]) for curve in group if curve.seed in known)
    return Difference(group[0].workload, group[0].policy, len(group), points, same)


def _same(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    return all(abs(a - b) <= _ROUNDED for a, b in zip(ours, theirs, strict=True))
