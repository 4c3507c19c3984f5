"""The objects of a function on plain Kubernetes: pure, and the same for the same request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import InvalidInput
from mlfn.function import FunctionSpec, ImageRef
from mlfn.models import open_model
from mlfn.platforms import DeployRequest
from mlfn.platforms.kube.pods import container, pod_spec
from mlfn.platforms.kube.records import read_signature, read_spec
from mlfn.platforms.kubernetes import connect
from mlfn.platforms.kubernetes.manifests import objects

IRIS = Path(__file__).resolve().parents[3] / "examples" / "iris" / "model.onnx"
IMAGE = ImageRef("registry.example.com", "team/iris", "t", "sha256:" + "a" * 64)


def request(**spec: Any) -> DeployRequest:
    return DeployRequest(FunctionSpec("iris", **spec), open_model(IRIS), image=IMAGE)


def by_kind(**spec: Any) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in objects(request(**spec))}


def test_a_plain_function_is_a_deployment_and_a_service() -> None:
    made = by_kind()
    assert list(made) == ["Deployment", "Service"]
    assert made["Deployment"]["spec"]["replicas"] == 1
    (port,) = made["Service"]["spec"]["ports"]
    (inside,) = made["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert (port["port"], port["targetPort"]) == (80, inside["name"])
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selected in (made["Service"]["spec"]["selector"], made["Deployment"]["spec"]["selector"]["matchLabels"]):
        assert selected.items() <= labels.items()


def test_the_image_is_named_by_its_digest() -> None:
    pod = by_kind()["Deployment"]["spec"]["template"]["spec"]
    assert [each["image"] for each in pod["containers"]] == ["registry.example.com/team/iris@sha256:" + "a" * 64]


def test_bounds_make_an_autoscaler_whose_matter_the_number_is() -> None:
    made = by_kind(min_scale=2, max_scale=5, utilization=0.5, window_s=90)
    assert list(made) == ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    assert "replicas" not in made["Deployment"]["spec"]
    spec = made["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)
    assert spec["metrics"][0]["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 50},
    }
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 90
    # A percentage of nothing is no measure.
    resources = made["Deployment"]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "100m"}}


def test_a_fixed_number_has_no_autoscaler() -> None:
    assert "HorizontalPodAutoscaler" not in by_kind(min_scale=3, max_scale=3)
    assert by_kind(min_scale=3)["Deployment"]["spec"]["replicas"] == 3


def test_there_is_no_scale_to_zero() -> None:
    platform = connect({})
    assert not platform.capabilities.scale_to_zero
    assert not platform.capabilities.traffic_split
    made = by_kind(min_scale=0, max_scale=2)
    assert made["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 1
    assert read_spec(made["Deployment"]).min_scale == 1


def test_a_rolling_update_loses_no_instance_and_no_request() -> None:
    deployment = by_kind(timeout_s=20.0)["Deployment"]["spec"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    pod = deployment["template"]["spec"]
    (function,) = pod["containers"]
    seconds = {each["name"]: float(each["value"]) for each in function["env"]}
    leave = seconds["MLFN_LEAVE_S"]
    # A node's proxy was seen to follow four seconds late.
    assert leave >= 10
    assert pod["terminationGracePeriodSeconds"] > leave + seconds["MLFN_DRAIN_S"] == leave + 20
    for probe in ("startupProbe", "readinessProbe"):
        assert function[probe]["httpGet"]["path"] == "/v2/health/ready"
    # Who takes longer to load than to answer is not restarted meanwhile.
    startup = function["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= deployment["progressDeadlineSeconds"]


def test_pods_pass_the_restricted_profile() -> None:
    context = container(FunctionSpec("iris"), IMAGE)["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod_spec(FunctionSpec("iris"), IMAGE)["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("spec", "amounts"),
    [
        ({}, {}),
        ({"cpu_millis": 500}, {"cpu": "500m"}),
        ({"cpu_millis": 2000, "memory_bytes": 3 * 2**29}, {"cpu": "2", "memory": "1536Mi"}),
        ({"memory_bytes": 100_000_001}, {"memory": "100000001"}),
    ],
    ids=["none", "cpu", "both", "odd"],
)
def test_what_is_asked_for_is_what_is_allowed(spec: dict[str, Any], amounts: dict[str, str]) -> None:
    resources = container(FunctionSpec("iris", **spec), IMAGE)["resources"]
    assert resources == ({"requests": amounts, "limits": amounts} if amounts else {})


def test_a_secret_is_named_and_never_its_value() -> None:
    spec = FunctionSpec("iris", env={"B": "b", "A": "plain"}, secret_env={"A": "keys/token"}, service_account="runner")
    variables = {each["name"]: each for each in container(spec, IMAGE)["env"]}
    assert variables["A"] == {"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}
    assert variables["B"] == {"name": "B", "value": "b"}
    assert list(variables) == sorted(variables)
    pod = pod_spec(replace(spec, image_pull_secret="pull"), IMAGE)
    assert (pod["serviceAccountName"], pod["imagePullSecrets"]) == ("runner", [{"name": "pull"}])
    assert "automountServiceAccountToken" not in pod


def test_the_users_labels_stand_on_everything_and_mlfns_win() -> None:
    labels = {"team": "flowers", "app.kubernetes.io/managed-by": "somebody"}
    for each in objects(request(min_scale=2, max_scale=4, labels=labels, annotations={"example.com/a": "{{b}}"})):
        assert each["metadata"]["labels"]["team"] == "flowers"
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "mlfn"
        assert each["metadata"]["annotations"]["example.com/a"] == "{{b}}"


def test_an_object_tells_the_whole_function() -> None:
    asked = request(min_scale=2, env={"A": "b"}, timeout_s=15.0)
    deployment = objects(asked)[0]
    assert read_spec(deployment) == asked.spec
    assert read_signature(deployment) == asked.package.signature
    template = deployment["spec"]["template"]["metadata"]
    assert template["annotations"].items() == deployment["metadata"]["annotations"].items()


def test_every_setting_makes_another_template() -> None:
    templates = [
        repr(by_kind(**spec)["Deployment"]["spec"]["template"])
        for spec in ({}, {"window_s": 30}, {"max_scale": 2}, {"labels": {"a": "b"}}, {"utilization": 0.3})
    ]
    assert len(set(templates)) == len(templates)


@pytest.mark.parametrize("spec", [{"max_scale": 1, "min_scale": 2}, {"env": {"PORT": "9000"}}], ids=["bounds", "port"])
def test_what_cannot_be_is_refused_before_the_cluster_is_asked(spec: dict[str, Any]) -> None:
    platform = connect({"cluster.kubeconfig": "/does/not/exist"})
    with pytest.raises(InvalidInput):
        platform.manifests(request(**spec))


def test_manifests_ask_no_cluster() -> None:
    platform = connect({"cluster.kubeconfig": "/does/not/exist"})
    assert platform.manifests(request()) == objects(request())
