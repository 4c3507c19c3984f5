"""Revisions out of ReplicaSets, and Deployments that are put back: pure, over objects as the API gives them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mlfn.function import Traffic
from mlfn.platforms.kube.instances import instance
from mlfn.platforms.kubernetes.changes import NO_SUCH_VERSION, differs, locked, restored, with_template_of
from mlfn.platforms.kubernetes.revisions import current, is_rolled_out, pods_of, sets_of, shares, told_apart

COUNTER = "deployment.kubernetes.io/revision"


def deployment(number: int = 2, replicas: int = 2, **status: int) -> dict[str, Any]:
    told = {"observedGeneration": 5, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, **status}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "iris",
            "namespace": "ns",
            "uid": "d",
            "generation": 5,
            "resourceVersion": "77",
            "labels": {"a": "new"},
            "annotations": {COUNTER: str(number), "mlfn.dev/spec": "new", "kubectl.kubernetes.io/x": "kept"},
            "managedFields": [{}],
        },
        "spec": {"replicas": replicas, "template": template("new")},
        "status": told,
    }


def template(image: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"a": image}, "annotations": {"mlfn.dev/spec": image}},
        "spec": {"containers": [{"name": "function", "image": image}]},
    }


def replica_set(number: int, image: str, ready: int = 0, owner: str = "d") -> dict[str, Any]:
    made = template(image)
    made["metadata"]["labels"]["pod-template-hash"] = f"h{number}"
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"iris-h{number}",
            "uid": f"r{number}",
            "annotations": {COUNTER: str(number)},
            "ownerReferences": [{"uid": owner, "name": "iris"}],
        },
        "spec": {"template": made},
        "status": {"readyReplicas": ready} if ready else {},
    }


def pod(owner: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": f"pod-{owner}", "ownerReferences": [{"uid": owner, "name": owner}], "creationTimestamp": None}
    return {"kind": "Pod", "metadata": {**metadata, **more.pop("metadata", {})}, "status": more}


def test_only_its_own_sets_count_and_the_newest_is_last() -> None:
    things = [replica_set(10, "new"), replica_set(9, "old"), replica_set(11, "other", owner="x"), pod("r9"), pod("r10")]
    sets = sets_of(deployment(10), things)
    assert [each["metadata"]["name"] for each in sets] == ["iris-h9", "iris-h10"]
    assert [each["metadata"]["name"] for each in pods_of(sets[0], things)] == ["pod-r9"]


def test_the_current_one_is_known_when_the_controller_has_seen_the_change() -> None:
    sets = [replica_set(1, "old"), replica_set(2, "new")]
    assert current(deployment(2), sets) is sets[1]
    assert current(deployment(2, observedGeneration=4), sets) is None


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ({}, True),
        ({"observedGeneration": 4}, False),
        ({"updatedReplicas": 1}, False),
        ({"replicas": 3}, False),
        ({"availableReplicas": 1}, False),
    ],
    ids=["all", "not seen", "not all made", "old ones left", "not ready"],
)
def test_rolled_out_means_every_instance_is_new_and_ready(status: dict[str, int], done: bool) -> None:
    assert is_rolled_out(deployment(**status)) is done


def test_shares_follow_the_ready_instances_and_sum_to_a_hundred() -> None:
    old, new = replica_set(1, "old", ready=2), replica_set(2, "new", ready=1)
    assert shares([old, new], new) == (Traffic("iris-h1", 67), Traffic("iris-h2", 33))
    assert shares([replica_set(1, "old"), new], new) == (Traffic("iris-h2", 100),)
    assert shares([replica_set(1, "old")], None) == ()
    assert shares([replica_set(2, "new")], replica_set(2, "new")) == (Traffic("iris-h2", 100),)


def test_what_comes_again_is_told_apart_and_what_is_there_stays() -> None:
    sets = [replica_set(1, "old"), replica_set(2, "new")]
    again = told_apart({"spec": {"template": template("old")}}, deployment(2), sets)
    assert again["spec"]["template"]["metadata"]["annotations"]["mlfn.dev/again"] == "3"
    there = {**deployment(3), "spec": again["spec"]}
    assert told_apart({"spec": {"template": template("old")}}, there, sets)["spec"] == again["spec"]
    for image in ("new", "newest"):
        wanted = {"spec": {"template": template(image)}}
        assert told_apart(wanted, deployment(2), sets) == wanted


def test_a_deployment_that_is_put_back_says_nothing_of_the_servers() -> None:
    back = restored(deployment())
    assert set(back) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(back["metadata"]) == {"name", "labels", "annotations"}
    assert COUNTER not in back["metadata"]["annotations"]
    assert back["spec"] == deployment()["spec"]


def test_going_back_takes_the_old_template_and_what_stands_on_it() -> None:
    back = with_template_of(deployment(), replica_set(1, "old"))
    assert back["spec"]["template"] == template("old")
    assert back["metadata"]["labels"] == {"a": "old"}
    assert back["metadata"]["annotations"] == {"mlfn.dev/spec": "old"}


def test_a_change_holds_only_while_nothing_else_changed() -> None:
    wanted = {"metadata": {"name": "iris"}, "spec": {"template": template("newer")}}
    before = copy.deepcopy(wanted)
    assert locked(wanted, deployment(replicas=4))["metadata"]["resourceVersion"] == "77"
    assert locked(wanted, deployment(replicas=4))["spec"]["replicas"] == 4
    first = locked(wanted, None)
    assert first["metadata"]["resourceVersion"] == NO_SUCH_VERSION
    assert "replicas" not in first["spec"]
    assert wanted == before


def test_a_status_is_no_difference_and_a_setting_is() -> None:
    again = deployment(availableReplicas=0)
    again["metadata"] |= {"resourceVersion": "99", "generation": 6}
    again["metadata"]["annotations"] = {**again["metadata"]["annotations"], COUNTER: "3"}
    assert not differs(deployment(), again)
    again["spec"]["replicas"] = 3
    assert differs(deployment(), again)
    assert differs(None, again)


def function(**state: dict[str, Any]) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "function", "state": state}]}


@pytest.mark.parametrize(
    ("what", "state"),
    [
        ({"conditions": [{"type": "Ready", "status": "True"}]}, "ready"),
        ({"conditions": [{"type": "Ready", "status": "True"}], "metadata": {"deletionTimestamp": "t"}}, "draining"),
        ({}, "starting"),
        (
            {"containerStatuses": [{"name": "function", "state": {"waiting": {"reason": "ContainerCreating"}}}]},
            "starting",
        ),
        (function(waiting={"reason": "CrashLoopBackOff"}), "failed"),
        (function(terminated={"exitCode": 1}), "failed"),
        (function(running={}), "starting"),
        ({"phase": "Failed"}, "failed"),
    ],
    ids=["ready", "draining", "new", "creating", "crashing", "ended", "loading", "evicted"],
)
def test_a_pod_is_an_instance_in_one_of_four_states(what: dict[str, Any], state: str) -> None:
    found = instance(pod("r1", podIP="10.1.2.3", startTime="2026-11-23T10:00:00Z", **what), "iris-h1")
    assert (found.state, found.revision, found.address) == (state, "iris-h1", "10.1.2.3:8080")
    assert found.started_at == 1795428000.0
