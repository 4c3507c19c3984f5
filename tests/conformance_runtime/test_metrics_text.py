"""Prometheus's own parser reads ``/metrics``, and the numbers add up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

BODY = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 4], "data": [0.5] * 8}]}


@pytest.fixture
def client(iris: Any) -> Iterator[httpx.Client]:
    with iris.client() as client:
        yield client


def scrape(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_every_family_has_help_and_a_type(client: httpx.Client) -> None:
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        assert family.samples or family.name == "mlfn_requests", family.name


def test_the_sums_add_up(client: httpx.Client) -> None:
    before = scrape(client)
    for _ in range(10):
        assert client.post("/v2/models/iris/infer", json=BODY).status_code == 200
    assert client.post("/v2/models/iris/infer", json={}).status_code == 400
    after = scrape(client)

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before.get(key, 0)

    assert grown("mlfn_requests_total", code="200") == 11  # ten inferences and the first scrape
    assert grown("mlfn_requests_total", code="400") == 1
    assert grown("mlfn_request_seconds_count") == 12
    assert grown("mlfn_request_seconds_bucket", le="+Inf") == 12
    assert grown("mlfn_request_seconds_sum") > 0
    assert grown("mlfn_inferences_total") == 10
    assert grown("mlfn_rows_total") == 20
    assert grown("mlfn_run_rows_count") == 10
    assert grown("mlfn_run_rows_sum") == 20
    assert after["mlfn_requests_in_flight", ()] == 1  # the scrape itself
    assert after["mlfn_queue_depth", ()] == 0
    assert after["mlfn_ready", ()] == 1
    assert after["process_resident_memory_bytes", ()] > 1 << 20


def test_histograms_are_cumulative(client: httpx.Client) -> None:
    text = client.get("/metrics").text
    for family in text_string_to_metric_families(text):
        if family.type == "histogram":
            counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
            assert counts == sorted(counts)
            assert counts[-1] == next(sample.value for sample in family.samples if sample.name.endswith("_count"))
