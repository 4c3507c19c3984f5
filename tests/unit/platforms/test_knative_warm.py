"""Keeping warm on Knative: what the cluster offers decides who pings, and the objects that ping come and go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlfn.delivery.warm import Kept, companions, keep_warm
from mlfn.errors import InvalidInput, NotAuthorised, NotFound
from mlfn.function import Deployed, FunctionSpec, ImageRef
from mlfn.models import open_model
from mlfn.platforms import DeployRequest
from mlfn.platforms.knative.keeping_warm import RETENTION, terms_of
from mlfn.platforms.knative.platform import KnativePlatform
from mlfn.platforms.kube.kinds import CRON_JOB, PING_SOURCE, Kind
from mlfn.platforms.kube.limits import ClusterLimits

IMAGE = ImageRef("registry.example", "team/iris", "", f"sha256:{'1' * 64}")
EVENTING = {"resources": [{"name": "pingsources"}, {"name": "pingsources/status"}]}


class Offers:
    """Say what the cluster in memory serves and allows."""

    def __init__(self, door: Any) -> None:
        self.door = door
        self.served: Any = None
        self.denied: tuple[Kind, ...] = ()
        self.autoscaler: dict[str, str] | None = {}
        door.raw, door.may, door.config_map = self.raw, self.may, self.config_map

    def raw(self, path: str) -> Any:
        if self.served is None or path != "/apis/sources.knative.dev/v1":
            raise NotFound(path)
        return self.served

    def may(self, verb: str, kind: Kind, *, namespace: str = "") -> bool:
        return kind not in self.denied

    def config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        if self.autoscaler is None:
            raise NotAuthorised(f"{name} may not be read")
        return self.autoscaler if name == "config-autoscaler" else {}


@pytest.fixture
def offers(knative: Any) -> Offers:
    return Offers(knative)


@pytest.fixture
def platform(knative: Any, offers: Offers) -> KnativePlatform:
    return KnativePlatform(knative)


@pytest.fixture
def repository() -> Path:
    return Path(__file__).resolve().parents[3]


def deploy(platform: KnativePlatform, repository: Path, **spec: Any) -> tuple[Kept, Deployed]:
    """Deploy as the delivery does."""
    kept = keep_warm(platform, FunctionSpec("iris", **spec))
    package = open_model(repository / "examples" / "iris" / "model.onnx")
    request = DeployRequest(kept.spec, package, IMAGE, companions=companions(kept, IMAGE))
    return kept, platform.deploy(request, progress=lambda stage: None)


def test_with_eventing_a_ping_source_pings_and_goes_when_it_is_switched_off(
    platform: KnativePlatform, knative: Any, offers: Offers, repository: Path
) -> None:
    offers.served = EVENTING
    kept, _ = deploy(platform, repository, warm="45s")
    assert kept.plan is not None
    assert (kept.plan.sender, kept.spec.window_s) == ("PingSource", 60)
    source = knative.things["PingSource", "iris-warm"]
    assert source["spec"]["schedule"] == "*/45 * * * * *"
    assert source["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "mlfn"
    (owner,) = source["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Service", knative.service()["metadata"]["uid"])
    warm = platform.status("iris").warm
    assert warm is not None
    assert (warm.asked, warm.sender, warm.period_s) == ("45s", "PingSource", 45)
    deploy(platform, repository, warm="off")
    assert knative.named("PingSource") == []


@pytest.mark.parametrize("denied", [(), (PING_SOURCE,)], ids=["no Eventing", "not for this user"])
def test_else_a_cron_job_pings_each_minute_with_the_window_that_needs(
    platform: KnativePlatform, knative: Any, offers: Offers, repository: Path, denied: tuple[Kind, ...]
) -> None:
    offers.denied = denied
    offers.served = EVENTING if denied else None
    kept, _ = deploy(platform, repository, warm="30s")
    assert kept.spec.window_s == 80
    template = knative.service()["spec"]["template"]["metadata"]["annotations"]
    assert template["autoscaling.knative.dev/window"] == "80s"
    job = knative.things["CronJob", "iris-warm"]
    pod = job["spec"]["jobTemplate"]["spec"]["template"]
    assert pod["spec"]["containers"][0]["image"] == IMAGE.pinned
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "iris"
    offers.served, offers.denied = EVENTING, ()
    deploy(platform, repository, warm="30s")
    assert (knative.named("CronJob"), knative.named("PingSource")) == ([], ["iris-warm"])


def test_else_a_person_has_to(platform: KnativePlatform, knative: Any, offers: Offers, repository: Path) -> None:
    offers.denied = (CRON_JOB,)
    kept, _ = deploy(platform, repository, warm="30s")
    assert kept.plan is not None
    assert kept.plan.sender == "mlfn warm run"
    assert knative.named("CronJob") == []


def test_auto_is_a_minimum_and_pings_nothing(
    platform: KnativePlatform, knative: Any, offers: Offers, repository: Path
) -> None:
    offers.served = EVENTING
    kept, _ = deploy(platform, repository, warm="auto")
    assert kept.spec.min_scale == 1
    assert knative.named("PingSource") == []
    warm = platform.status("iris").warm
    assert warm is not None
    assert (warm.always, warm.period_s) == (1, 0)


def test_the_clusters_own_window_decides_what_is_safe(platform: KnativePlatform, offers: Offers) -> None:
    offers.served, offers.autoscaler = EVENTING, {"stable-window": "30s"}
    with pytest.raises(InvalidInput, match="from a period of 34 s on; the longest safe period is 22 s") as refused:
        keep_warm(platform, FunctionSpec("iris", warm="45s"))
    assert refused.value.hints[0] == "--warm 22s is safe"
    offers.autoscaler = {"enable-scale-to-zero": "false"}
    with pytest.raises(InvalidInput, match="nothing goes to zero here"):
        keep_warm(platform, FunctionSpec("iris", warm="45s"))


def test_where_the_configuration_may_not_be_read_the_defaults_hold(platform: KnativePlatform, offers: Offers) -> None:
    offers.served, offers.autoscaler = EVENTING, None
    assert platform.warm_terms(FunctionSpec("iris")).stay_s == 63


def test_annotations_and_limits_of_the_function_count() -> None:
    limits = ClusterLimits()
    plain = terms_of(FunctionSpec("iris"), limits, "PingSource", 1)
    assert (plain.window_s, plain.retention_s, plain.total_value, plain.stay_s) == (60, 0, 100, 63)
    kept = FunctionSpec("iris", annotations={RETENTION: "1m30s"}, concurrency=8, target=20.0, window_s=120)
    assert terms_of(kept, limits, "", 1).retention_s == 90
    with pytest.raises(InvalidInput, match="expected a duration such as 90s"):
        terms_of(replace(kept, annotations={RETENTION: "long"}), limits, "", 1)
    assert terms_of(kept, limits, "", 1).total_value == 8
    burst = replace(limits, target_burst_capacity=0.0)
    assert terms_of(FunctionSpec("iris"), burst, "", 1).stay_s == 90
