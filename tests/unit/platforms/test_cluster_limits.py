"""What a cluster's ConfigMaps say, what is assumed where they may not be read, and settings held against both."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from mlfn.function import FunctionSpec, Severity
from mlfn.platforms.kube.checks import check
from mlfn.platforms.kube.limits import CONFIG_MAPS, ClusterLimits, limits_of

ALL_READ = limits_of({name: {} for name in CONFIG_MAPS})
IRIS = FunctionSpec("iris")


def test_a_cluster_that_says_nothing_has_knatives_defaults() -> None:
    assert ClusterLimits() == ALL_READ
    assert check(IRIS, ALL_READ) == ()


def test_what_the_cluster_says_counts_and_its_origin_is_told() -> None:
    limits = limits_of(
        {
            "config-autoscaler": {
                "max-scale-limit": "5",
                "stable-window": "1m30s",
                "enable-scale-to-zero": "False",
                "container-concurrency-target-percentage": "0.5",
                "_example": "max-scale-limit: 7",
            },
            "config-defaults": {"max-revision-timeout-seconds": "900"},
            "config-gc": {"retain-since-create-time": "disabled", "max-non-active-revisions": "disabled"},
            "config-domain": {"b.example": "selector: {}", "a.example": "", "_example": "x"},
            "config-features": None,
        }
    )
    assert (limits.max_scale_limit, limits.stable_window_s, limits.enable_scale_to_zero) == (5, 90.0, False)
    assert limits.container_concurrency_target_percentage == 50.0
    assert limits.max_revision_timeout_s == 900.0
    assert limits.retain_since_create_time_s == float("inf")
    assert limits.max_non_active_revisions == -1
    assert limits.domains == ("a.example", "b.example")
    assert limits.origin("max_scale_limit") == "cluster"
    assert limits.origin("empty_dir") == "assumed"
    assert limits.unread == ("config-features", "config-deployment", "config-network")


def test_every_value_has_a_source() -> None:
    assert {ALL_READ.origin(field.name) for field in fields(ClusterLimits) if field.name != "unread"} == {"cluster"}


@pytest.mark.parametrize("text", ["many", "", "1.5.2", "-"])
def test_a_value_that_is_none_counts_as_not_said(text: str) -> None:
    assert limits_of({"config-autoscaler": {"max-scale-limit": text}}).max_scale_limit == 0


def test_what_may_not_be_read_is_said_once() -> None:
    (told,) = check(IRIS, limits_of({"config-autoscaler": {}}))
    assert (told.what, told.severity) == ("limits-assumed", Severity.INFO)
    assert "config-defaults, config-features" in told.message


REFUSED: dict[str, tuple[FunctionSpec, dict[str, Any], str]] = {
    "name": (replace(IRIS, name="Iris_1"), {}, "--name"),
    "long name": (replace(IRIS, name="i" * 58), {}, "--name"),
    "max below min": (replace(IRIS, min_scale=3, max_scale=2), {}, "--max-scale"),
    "max scale": (replace(IRIS, max_scale=9), {"max_scale_limit": 5}, "--max-scale"),
    "min scale": (replace(IRIS, min_scale=9), {"max_scale_limit": 5}, "--min-scale"),
    "window": (replace(IRIS, window_s=5), {}, "--window"),
    "concurrency": (replace(IRIS, concurrency=1001), {}, "--concurrency"),
    "concurrency of the cluster": (replace(IRIS, concurrency=11), {"container_concurrency_max_limit": 10}, "10"),
    "no bound": (IRIS, {"allow_container_concurrency_zero": False}, "--concurrency"),
    "metric": (replace(IRIS, metric="cpu"), {}, "--metric"),
    "target": (replace(IRIS, target=0.001), {}, "--target"),
    "utilization": (replace(IRIS, utilization=1.5), {}, "--utilization"),
    "timeout": (replace(IRIS, timeout_s=601), {}, "--timeout"),
    "reserved variable": (replace(IRIS, env={"K_SERVICE": "x"}), {}, "K_SERVICE"),
    "reserved secret": (replace(IRIS, secret_env={"PORT": "a/b"}), {}, "--secret-env"),
    "secret": (replace(IRIS, secret_env={"TOKEN": "store"}), {}, "SECRET/KEY"),
    "label": (replace(IRIS, labels={"team": "a b"}), {}, "--label"),
    "annotation": (replace(IRIS, annotations={"a key": "x"}), {}, "--annotation"),
    "feature": (IRIS, {"empty_dir": False}, "scratch space"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_out_of_range_is_an_error_with_its_option(case: str) -> None:
    spec, limits, part = REFUSED[case]
    (told,) = check(spec, replace(ALL_READ, **limits))
    assert told.severity is Severity.ERROR
    assert part in told.message + told.fix
    assert told.fix


def test_a_longer_timeout_is_fine_where_the_cluster_allows_it() -> None:
    assert check(replace(IRIS, timeout_s=1200), replace(ALL_READ, max_revision_timeout_s=3600)) == ()


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = replace(IRIS, window_s=1, timeout_s=0, concurrency=-1)
    assert len([each for each in check(wrong, ALL_READ) if each.severity is Severity.ERROR]) == 3


def test_what_is_only_worth_knowing_is_no_error() -> None:
    above = check(replace(IRIS, concurrency=2, target=50), ALL_READ)
    kept = check(IRIS, replace(ALL_READ, enable_scale_to_zero=False))
    assert [(each.what, each.severity) for each in (*above, *kept)] == [
        ("target-above-concurrency", Severity.WARNING),
        ("no-scale-to-zero", Severity.INFO),
    ]
