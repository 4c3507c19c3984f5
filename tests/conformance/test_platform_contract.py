"""What every platform promises (``mlfn.platforms.Platform``), whatever it runs on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import DeployFailed, InvalidInput, NotFound
from mlfn.function import Severity, Traffic
from mlfn.models import open_model


def test_a_deployed_function_answers(subject: Any) -> None:
    deployed = subject.deploy()
    assert deployed.name == "conformance"
    assert deployed.platform == subject.platform.name
    assert deployed.url.startswith("http")
    assert (deployed.changed, deployed.ready, deployed.previous) == (True, True, None)
    assert deployed.digest == open_model(subject.model).digest
    assert deployed.seconds["total"] > 0
    answer = subject.invoke()
    assert answer.status == 200
    assert {output["name"] for output in json.loads(answer.body)["outputs"]} == {"label", "probabilities"}
    assert 0 < answer.seconds < 30


def test_deploying_the_same_again_changes_nothing(subject: Any) -> None:
    first = subject.deploy(**subject.a_setting)
    again = subject.deploy(**subject.a_setting)
    assert (again.changed, again.revision, again.url) == (False, first.revision, first.url)


@pytest.mark.parametrize("change", ["model", "settings"])
def test_a_change_is_a_new_revision(subject: Any, change: str) -> None:
    first = subject.deploy()
    second = subject.deploy(model=subject.changed_model) if change == "model" else subject.deploy(**subject.a_setting)
    assert second.changed
    assert second.revision != first.revision
    assert second.previous == first.revision
    assert subject.platform.status("conformance").traffic == (Traffic(second.revision, 100),)
    assert subject.invoke().status == 200


def test_the_same_model_under_another_file_name_changes_nothing(subject: Any, tmp_path: Path) -> None:
    first = subject.deploy()
    renamed = tmp_path / "renamed.onnx"
    renamed.write_bytes(subject.model.read_bytes())
    again = subject.deploy(model=renamed)
    assert (again.changed, again.revision) == (False, first.revision)


def test_a_failing_revision_leaves_the_one_before(subject: Any) -> None:
    first = subject.deploy()
    with pytest.raises(DeployFailed) as failure:
        subject.deploy(model=subject.failing_model)
    assert failure.value.exit_code == 7
    assert failure.value.message
    status = subject.platform.status("conformance")
    assert status.traffic == (Traffic(first.revision, 100),)
    assert status.ready
    assert subject.invoke().status == 200


def test_a_failing_first_deploy_leaves_nothing(subject: Any) -> None:
    with pytest.raises(DeployFailed):
        subject.deploy(model=subject.failing_model)
    assert subject.platform.list() == ()


def test_status_tells_what_was_deployed(subject: Any) -> None:
    asked = {"concurrency": 3, "min_scale": 1, "max_scale": 2, "window_s": 20, "timeout_s": 15.0, "env": {"A": "b"}}
    honoured = {name: value for name, value in asked.items() if name in subject.platform.capabilities.settings}
    assert {"timeout_s"} <= set(honoured)
    deployed = subject.deploy(**honoured)
    status = subject.platform.status("conformance")
    package = open_model(subject.model)
    assert (status.name, status.platform, status.url) == ("conformance", subject.platform.name, deployed.url)
    assert status.url in status.urls
    assert status.signature == package.signature
    assert (status.digest, status.format) == (package.digest, package.format)
    assert {name: getattr(status.spec, name) for name in honoured} == honoured
    assert [revision.name for revision in status.revisions] == [deployed.revision]
    assert status.revisions[0].state == "ready"
    if subject.platform.capabilities.instances:
        assert [instance.state for instance in status.instances] == ["ready"]
    assert not [finding for finding in status.findings if finding.severity is Severity.ERROR]
    assert subject.platform.diagnose("conformance") == status.findings
    assert status.last_errors == ()


def test_all_functions_are_listed_by_name(subject: Any) -> None:
    for name in ("bb", "aa"):
        subject.deploy(name)
    assert [status.name for status in subject.platform.list()] == ["aa", "bb"]
    assert subject.invoke("aa").status == 200
    assert subject.invoke("bb").status == 200


def test_a_function_that_is_not_there_is_not_found(subject: Any) -> None:
    subject.deploy("there")
    platform = subject.platform
    for use in (
        lambda: platform.status("conformance"),
        lambda: platform.remove("conformance"),
        lambda: platform.diagnose("conformance"),
        lambda: platform.traffic("conformance", (Traffic("conformance-00001", 100),)),
        lambda: platform.invoke("conformance", "v2", b"", {}, 5.0),
        lambda: list(platform.logs("conformance", follow=False, tail=1)),
    ):
        with pytest.raises(NotFound):
            use()


def test_an_error_of_the_function_is_an_answer(subject: Any) -> None:
    subject.deploy()
    answer = subject.platform.invoke("conformance", "v2/models/conformance/infer", b"{", {}, 10.0)
    assert answer.status == 400
    assert "error" in json.loads(answer.body)


def test_logs_tell_what_an_instance_wrote(subject: Any) -> None:
    subject.deploy()
    lines = list(subject.platform.logs("conformance", follow=False, tail=-1))
    assert lines
    if subject.platform.capabilities.instances:
        (instance,) = subject.platform.status("conformance").instances
        assert {line.instance for line in lines} == {instance.id}
    assert list(subject.platform.logs("conformance", follow=False, tail=1)) == lines[-1:]
    assert list(subject.platform.logs("conformance", follow=False, tail=0)) == []


def test_logs_can_be_followed(subject: Any) -> None:
    subject.need("logs_follow")
    subject.deploy()
    lines = subject.platform.logs("conformance", follow=True, tail=1)
    assert next(lines).text


def test_traffic_can_be_split_and_must_sum_to_a_hundred(subject: Any) -> None:
    subject.need("traffic_split")
    first = subject.deploy().revision
    second = subject.deploy(model=subject.changed_model).revision
    split = (Traffic(first, 30), Traffic(second, 70))
    assert subject.platform.traffic("conformance", split) == split
    assert subject.platform.status("conformance").traffic == split
    assert subject.invoke().status == 200
    for wrong in ((Traffic(first, 30),), (Traffic(first, 50), Traffic("conformance-99999", 50))):
        with pytest.raises(InvalidInput):
            subject.platform.traffic("conformance", wrong)
    assert subject.platform.status("conformance").traffic == split


def test_a_removed_function_is_gone(subject: Any) -> None:
    subject.deploy()
    subject.platform.remove("conformance")
    assert subject.platform.list() == ()
    with pytest.raises(NotFound):
        subject.invoke()
    assert subject.deploy().previous is None
