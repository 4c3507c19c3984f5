"""Read the openb trace: nodes and pods as CSV, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from mlfn_policies.place import WHOLE, Pod
from mlfn_policies.place_openwhisk import function_hash
from mlfn_sim.errors import RecordingError
from mlfn_sim.placement.cluster import Host

__all__ = ["WORKLOADS", "Models", "digest", "pods_in", "read_hosts", "read_pods"]

WORKLOADS = (
    "default", "cpu050", "cpu100", "cpu200", "cpu250", "gpushare40", "gpushare60", "gpushare80", "gpushare100",
    "gpuspec10", "gpuspec20", "gpuspec25", "gpuspec33", "multigpu20", "multigpu30", "multigpu40", "multigpu50",
)  # fmt: skip
"""The variants of the trace: as recorded, and with other shares of pods without GPU, that share one, that ask for a
model, or that take several."""
_NODES = "openb_node_list_gpu_node.csv"
_PODS = "openb_pod_list_{}.csv"
_TIMES = ("creation_time", "scheduled_time", "deletion_time")
"""In the order in which they come."""


class Models:
    """Give each GPU model a bit."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}

    def bit(self, model: str) -> int:
        """Return the bit of a model; 0 for none."""
        return 1 << self._bits.setdefault(model, len(self._bits)) if model else 0

    def bits(self, models: str) -> int:
        """Return the bits of models separated by a bar."""
        return sum(self.bit(model) for model in set(models.split("|")))


def read_hosts(folder: Path, models: Models) -> list[Host]:
    """Return the nodes with GPUs."""
    path = _found(folder, _NODES)
    hosts = []
    for place, row in _rows(path, ("cpu_milli", "memory_mib", "gpu", "model")):
        number = _number(place, row)
        hosts.append(Host(number("cpu_milli"), number("memory_mib"), number("gpu"), models.bit(row["model"])))
    return hosts


def read_pods(folder: Path, workload: str, models: Models) -> list[Pod]:
    """Return the pods of a workload by name."""
    return pods_in(_found(folder, _PODS.format(workload)), models)


def digest(folder: Path, workload: str) -> str:
    """Return a digest of the files of a workload."""
    found = hashlib.blake2b(digest_size=8)
    for name in (_NODES, _PODS.format(workload)):
        found.update(_found(folder, name).read_bytes())
    return found.hexdigest()


def pods_in(path: Path, models: Models) -> list[Pod]:
    """Return the pods of one file by name. The order of its lines says nothing: a seed puts the pods into its own."""
    named: dict[str, Pod] = {}
    for place, row in _rows(path, ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")):
        number = _number(place, row)
        gpus, milli = number("num_gpu"), number("gpu_milli")
        if milli > WHOLE or (gpus > 0 and milli == 0) or (gpus > 1 and milli < WHOLE):
            raise RecordingError(f"{place}: {gpus} GPUs of {milli} thousandths; expected a share of one, or whole ones")
        _check_times(place, row)
        if row["name"] in named:
            raise RecordingError(f"{place}: name is {row['name']!r}, which an earlier line has; expected another")
        named[row["name"]] = Pod(
            cpu=number("cpu_milli"),
            memory=number("memory_mib"),
            gpus=gpus,
            milli=milli if gpus else 0,
            models=models.bits(row.get("gpu_spec", "")) if gpus else 0,
        )
    # A function is what asks for the same: the trace names no functions, OpenWhisk's hash needs one.
    return [pod._replace(function=function_hash("openb", f"openb/{tuple(pod)}")) for _, pod in sorted(named.items())]


def _check_times(place: str, row: Mapping[str, str]) -> None:
    """Refuse times that cannot be; files without times, and pods that were never scheduled, are all right."""
    number = _number(place, row)
    times = {name: number(name) for name in _TIMES if row.get(name)}
    for (earlier, first), (later, second) in pairwise(times.items()):
        if second < first:
            raise RecordingError(f"{place}: {later} is {second}; expected {earlier} ({first}) or later")


def _found(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            return path
    raise RecordingError(f"{folder}: no {name}.gz or {name}; expected the openb trace")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield each row with the place to name when something is wrong with it."""
    try:
        with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise RecordingError(f"{path}: columns are {reader.fieldnames}; expected {', '.join(missing)} too")
            for row in reader:
                if None in row.values() or None in row:
                    raise RecordingError(f"{path}, line {reader.line_num}: expected {len(row)} fields")
                yield f"{path}, line {reader.line_num}", row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: {error}; expected a CSV file of the openb trace") from error


class _number:  # noqa: N801 - reads as a function
    """Read whole numbers of one row."""

    __slots__ = ("_place", "_row")

    def __init__(self, place: str, row: Mapping[str, str]) -> None:
        self._place = place
        self._row = row

    def __call__(self, column: str) -> int:
        """Return the number in a column, 0 or more."""
        text = self._row[column]
        try:
            value = int(text)
        except ValueError:
            value = -1
        if value < 0:
            raise RecordingError(f"{self._place}: {column} is {text!r}; expected a whole number, 0 or more")
        return value
