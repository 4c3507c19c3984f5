"""The Knative Service of a function: pure values in, an object out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import InvalidInput, MlfnError, NotFound
from mlfn.function import FunctionSpec, ImageRef, ModelPackage, Traffic
from mlfn.models import open_model
from mlfn.platforms import DeployRequest
from mlfn.platforms.knative.manifests import service
from mlfn.platforms.knative.objects import covers
from mlfn.platforms.knative.revisions import traffic_of
from mlfn.platforms.knative.status import seen_by_tag, status_of
from mlfn.platforms.knative.ways import ways
from mlfn.platforms.kube.records import read_signature, read_spec

DIGEST = "sha256:" + "1" * 64


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    """Give iris."""
    return open_model(Path(__file__).resolve().parents[3] / "examples" / "iris" / "model.onnx")


def made(package: ModelPackage, **spec: Any) -> dict[str, Any]:
    """Return the Service for some settings."""
    image = ImageRef("registry.example:5000", "team/iris", "v1", DIGEST)
    return service(DeployRequest(FunctionSpec("iris", **spec), package, image))


def template(thing: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """Return a template's annotations, its specification and its one container."""
    found = thing["spec"]["template"]
    (container,) = found["spec"]["containers"]
    return found["metadata"]["annotations"], found["spec"], container


def autoscaling(annotations: dict[str, str]) -> dict[str, str]:
    """Return the autoscaler's own."""
    prefix = "autoscaling.knative.dev/"
    return {key.removeprefix(prefix): value for key, value in annotations.items() if key.startswith(prefix)}


def test_the_image_is_named_by_its_digest(package: ModelPackage) -> None:
    assert template(made(package))[2]["image"] == f"registry.example:5000/team/iris@{DIGEST}"


def test_ready_is_what_the_server_says_asked_as_often_as_knative_can(package: ModelPackage) -> None:
    assert template(made(package))[2]["readinessProbe"] == {"httpGet": {"path": "/v2/health/ready"}}


def test_what_is_knatives_default_is_left_to_the_cluster(package: ModelPackage) -> None:
    thing = made(package)
    assert autoscaling(template(thing)[0]) == {}
    assert autoscaling(thing["metadata"]["annotations"]) == {}


def test_scaling_stands_on_the_template_where_knative_reads_it(package: ModelPackage) -> None:
    thing = made(
        package, metric="rps", target=7.5, utilization=0.55, min_scale=1, max_scale=4, window_s=90, concurrency=8
    )
    annotations, spec, _ = template(thing)
    assert autoscaling(annotations) == {
        "metric": "rps",
        "target": "7.5",
        "target-utilization-percentage": "55",
        "min-scale": "1",
        "max-scale": "4",
        "window": "90s",
    }
    assert spec["containerConcurrency"] == 8
    assert autoscaling(thing["metadata"]["annotations"]) == {}


@pytest.mark.parametrize(("timeout_s", "seconds"), [(300.0, 300), (0.5, 1), (599.2, 600)])
def test_a_request_may_take_as_long_before_its_first_byte(
    timeout_s: float, seconds: int, package: ModelPackage
) -> None:
    spec = template(made(package, timeout_s=timeout_s))[1]
    assert (spec["timeoutSeconds"], spec["responseStartTimeoutSeconds"]) == (seconds, seconds)


def test_the_pod_passes_the_restricted_profile_and_has_no_token(package: ModelPackage) -> None:
    _, spec, container = template(made(package))
    security = container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False


def test_variables_resources_and_accounts(package: ModelPackage) -> None:
    thing = made(
        package,
        env={"LANG": "C"},
        secret_env={"TOKEN": "vault/key"},
        cpu_millis=500,
        memory_bytes=512 * 2**20,
        service_account="runner",
        image_pull_secret="pull",
    )
    _, spec, container = template(thing)
    variables = {each["name"]: each for each in container["env"]}
    assert variables["LANG"]["value"] == "C"
    assert variables["TOKEN"] == {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "vault", "key": "key"}}}
    assert container["resources"]["limits"] == {"cpu": "500m", "memory": "512Mi"}
    assert spec["serviceAccountName"] == "runner"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]


def test_visibility_is_a_label_of_the_service_alone(package: ModelPackage) -> None:
    key = "networking.knative.dev/visibility"
    assert key not in made(package)["metadata"]["labels"]
    thing = made(package, visibility="cluster")
    assert thing["metadata"]["labels"][key] == "cluster-local"
    assert key not in thing["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize(
    ("key", "value", "spec", "option"),
    [
        ("min-scale", "2", {"min_scale": 3}, "--min-scale"),
        ("minScale", "2", {"min_scale": 3}, "--min-scale"),
        ("target-utilization-percentage", "60", {"utilization": 0.5}, "--utilization"),
        ("window", "90s", {"window_s": 120}, "--window"),
    ],
)
def test_an_annotation_that_an_option_says_otherwise_is_refused(
    key: str, value: str, spec: dict[str, Any], option: str, package: ModelPackage
) -> None:
    given = {f"autoscaling.knative.dev/{key}": value}
    with pytest.raises(InvalidInput, match=f"contradicts {option} "):
        made(package, annotations=given, **spec)
    assert template(made(package, annotations=given))[0][f"autoscaling.knative.dev/{key}"] == value


def test_annotations_of_the_user_go_where_they_count(package: ModelPackage) -> None:
    given = {
        "example.com/owner": "team",
        "autoscaling.knative.dev/scale-down-delay": "30s",
        "serving.knative.dev/progress-deadline": "20m",
        "serving.knative.dev/rollout-duration": "60s",
    }
    thing = made(package, annotations=given)
    on_service = given.keys() & thing["metadata"]["annotations"].keys()
    on_template = given.keys() & template(thing)[0].keys()
    assert on_service == {"example.com/owner", "serving.knative.dev/rollout-duration"}
    assert on_template == given.keys() - {"serving.knative.dev/rollout-duration"}


def test_labels_say_whose_it_is_and_cannot_be_taken_over(package: ModelPackage) -> None:
    thing = made(package, labels={"team": "a", "app.kubernetes.io/managed-by": "me"})
    for metadata in (thing["metadata"], thing["spec"]["template"]["metadata"]):
        assert metadata["labels"] == {
            "team": "a",
            "app.kubernetes.io/managed-by": "mlfn",
            "app.kubernetes.io/name": "iris",
        }


def test_settings_and_signature_are_read_back(package: ModelPackage) -> None:
    thing = made(package, window_s=30, env={"A": "b"}, secret_env={"T": "s/k"})
    assert read_spec(thing) == FunctionSpec("iris", window_s=30, env={"A": "b"}, secret_env={"T": "s/k"})
    assert read_signature(thing) == package.signature


def test_what_a_newer_mlfn_wrote_besides_is_left_out(package: ModelPackage) -> None:
    thing = made(package)
    known = json.loads(thing["metadata"]["annotations"]["mlfn.dev/spec"])
    thing["metadata"]["annotations"]["mlfn.dev/spec"] = json.dumps({**known, "of_the_future": 1})
    assert read_spec(thing) == FunctionSpec("iris")
    del thing["metadata"]["annotations"]["mlfn.dev/spec"]
    with pytest.raises(MlfnError, match=r"iris has no readable annotation mlfn\.dev/spec"):
        read_spec(thing)


def test_the_same_values_make_the_same_bytes(package: ModelPackage) -> None:
    first = made(package, env={"A": "1", "B": "2"}, labels={"x": "1", "y": "2"})
    second = made(package, env={"B": "2", "A": "1"}, labels={"y": "2", "x": "1"})
    assert json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


@pytest.mark.parametrize(
    ("has", "wanted", "there"),
    [
        ({"a": 1, "added": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": [{"x": 1, "added": 1}]}, {"a": [{"x": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": {"limit": 1}}, {"a": {}}, False),
        ({}, {"a": {}}, True),
        ({"a": [1]}, {"a": []}, False),
        ({"a": True}, {"a": False}, False),
    ],
)
def test_what_counts_as_already_there(has: Any, wanted: Any, there: bool) -> None:
    assert covers(has, wanted) is there


def live(package: ModelPackage) -> dict[str, Any]:
    """Return a Service with two revisions, as a cluster tells of it."""
    thing = made(package)
    thing["metadata"].update(generation=4, creationTimestamp="2026-11-01T12:00:00Z")
    thing["status"] = {
        "observedGeneration": 4,
        "url": "http://iris.ns.test",
        "address": {"url": "http://iris.ns.svc.cluster.local"},
        "conditions": [{"type": "Ready", "status": "True"}],
        "traffic": [
            {"revisionName": "iris-00001", "percent": 90},
            {"revisionName": "iris-00002", "percent": 10},
            {"revisionName": "iris-00001", "tag": "old", "url": "http://old-iris.ns.test"},
            {"revisionName": "iris-00001", "tag": "older", "url": "http://older-iris.ns.test"},
        ],
    }
    return thing


def test_a_share_and_a_tag_of_one_revision_are_one_entry(package: ModelPackage) -> None:
    assert traffic_of(live(package)) == (
        Traffic("iris-00001", 90, "old", "http://old-iris.ns.test"),
        Traffic("iris-00002", 10),
        Traffic("iris-00001", 0, "older", "http://older-iris.ns.test"),
    )


def test_a_function_is_told_as_the_revision_that_serves_most(package: ModelPackage) -> None:
    revisions = []
    for number in (1, 2):
        metadata = made(package, window_s=10 * number)["spec"]["template"]["metadata"]
        metadata.update(name=f"iris-0000{number}", creationTimestamp=f"2026-11-01T12:0{number}:00Z")
        revisions.append({"kind": "Revision", "metadata": metadata})
    told = status_of(live(package), revisions, ())
    assert (told.ready, told.spec.window_s, told.digest) == (True, 10, package.digest)
    assert [each.name for each in told.revisions] == ["iris-00001", "iris-00002"]
    assert told.urls[:2] == ("http://iris.ns.test", "http://iris.ns.svc.cluster.local")


def test_a_tag_is_an_address_and_one_revision(package: ModelPackage) -> None:
    status = seen_by_tag(live(package), "old")["status"]
    assert status["url"] == "http://old-iris.ns.test"
    assert status["traffic"] == [{"revisionName": "iris-00001", "percent": 100}]
    with pytest.raises(NotFound, match="no tag 'odl'") as unknown:
        seen_by_tag(live(package), "odl")
    assert unknown.value.hints == ("did you mean 'old'?", "its tags: old, older")


@pytest.mark.parametrize(("host", "asked"), [("iris.ns.example.com", True), ("iris.ns.svc.cluster.local", False)])
def test_a_named_ingress_is_only_for_what_is_public(
    host: str, asked: bool, knative: Any, package: ModelPackage
) -> None:
    thing = live(package)
    thing["metadata"]["namespace"] = "ns"
    thing["status"]["url"] = f"http://{host}"
    says = [way.says for way in ways(knative, thing, "http://10.0.0.1")]
    assert says[0] == f"http://{host}"
    assert any("10.0.0.1" in each for each in says) is asked
