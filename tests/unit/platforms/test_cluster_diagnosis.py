"""What the recordings do not show: clusters without Knative, registries that come back, nodes that are unwell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlfn.errors import Conflict, DeployFailed, MlfnError, NotAuthorised, NotFound, Unreachable
from mlfn.platforms.kube.diagnosis import Diagnosis, diagnose
from mlfn.platforms.kube.quantities import amount, told
from mlfn.platforms.kube.refusals import explain

Thing = dict[str, Any]
T0, T9 = "2026-11-23T09:00:00Z", "2026-11-23T09:00:09Z"
REFUSED = 'failed to pull and unpack image "r.example/iris@sha256:0": dial tcp: connect: connection refused'


def _pod(*, set_name: str = "iris-abc", name: str = "iris-abc-1", **status: Any) -> Thing:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "creationTimestamp": T0,
            "ownerReferences": [{"kind": "ReplicaSet", "name": set_name}],
        },
        "spec": {"containers": [{"name": "function", "image": "r.example/iris@sha256:0"}]},
        "status": {"phase": "Pending", **status},
    }


def _container(state: Thing, *, restarts: int = 0) -> Thing:
    return {"containerStatuses": [{"name": "function", "restartCount": restarts, "state": state}]}


def _replica_set(name: str = "iris-abc", number: int = 1, **status: Any) -> Thing:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "creationTimestamp": T0,
            "annotations": {"deployment.kubernetes.io/revision": str(number)},
        },
        "spec": {"replicas": 1},
        "status": status,
    }


def _event(reason: str, message: str, *, name: str = "iris-abc-1", count: int = 1) -> Thing:
    return {
        "kind": "Event",
        "metadata": {"name": f"{name}.{reason}"},
        "involvedObject": {"kind": "Pod", "name": name},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": count,
        "firstTimestamp": T0,
        "lastTimestamp": T9,
    }


def test_without_knative_the_newest_replica_set_is_the_revision() -> None:
    crashed = _container({"terminated": {"exitCode": 3, "message": "no model", "finishedAt": T9}}, restarts=1)
    things = [
        _replica_set("iris-old", 1, readyReplicas=1),
        _replica_set("iris-new", 2),
        _pod(set_name="iris-old", name="iris-old-1", phase="Running"),
        _pod(set_name="iris-new", name="iris-new-1", **crashed),
    ]
    found = diagnose(things)
    assert (found.revision, found.conclusive) == ("iris-new", True)
    assert "no model" in found.findings[0].message
    assert diagnose(things, revision="iris-old") == Diagnosis(revision="iris-old")


def test_a_deployments_deadline_is_final_though_nothing_tells_why() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    deployment = {"kind": "Deployment", "metadata": {"name": "iris"}, "status": {"conditions": [late]}}
    found = diagnose([_replica_set(), deployment])
    assert [each.what for each in found.findings] == ["not-ready-in-time"]
    assert found.conclusive


@pytest.mark.parametrize(("times", "conclusive"), [(1, False), (2, True)])
def test_a_registry_that_refuses_gets_a_second_try(times: int, conclusive: bool) -> None:
    waiting = _container({"waiting": {"reason": "ErrImagePull", "message": REFUSED}})
    event = _event("Failed", f'Failed to pull image "r.example/iris@sha256:0": {REFUSED}', count=times)
    found = diagnose([_replica_set(), _pod(**waiting), event])
    assert [each.what for each in found.findings] == ["registry-unreachable"]
    assert found.conclusive is conclusive


PULLS = {
    "registry-plain-http": "http: server gave HTTP response to HTTPS client",
    "registry-untrusted": "tls: failed to verify certificate: x509: certificate signed by unknown authority",
    "registry-rate-limit": "429 Too Many Requests - toomanyrequests: You have reached your pull rate limit",
    "registry-unreachable": "unexpected status from HEAD request: 503 Service Unavailable",
    "registry-unknown-host": "dial tcp: lookup r.example: no such host",
    "image-unauthorised": "pull access denied, repository does not exist or may require authorization",
    "image-not-found": "manifest unknown: manifest unknown",
    "no-matching-platform": "no match for platform in manifest: not found",
    "node-trouble": "write /var/lib/containerd/x: no space left on device",
    "image-not-pulled": "something that nobody has seen before",
}


@pytest.mark.parametrize("what", PULLS)
def test_the_words_of_a_pull_name_its_cause(what: str) -> None:
    waiting = _container({"waiting": {"reason": "ImagePullBackOff", "message": PULLS[what]}})
    (found,) = diagnose([_replica_set(), _pod(**waiting)]).findings
    assert found.what == what
    assert PULLS[what] in found.message


def test_a_first_end_may_be_chance_unless_the_server_says_that_it_cannot() -> None:
    by_chance = _container({"terminated": {"exitCode": 1, "message": "Traceback"}})
    for_good = _container({"terminated": {"exitCode": 1, "message": "mlfn: /model/model.onnx does not load"}})
    assert not diagnose([_replica_set(), _pod(**by_chance)]).conclusive
    assert diagnose([_replica_set(), _pod(**for_good)]).conclusive


@pytest.mark.parametrize(
    ("code", "part"), [(132, "this CPU does not have"), (139, "SIGSEGV"), (137, "SIGKILL"), (0, "exit code 0")]
)
def test_an_exit_code_is_put_into_words(code: int, part: str) -> None:
    ended = _container({"terminated": {"exitCode": code, "finishedAt": T9}}, restarts=1)
    assert part in diagnose([_replica_set(), _pod(**ended)]).findings[0].message


def test_a_limit_too_small_to_make_a_container() -> None:
    words = "runc create failed: container init was OOM-killed (memory limit too low?)"
    waiting = _container({"waiting": {"reason": "RunContainerError", "message": words}})
    found = diagnose([_replica_set(), _pod(**waiting)])
    assert (found.findings[0].what, found.conclusive) == ("out-of-memory", True)


def test_a_node_that_cannot_prepare_a_pod_is_told_and_waited_for() -> None:
    event = _event("FailedCreatePodSandBox", "network plugin is not initialised", count=4)
    found = diagnose([_replica_set(), _pod(), event])
    assert ([each.what for each in found.findings], found.conclusive) == (["node-trouble"], False)
    once = diagnose([_replica_set(), _pod(), {**event, "count": 1}])
    assert once.findings == ()


def test_a_pod_that_a_node_put_out_is_told() -> None:
    pod = _pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    found = diagnose([_replica_set(), pod])
    assert "low on resource" in found.findings[0].message
    assert not found.conclusive


def test_what_makes_waiting_vain_stands_before_what_ails_besides() -> None:
    put_out = _pod(name="iris-abc-2", reason="Evicted", message="The node was low on resource: memory.")
    newest = {**put_out, "metadata": {**put_out["metadata"], "creationTimestamp": T9}}
    waiting = _container({"waiting": {"reason": "ImagePullBackOff", "message": "registry/iris: 404 Not Found"}})
    found = diagnose([_replica_set(), newest, _pod(**waiting)], revision="iris-abc")
    assert found.conclusive
    assert [each.what for each in found.findings] == ["image-not-found", "evicted"]


def test_a_policy_and_the_security_profile_are_named() -> None:
    for words in (
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        'admission webhook "policy.example" denied the request: the image is not signed',
        "ValidatingAdmissionPolicy 'freeze' with binding 'freeze' denied request: until Monday",
    ):
        failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words}
        found = diagnose([_replica_set(conditions=[failed])])
        assert ([each.what for each in found.findings], found.conclusive) == (["admission-refused"], True)
        assert words.rpartition(": ")[2] in found.findings[0].message


def test_a_quota_that_others_fill_may_get_room() -> None:
    words = "exceeded quota: team, requested: limits.memory=1Gi, used: limits.memory=4Gi, limited: limits.memory=4Gi"
    failed = {"type": "ReplicaFailure", "status": "True", "message": words, "lastTransitionTime": T0}
    found = diagnose([_replica_set(conditions=[failed]), _event("x", "", name="iris-abc")])
    assert not found.conclusive
    assert "--memory" in found.findings[0].fix
    assert diagnose([_replica_set(conditions=[failed])], now=2e9).conclusive


def _status(code: int, reason: str, message: str) -> tuple[int, str]:
    return code, json.dumps({"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code})


REFUSALS = {
    "owned by another": (
        _status(409, "Conflict", 'Apply failed with 1 conflict: conflict with "kubectl" using v1: .spec.template'),
        Conflict,
        ("kubectl",),
        "--force",
    ),
    "changed meanwhile": (_status(409, "Conflict", "the object has been modified"), Conflict, ("meanwhile",), "again"),
    "there already": (_status(409, "AlreadyExists", 'services "iris" already exists'), Conflict, ("exists",), "--name"),
    "who asks": (_status(401, "Unauthorized", "Unauthorized"), NotAuthorised, ("who asks is not known",), "log in"),
    "a quota": (
        _status(403, "Forbidden", "exceeded quota: team, requested: count/services=1, used: 5, limited: 5"),
        DeployFailed,
        ("'team'",),
        "describe quota team",
    ),
    "a policy": (
        _status(403, "Forbidden", 'admission webhook "policy.example" denied the request: not signed'),
        DeployFailed,
        ("policy.example", "not signed"),
        "exception",
    ),
    "a webhook that is down": (
        _status(500, "InternalError", 'failed calling webhook "webhook.serving.knative.dev": connection refused'),
        Unreachable,
        ("webhook.serving.knative.dev",),
        "try again",
    ),
    "overloaded": (_status(429, "TooManyRequests", "too many requests"), Unreachable, ("429",), "try again"),
    "an absent kind": ((404, "404 page not found\n"), NotFound, ("Knative Serving",), "--platform kubernetes"),
    "cluster wide": (
        _status(403, "Forbidden", 'nodes is forbidden: User "ann" cannot list resource "nodes" in API group ""'),
        NotAuthorised,
        ("'ann' may not list nodes in the whole cluster",),
        "kubectl create clusterrole",
    ),
    "a service account": (
        _status(
            403,
            "Forbidden",
            'pods "x" is forbidden: User "system:serviceaccount:team:ci" cannot get resource "pods/log" '
            'in API group "" in the namespace "team"',
        ),
        NotAuthorised,
        ("may not get pods/log",),
        "--serviceaccount=team:ci",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_becomes_the_error_that_it_is(case: str) -> None:
    (code, body), kind, parts, hint = REFUSALS[case]
    error = explain(code, body, "apply", "services.serving.knative.dev/iris").error()
    assert isinstance(error, MlfnError)
    assert type(error) is kind
    assert [part for part in parts if part not in error.message] == []
    assert any(hint in each for each in error.hints)


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("64Mi", 64 * 2**20), ("2", 2.0), ("1e3", 1000.0), ("1k", 1000.0), ("x", 0.0)]
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, value: float) -> None:
    assert amount(text) == value


def test_amounts_are_told_in_the_unit_that_people_read() -> None:
    assert [told("cpu", 0.025), told("cpu", 64.025), told("memory", 2.0**39), told("nvidia.com/gpu", 1.0)] == [
        "25m",
        "64.025",
        "512Gi",
        "1",
    ]
