"""Limits, traces, counters, metrics, logs, settings: the pure parts around a request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mlfn_runtime.counters import LATENCY_BOUNDS_S, Counters, Histogram
from mlfn_runtime.limits import allowed_cores, memory_limit_bytes
from mlfn_runtime.logs import JsonLog
from mlfn_runtime.metrics import METRICS, render
from mlfn_runtime.settings import DoorSettings, ServerSettings
from mlfn_runtime.trace import new_trace_ids, parse_traceparent

CGROUP = "/sys/fs/cgroup"
POD = f"{CGROUP}/kubepods/pod1/cpu.max"
V2 = {"/proc/self/cgroup": "0::/kubepods/pod1/c1\n"}
V1 = {"/proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n1:name=systemd:/x\n"}


@pytest.mark.parametrize(
    ("files", "affinity", "cores"),
    [
        pytest.param({}, 4, 4, id="no control groups"),
        pytest.param(V2 | {f"{CGROUP}/cpu.max": "200000 100000"}, 8, 2, id="v2, seen from inside a container"),
        pytest.param(V2 | {f"{CGROUP}/kubepods/pod1/c1/cpu.max": "max 100000"}, 8, 8, id="v2 without limit"),
        pytest.param(
            V2
            | {f"{CGROUP}/kubepods/pod1/cpu.max": "300000 100000", f"{CGROUP}/kubepods/pod1/c1/cpu.max": "max 100000"},
            8,
            3,
            id="v2, the group around it",
        ),
        pytest.param(V2 | {f"{CGROUP}/cpu.max": "50000 100000"}, 8, 1, id="half a core is one"),
        pytest.param(V2 | {f"{CGROUP}/cpu.max": "190000 100000"}, 8, 1, id="no part of a core"),
        pytest.param(V2 | {f"{CGROUP}/cpu.max": "900000 100000"}, 2, 2, id="affinity below the quota"),
        pytest.param(V2 | {f"{CGROUP}/cpu.max": "nonsense"}, 2, 2, id="nonsense"),
        pytest.param(
            V1
            | {
                f"{CGROUP}/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000",
                f"{CGROUP}/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
            },
            8,
            2,
            id="v1",
        ),
        pytest.param(
            V1 | {f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1", f"{CGROUP}/cpu/cpu.cfs_period_us": "100000"},
            8,
            8,
            id="v1, none",
        ),
    ],
)
def test_cores(files: dict[str, str], affinity: int, cores: int) -> None:
    assert allowed_cores(files.get, affinity) == cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        (V2 | {f"{CGROUP}/memory.max": "max\n"}, None),
        (V2 | {f"{CGROUP}/memory.max": "512\n", f"{CGROUP}/kubepods/pod1/memory.max": "256\n"}, 256),
        (V1 | {f"{CGROUP}/memory/docker/abc/memory.limit_in_bytes": "1024\n"}, 1024),
        (V1 | {f"{CGROUP}/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ],
)
def test_memory(files: dict[str, str], limit: int | None) -> None:
    assert memory_limit_bytes(files.get) == limit


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f" 00-{TRACE}-{SPAN}-00 ", TRACE),
        (f"01-{TRACE}-{SPAN}-01-more", TRACE),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        ("", None),
    ],
)
def test_traceparent(header: str, trace: str | None) -> None:
    assert parse_traceparent(header.encode()) == trace


def test_trace_ids_are_valid_and_differ() -> None:
    ids = new_trace_ids()
    made = [next(ids) for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(parse_traceparent(f"00-{one}-{SPAN}-01".encode()) == one for one in made)


@given(st.lists(st.floats(0, 20), max_size=50))
def test_histogram_counts_each_value_in_the_buckets_that_hold_it(values: list[float]) -> None:
    histogram = Histogram(LATENCY_BOUNDS_S)
    for value in values:
        histogram.observe(value)
    expected = [sum(value <= bound for value in values) for bound in (*LATENCY_BOUNDS_S, float("inf"))]
    assert histogram.cumulative() == expected
    assert histogram.total == pytest.approx(sum(values))
    low, high = histogram.quantile(0.1), histogram.quantile(0.9)
    assert 0 <= low <= high <= LATENCY_BOUNDS_S[-1]


def test_metrics_are_what_the_table_says_and_prometheus_reads_them() -> None:
    counters = Counters()
    counters.responses = {200: 3, 400: 1}
    counters.latency.observe(0.003)
    families = {family.name: family for family in text_string_to_metric_families(render(counters).decode())}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.type, metric.help)
        assert metric.name.endswith("_total") == (metric.type == "counter")
    codes = {sample.labels["code"]: sample.value for sample in families["mlfn_requests"].samples}
    assert codes == {"200": 3, "400": 1}
    buckets = {sample.labels.get("le"): sample.value for sample in families["mlfn_request_seconds"].samples}
    assert (buckets["0.0025"], buckets["0.005"], buckets["+Inf"]) == (0, 1, 1)


def log_to(path: Path, counters: Counters, max_bytes: int = 0) -> JsonLog:
    return JsonLog(str(path), counters, schedule=lambda flush: None, max_bytes=max_bytes)


def test_lines_of_requests_wait_for_others_and_events_write_all_at_once(tmp_path: Path) -> None:
    log = log_to(tmp_path / "log", Counters())
    log.write('{"number":1}\n')
    assert (tmp_path / "log").read_bytes() == b""
    log.event("info", "one", text='quote " and \u00e4')
    first, line = (json.loads(text) for text in (tmp_path / "log").read_text().splitlines())
    assert first == {"number": 1}
    assert (line["event"], line["text"], line["time"][-1]) == ("one", 'quote " and \u00e4', "Z")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    log.close()


def test_log_rotates_and_keeps_one_old_file(tmp_path: Path) -> None:
    log = log_to(tmp_path / "log", Counters(), max_bytes=200)
    for number in range(20):
        log.event("info", "event", number=number)
        log.flush()
    log.close()
    kept = [
        json.loads(line)["number"] for name in ("log.1", "log") for line in (tmp_path / name).read_text().splitlines()
    ]
    assert kept == list(range(20))[-len(kept) :]
    assert (tmp_path / "log").stat().st_size <= 300
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1"]


def test_a_log_that_cannot_be_written_counts_its_lines() -> None:
    counters = Counters()
    log = log_to(Path("/dev/full"), counters)
    log.event("info", "one")
    log.event("info", "two")
    log.close()
    assert counters.log_dropped == 2


def test_settings_from_the_environment() -> None:
    env = {
        "MLFN_MODEL_PATH": "/m/iris.onnx",
        "PORT": "9",
        "MLFN_MAX_QUEUE": "7",
        "MLFN_DRAIN_S": "1.5",
        "__OW_API_HOST": "x",
    }
    settings = ServerSettings.from_environment(env, host="0.0.0.0")
    assert (settings.served_name, settings.port, settings.host) == ("iris", 9, "0.0.0.0")
    assert (settings.max_queue, settings.drain_s, settings.openwhisk) == (7, 1.5, True)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "MLFN_MODEL_PATH: expected the path of an ONNX file, got none"),
        ({"MLFN_MODEL_PATH": "m", "PORT": "x"}, "PORT: expected a whole number, got 'x'"),
        ({"MLFN_MODEL_PATH": "m", "MLFN_DRAIN_S": "x"}, "MLFN_DRAIN_S: expected a number, got 'x'"),
        ({"MLFN_MODEL_PATH": "m", "MLFN_OPENWHISK": "x"}, "MLFN_OPENWHISK: expected true or false, got 'x'"),
    ],
)
def test_settings_that_cannot_be_read(env: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match="expected") as refusal:
        ServerSettings.from_environment(env)
    assert str(refusal.value) == words


def test_the_door_is_told_what_the_server_is_told() -> None:
    assert ServerSettings("m").door() == DoorSettings()
    assert ServerSettings("m", max_body_bytes=5).door().max_body_bytes == 5
