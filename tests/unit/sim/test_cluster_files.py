"""A cluster's file gives back exactly what was written, is written whole or not at all, and refuses foreign ones."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlfn_sim.cluster.files import SUFFIXES, read_cluster, write_cluster
from mlfn_sim.cluster.generators import SHAPES, generate
from mlfn_sim.cluster.importing import import_recording
from mlfn_sim.cluster.model import GPU, Bound, ClusterSnapshot, NodeArrays
from mlfn_sim.errors import NotWritten, RecordingError
from mlfn_sim.kube.catalog import ZONE
from mlfn_sim.kube.objects import (
    Affinity,
    Effect,
    NodeSpec,
    NodeTerm,
    Pod,
    PodShape,
    PodTerm,
    Requirement,
    Selector,
    Spread,
    Taint,
    Toleration,
)
from mlfn_sim.streams import Streams

RECORDINGS = sorted((Path(__file__).parents[2] / "data" / "kube_scheduler").glob("r*.json.gz"))
WORDS = st.text("abc-é/'\"", max_size=5)
AMOUNTS = st.integers(0, 2**62)
LABELS = st.dictionaries(WORDS, WORDS, max_size=3)
REQUIREMENTS = st.builds(Requirement, WORDS, WORDS, st.lists(WORDS, max_size=2).map(tuple))
SELECTORS = st.builds(Selector, st.lists(REQUIREMENTS, max_size=2).map(tuple))
NODE_TERMS = st.builds(NodeTerm, st.lists(REQUIREMENTS, max_size=2).map(tuple), st.just(()), AMOUNTS)
POD_TERMS = st.builds(PodTerm, WORDS, SELECTORS, st.frozensets(WORDS, max_size=2), AMOUNTS)
TERMS = st.lists(POD_TERMS, max_size=2).map(tuple)
SHAPED = st.builds(
    PodShape,
    namespace=WORDS,
    labels=LABELS.map(lambda labels: tuple(sorted(labels.items()))),
    requests=st.lists(st.tuples(WORDS, AMOUNTS), max_size=2).map(tuple),
    assumed_cpu=AMOUNTS,
    node_selector=st.lists(REQUIREMENTS, max_size=1).map(tuple),
    node_terms=st.none() | st.lists(NODE_TERMS, max_size=2).map(tuple),
    preferred_nodes=st.lists(NODE_TERMS, max_size=1).map(tuple),
    tolerations=st.lists(st.builds(Toleration, WORDS, WORDS, WORDS, WORDS), max_size=2).map(tuple),
    spreads=st.lists(st.builds(Spread, WORDS, AMOUNTS, st.booleans(), SELECTORS), max_size=2).map(tuple),
    affinity=st.builds(Affinity, TERMS, TERMS, TERMS, TERMS),
    images=st.lists(WORDS, max_size=2).map(tuple),
    ports=st.lists(st.tuples(WORDS, WORDS, AMOUNTS), max_size=2).map(tuple),
    priority=st.integers(-(2**31), 2**31),
    preempts=st.booleans(),
    owned_by=st.none() | SELECTORS,
)
NODES = st.builds(
    NodeSpec,
    WORDS,
    st.dictionaries(WORDS, AMOUNTS, max_size=3),
    LABELS,
    st.lists(st.builds(Taint, WORDS, WORDS, st.sampled_from(Effect)), max_size=2).map(tuple),
    st.booleans(),
    st.dictionaries(WORDS, AMOUNTS, max_size=2),
)
PODS = st.builds(Pod, WORDS, SHAPED)


@st.composite
def snapshots(draw: st.DrawFn) -> ClusterSnapshot:
    """Draw any cluster that the values can hold."""
    nodes = tuple(draw(st.lists(NODES, min_size=1, max_size=4)))
    held = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 1000)), max_size=2).map(tuple)
    bound = st.builds(Bound, PODS, st.integers(0, len(nodes) - 1), held)
    services = st.tuples(WORDS, LABELS.map(lambda labels: tuple(labels.items())))
    return ClusterSnapshot(
        nodes,
        tuple(draw(st.lists(bound, max_size=3))),
        tuple(draw(st.lists(PODS, max_size=3))),
        tuple(draw(st.lists(services, max_size=2))),
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(snapshot=snapshots())
def test_what_is_written_is_read(snapshot: ClusterSnapshot, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cluster{suffix}"
    write_cluster(snapshot, path)
    assert read_cluster(path) == snapshot


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.name.split(".")[0])
def test_real_clusters_come_back(recording: Path, tmp_path: Path) -> None:
    snapshot = import_recording(recording)
    write_cluster(snapshot, tmp_path / "c.parquet")
    assert read_cluster(tmp_path / "c.parquet") == snapshot


WRITE_WITH_LITTLE_SPACE = """
import resource, signal, sys
from pathlib import Path
from mlfn_sim.cluster.files import write_cluster
from mlfn_sim.cluster.generators import generate
from mlfn_sim.streams import Streams

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))
write_cluster(generate("zones", 500, Streams(0)), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_what_was_there(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_bytes(b"before")
    # In a process of its own: the limit holds for every file of the process, the test's own log included.
    done = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_LITTLE_SPACE, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert re.search(rf"NotWritten: .*c\{suffix}: cannot be written: .*too large", done.stderr), done.stderr
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match=r"c\.arrow: cannot be written: No such file"):
        write_cluster(generate("zones", 1, Streams(0)), tmp_path / "none" / "c.arrow")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_foreign_and_cut_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    write_cluster(generate("zones", 50, Streams(0)), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordingError, match="is no"):
        read_cluster(path)
    path.write_text("{}")
    with pytest.raises(RecordingError, match="is no"):
        read_cluster(path)
    with pytest.raises(RecordingError, match=r"ends in \.parquet or \.arrow"):
        read_cluster(tmp_path / "c.csv")
    with pytest.raises(RecordingError, match=r"x\.arrow: cannot be read: No such file"):
        read_cluster(tmp_path / "x.arrow")


def test_another_table_and_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(RecordingError, match="is no cluster of mlfn; expected version 1"):
        read_cluster(path)
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"mlfn.cluster": "9"}), path)
    with pytest.raises(RecordingError, match="is version '9'; expected version 1"):
        read_cluster(path)


def test_a_row_that_points_nowhere_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    small = generate("homogeneous", 1, Streams(0))
    write_cluster(replace(small, bound=(Bound(Pod("p", PodShape()), 5),)), path)
    with pytest.raises(RecordingError, match=r"c\.parquet: row 2 cannot be used: it names node 5 of 1"):
        read_cluster(path)


@pytest.mark.parametrize("shape", SHAPES)
def test_more_nodes_do_not_change_the_first_ones(shape: str) -> None:
    small, large = (generate(shape, count, Streams(7)) for count in (40, 400))
    assert large.nodes[:40] == small.nodes
    assert generate(shape, 40, Streams(7)) == small
    assert len({node.name for node in large.nodes}) == 400


@pytest.mark.parametrize("shape", ["gpu-mix", "core-edge"])
def test_another_seed_draws_others(shape: str) -> None:
    assert generate(shape, 40, Streams(1)) != generate(shape, 40, Streams(2))


def test_the_shapes_are_what_they_say() -> None:
    gpus = [node.allocatable.get(GPU, 0) for node in generate("gpu-mix", 2000, Streams(0)).nodes]
    assert 0.75 < sum(count > 0 for count in gpus) / 2000 < 0.85
    edge = NodeArrays.of(generate("core-edge", 100, Streams(0)))
    assert len(edge.zones) == 5
    assert (edge.zone == edge.zones.index("cloud")).sum() == 10
    assert ((edge.location[:, 0] > 46) & (edge.location[:, 0] < 51)).all()
    assert {node.labels[ZONE] for node in generate("zones", 9, Streams(0)).nodes} == {"zone-a", "zone-b", "zone-c"}


def test_impossible_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown shape 'ring', expected one of homogeneous"):
        generate("ring", 3, Streams(0))
    with pytest.raises(ValueError, match="nodes is 0; expected 1 or more"):
        generate("zones", 0, Streams(0))
