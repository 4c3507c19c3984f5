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

Published = Mapping[tuple[str, str], Sequence[float]]
"""(workload, policy as published) -> mean over the published seeds at each percent."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Hold our mean over the seeds less the published mean, every ten percent."""

    workload: str
    policy: str
    seeds: int
    points: Mapping[int, float]

    @property
    def largest(self) -> float:
        """The largest of them, without its sign."""
        return max(abs(each) for each in self.points.values())

    @property
    def agrees(self) -> bool:
        """Whether all are small enough."""
        return self.largest <= AGREES_WITHIN


def read_published(path: Path) -> Published:
    """Return the published means."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * STEPS)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    try:
        with gzip.open(path, "rt", newline="") as file:
            for row in csv.DictReader(file):
                key = (row["workload"].removeprefix("openb_pod_list_"), row["sc_policy"])
                counts[key] += 1
                for percent in range(STEPS):
                    sums[key][percent] += float(row[str(percent)])
    except (OSError, EOFError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise RecordingError(f"{path}: {error!r}; expected the published curves") from error
    return {key: [value / counts[key] for value in values] for key, values in sums.items()}


def differences(curves: Iterable[Curve], published: Published) -> list[Difference]:
    """Return how far the runs are from the published ones, for every workload and policy that was published."""
    groups: dict[tuple[str, str], list[Curve]] = defaultdict(list)
    for curve in curves:
        groups[curve.run.workload, curve.run.policy].append(curve)
    found = []
    for (workload, policy), group in groups.items():
        theirs = published.get((workload, NAMES.get(policy, "")))
        if theirs is None:
            continue
        points = {}
        for percent in range(0, STEPS, _EVERY):
            ours = sum(curve.allocation[percent] for curve in group) / len(group)
            points[percent] = round(ours - theirs[percent], 2)
        found.append(Difference(workload, policy, len(group), points))
    return found
