"""Keep a cluster in one compact file, Parquet or Arrow by its name.

One table; the column ``kind`` says what a row is: first the nodes, then the pod shapes (their definition as JSON: there
are few), then the pods by number of shape and node, then the Services. The version is in the schema's metadata under
``mlfn.cluster``. A file is written aside and renamed, so that nobody ever sees half of one. Needs the extra ``sim``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlfn_sim.aside import written_aside
from mlfn_sim.cluster.codec import decoded, encoded
from mlfn_sim.cluster.model import Bound, ClusterSnapshot, Service
from mlfn_sim.errors import NeedsExtra, RecordingError
from mlfn_sim.kube.objects import Effect, NodeSpec, Pod, PodShape, Taint

__all__ = ["SUFFIXES", "VERSION", "read_cluster", "write_cluster"]

SUFFIXES = (".parquet", ".arrow")
VERSION = "1"
_MARK = b"mlfn.cluster"
_Row = Mapping[str, Any]


def write_cluster(snapshot: ClusterSnapshot, path: Path) -> None:
    """Write a cluster to ``path``. Raises NotWritten; what was at ``path`` before is then still there."""
    _check_suffix(path)
    arrow = _arrow()
    table = arrow.Table.from_pylist(list(_rows(snapshot)), schema=_schema(arrow))
    with written_aside(path, (arrow.ArrowException,)) as aside, aside.open("xb") as sink:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, sink, compression="zstd")
        else:
            options = arrow.ipc.IpcWriteOptions(compression="zstd")
            with arrow.ipc.new_file(sink, table.schema, options=options) as writer:
                writer.write_table(table)


def read_cluster(path: Path) -> ClusterSnapshot:
    """Return the cluster of a file that :func:`write_cluster` wrote. Raises RecordingError."""
    _check_suffix(path)
    arrow = _arrow()
    try:
        with path.open("rb") as source:
            if path.suffix == ".parquet":
                import pyarrow.parquet as pq

                table = pq.read_table(source)
            else:
                table = arrow.ipc.open_file(source).read_all()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except arrow.ArrowException as error:
        raise RecordingError(f"{path}: is no {path.suffix[1:]} file: {str(error).splitlines()[0]}") from error
    version = (table.schema.metadata or {}).get(_MARK, b"").decode(errors="replace")
    if version != VERSION or not table.schema.equals(_schema(arrow)):
        seen = f"version {version!r}" if version else "no cluster of mlfn"
        raise RecordingError(f"{path}: is {seen}; expected version {VERSION}, as mlfn sim import writes it")
    return _Rows(path).snapshot(table.to_pylist(maps_as_pydicts="strict"))


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise RecordingError(f"{path}: a cluster's file ends in {' or '.join(SUFFIXES)}")


def _arrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.ipc  # a submodule, which the import above does not bring
    except ImportError as error:
        raise NeedsExtra("a cluster's file needs pyarrow, which is not installed") from error
    return pa


def _schema(arrow: Any) -> Any:
    text, number, flag = arrow.string(), arrow.int64(), arrow.bool_()
    taint = arrow.struct([("key", text), ("value", text), ("effect", text)])
    held = arrow.struct([("gpu", arrow.int32()), ("share", arrow.int32())])
    columns = [
        ("kind", text),
        ("name", text),
        ("allocatable", arrow.map_(text, number)),
        ("labels", arrow.map_(text, text)),
        ("taints", arrow.list_(taint)),
        ("unschedulable", flag),
        ("images", arrow.map_(text, number)),
        ("shape", arrow.int32()),
        ("node", arrow.int32()),
        ("gpus", arrow.list_(held)),
        ("definition", text),
    ]
    return arrow.schema(columns, metadata={_MARK: VERSION.encode()})


def _rows(snapshot: ClusterSnapshot) -> Iterator[dict[str, Any]]:
    for node in snapshot.nodes:
        yield {
            "kind": "node",
            "name": node.name,
            "allocatable": list(node.allocatable.items()),
            "labels": list(node.labels.items()),
            "taints": [{"key": each.key, "value": each.value, "effect": str(each.effect)} for each in node.taints],
            "unschedulable": node.unschedulable,
            "images": list(node.images.items()),
        }
    pods = (*(each.pod for each in snapshot.bound), *snapshot.pending)
    shapes = {shape: i for i, shape in enumerate(dict.fromkeys(pod.shape for pod in pods))}
    for shape in shapes:
        yield {"kind": "shape", "definition": encoded(shape)}
    for bound in snapshot.bound:
        held = [{"gpu": gpu, "share": share} for gpu, share in bound.gpus]
        number = shapes[bound.pod.shape]
        yield {"kind": "pod", "name": bound.pod.name, "shape": number, "node": bound.node, "gpus": held}
    for pod in snapshot.pending:
        yield {"kind": "pod", "name": pod.name, "shape": shapes[pod.shape]}
    for namespace, selector in snapshot.services:
        yield {"kind": "service", "name": namespace, "labels": list(selector)}


class _Rows:
    """Make a cluster of rows."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def snapshot(self, rows: Iterable[_Row]) -> ClusterSnapshot:
        nodes: list[NodeSpec] = []
        shapes: list[PodShape] = []
        bound: list[Bound] = []
        pending: list[Pod] = []
        services: list[Service] = []
        for i, row in enumerate(rows):
            try:
                match row["kind"]:
                    case "node":
                        nodes.append(_node(row))
                    case "shape":
                        shapes.append(decoded(PodShape, row["definition"]))
                    case "pod" if row["node"] is None:
                        pending.append(Pod(row["name"], shapes[_index(row["shape"])]))
                    case "pod":
                        bound.append(_bound(row, nodes, shapes))
                    case "service":
                        services.append((row["name"], tuple((row["labels"] or {}).items())))
                    case kind:
                        raise ValueError(f"the kind {kind!r} is not known")
            except (ValueError, TypeError, IndexError) as error:
                raise RecordingError(f"{self._path}: row {i} cannot be used: {error}") from error
        return ClusterSnapshot(tuple(nodes), tuple(bound), tuple(pending), tuple(services))


def _node(row: _Row) -> NodeSpec:
    return NodeSpec(
        name=row["name"],
        allocatable=row["allocatable"] or {},
        labels=row["labels"] or {},
        taints=tuple(Taint(each["key"], each["value"], Effect(each["effect"])) for each in row["taints"] or ()),
        unschedulable=bool(row["unschedulable"]),
        images=row["images"] or {},
    )


def _bound(row: _Row, nodes: list[NodeSpec], shapes: list[PodShape]) -> Bound:
    node = _index(row["node"])
    if node >= len(nodes):
        raise ValueError(f"it names node {node} of {len(nodes)}")
    held = tuple((each["gpu"], each["share"]) for each in row["gpus"] or ())
    return Bound(Pod(row["name"], shapes[_index(row["shape"])]), node, held)


def _index(value: int | None) -> int:
    if value is None or value < 0:
        raise ValueError(f"{value} is no number of a row")
    return value
