"""Deploys on Knative: what is written, what serves at every moment, and what stays after a failure."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import Conflict, DeployFailed, InvalidInput, TimedOut, Unreachable
from mlfn.function import Deployed, FunctionSpec, ImageRef, Traffic
from mlfn.models import open_model
from mlfn.platforms import DeployRequest, Progress
from mlfn.platforms.knative.platform import KnativePlatform
from mlfn.platforms.kube.door import Selection
from mlfn.platforms.kube.kinds import KNATIVE_SERVICE

GOOD, BETTER, BAD = (f"sha256:{digit * 64}" for digit in "123")
CONCLUSIVE = (
    "command_not_found",
    "crash_loop",
    "image_digest_not_found",
    "image_tag_not_found",
    "missing_secret",
    "no_matching_platform",
    "oom_at_start",
    "quota_pods",
    "registry_unauthorized",
    "runs_as_root",
    "service_account_missing",
    "wrong_architecture",
)


def image(digest: str) -> ImageRef:
    """Return an image in some registry."""
    return ImageRef("registry.example", "team/iris", "", digest)


@pytest.fixture
def deploy(knative: Any, repository: Path) -> Callable[..., Deployed]:
    """Give what deploys an image as iris."""
    package = open_model(repository / "examples" / "iris" / "model.onnx")

    def silent(stage: str) -> None:
        """Take note of nothing."""

    def run(digest: str = GOOD, progress: Progress = silent, window_s: int = 60, **asked: Any) -> Deployed:
        request = DeployRequest(FunctionSpec("iris", window_s=window_s), package, image(digest), **asked)
        return KnativePlatform(knative).deploy(request, progress=progress)

    return run


@pytest.fixture
def platform(knative: Any) -> KnativePlatform:
    """Give the platform."""
    return KnativePlatform(knative)


def serves(knative: Any) -> dict[str, int]:
    """Return the shares as they are."""
    return {each["revisionName"]: each["percent"] for each in knative.service()["status"]["traffic"] if each["percent"]}


def test_a_first_deploy_must_not_find_the_service_and_gives_it_all_traffic(deploy: Any, knative: Any) -> None:
    deployed = deploy()
    assert (deployed.revision, deployed.previous, deployed.changed, deployed.ready) == ("iris-00001", None, True, True)
    assert deployed.url == "http://iris.ns.test"
    (_, name, sent), *others = knative.writes
    assert (name, sent["metadata"]["resourceVersion"], others) == ("iris", "1", [])
    assert sent["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]


def test_an_update_moves_the_traffic_only_when_the_new_revision_is_ready(deploy: Any, knative: Any) -> None:
    deploy()
    knative.writes.clear()
    deployed = deploy(BETTER)
    assert (deployed.revision, deployed.previous, deployed.changed) == ("iris-00002", "iris-00001", True)
    first, second = (sent["spec"]["traffic"] for verb, _, sent in knative.writes if verb == "apply")
    assert first == [{"revisionName": "iris-00001", "percent": 100}]
    assert second == [{"latestRevision": True, "percent": 100}]
    assert serves(knative) == {"iris-00002": 100}


def test_what_served_before_is_kept_from_the_garbage_collector(deploy: Any, knative: Any) -> None:
    deploy()
    deploy(BETTER)
    annotations = knative.things["Revision", "iris-00001"]["metadata"]["annotations"]
    assert annotations["serving.knative.dev/no-gc"] == "true"


def test_old_revisions_go_by_count(deploy: Any, knative: Any) -> None:
    for number in range(13):
        deploy(GOOD if number % 2 else BETTER)
    # Ten as targets of a rollback, and the one that serves.
    assert len(knative.named("Revision")) == 11
    assert "iris-00001" not in knative.named("Revision")


def test_the_same_again_writes_nothing(deploy: Any, knative: Any) -> None:
    deploy()
    knative.writes.clear()
    again = deploy()
    assert (again.changed, again.revision, knative.writes) == (False, "iris-00001", [])


@pytest.mark.parametrize("case", CONCLUSIVE)
def test_a_first_deploy_that_fails_leaves_nothing(case: str, deploy: Any, knative: Any) -> None:
    knative.failures[image(BAD).pinned] = case
    with pytest.raises(DeployFailed, match=r"iris-00001 did not become ready: .*; nothing of iris stays") as failed:
        deploy(BAD)
    assert failed.value.exit_code == 7
    assert failed.value.hints
    assert knative.things == {}


@pytest.mark.parametrize("case", CONCLUSIVE)
def test_an_update_that_fails_leaves_what_served(case: str, deploy: Any, knative: Any) -> None:
    deploy()
    before = copy.deepcopy(knative.service()["spec"])
    knative.failures[image(BAD).pinned] = case
    served = []
    knative.before_sight = lambda number: served.append(serves(knative))
    with pytest.raises(DeployFailed, match=r"iris-00002 did not become ready: .*; iris-00001 serves on"):
        deploy(BAD)
    assert knative.service()["spec"] == before
    assert knative.named("Revision") == ["iris-00001"]
    assert served == [{"iris-00001": 100}] * len(served)


def test_a_revision_of_which_nothing_is_heard_times_out_with_what_is_awaited(deploy: Any, knative: Any) -> None:
    deploy()
    knative.failures[image(BAD).pinned] = "never"
    with pytest.raises(TimedOut, match=r"iris-00002 was not ready within \d+ s: waiting for an instance.*serves on"):
        deploy(BAD, wait_timeout_s=20.0)
    assert serves(knative) == {"iris-00001": 100}
    assert knative.named("Revision") == ["iris-00001"]


@pytest.mark.parametrize("stage", ["applying", "waiting for an instance", "shifting the traffic"])
@pytest.mark.parametrize("before", [True, False], ids=["update", "first"])
def test_an_interrupt_is_taken_back(stage: str, before: bool, deploy: Any, knative: Any) -> None:
    def interrupt(reached: str) -> None:
        if reached == stage:
            raise KeyboardInterrupt

    if before:
        deploy()
    elif stage == "shifting the traffic":
        deploy(BETTER)  # a first deploy has no such stage: here it is the second
        before = True
    known = copy.deepcopy(knative.service()["spec"]) if before else None
    with pytest.raises(KeyboardInterrupt):
        deploy(GOOD if known is None else BAD, progress=interrupt)
    assert ("Service", "iris") in knative.things if before else knative.things == {}
    if known is not None:
        assert knative.service()["spec"] == known


@pytest.mark.parametrize("again", [True, False], ids=["the same", "another"])
def test_what_a_killed_deploy_left_is_taken_up_or_deleted(again: bool, deploy: Any, knative: Any) -> None:
    left: list[Any] = []

    def kill(reached: str) -> None:
        if reached == "shifting the traffic":
            left.append(copy.deepcopy(knative.things))
            raise KeyboardInterrupt

    deploy()
    with pytest.raises(KeyboardInterrupt):
        deploy(BETTER, progress=kill)
    (knative.things,) = left  # nobody was there to take it back
    assert serves(knative) == {"iris-00001": 100}
    deployed = deploy(BETTER if again else BAD)
    newest = "iris-00002" if again else "iris-00003"
    assert (deployed.revision, deployed.previous, serves(knative)) == (newest, "iris-00001", {newest: 100})
    assert knative.named("Revision") == ["iris-00001", newest]
    assert not any("deploying" in key for key in knative.service()["metadata"]["annotations"])


def test_an_interrupt_between_a_write_and_its_answer_is_taken_back(deploy: Any, knative: Any) -> None:
    deploy()
    known = copy.deepcopy(knative.service()["spec"])
    written = knative.apply
    calls = []

    def apply(thing: Any, **options: Any) -> Any:
        stored = written(thing, **options)
        calls.append(stored)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return stored

    knative.apply = apply
    with pytest.raises(KeyboardInterrupt):
        deploy(BETTER)
    assert knative.service()["spec"] == known


def test_who_is_overtaken_says_so_and_touches_nothing_of_the_winner(deploy: Any, knative: Any) -> None:
    deploy()

    def other(number: int) -> None:
        if number == 0 and knative.service()["metadata"]["generation"] == 2:
            live = copy.deepcopy(knative.service())
            live["spec"]["template"]["metadata"]["name"] = "iris-00003"
            knative.apply(live)

    knative.before_sight = other
    with pytest.raises(Conflict, match=r"somebody else changed iris while iris-00002.*iris-00003"):
        deploy(BETTER)
    assert knative.service()["spec"]["template"]["metadata"]["name"] == "iris-00003"
    assert "iris-00002" not in knative.named("Revision")


def test_two_first_deploys_at_the_same_moment_have_one_winner(deploy: Any, knative: Any) -> None:
    asked = knative.get
    winner: list[str] = []

    def get(kind: Any, name: str, **options: Any) -> Any:
        found = asked(kind, name, **options)
        if kind == KNATIVE_SERVICE and not winner:
            winner.append(name)
            deploy(BETTER)  # between the other's look and its write
        return found

    knative.get = get
    with pytest.raises(Conflict, match="somebody else changed iris at the same moment: nothing of this"):
        deploy(GOOD)
    assert serves(knative) == {"iris-00001": 100}
    assert knative.service()["spec"]["template"]["spec"]["containers"][0]["image"].endswith(BETTER)


def test_notes_that_knative_makes_in_the_status_are_no_conflict(deploy: Any, knative: Any, platform: Any) -> None:
    deploy()
    written = knative.apply
    delayed: list[Any] = []

    def apply(thing: Any, **options: Any) -> Any:
        if not delayed:
            delayed.append(thing)
            knative.service()["metadata"]["resourceVersion"] = "9999"
        return written(thing, **options)

    knative.apply = apply
    assert deploy(BETTER).revision == "iris-00002"


def test_what_mlfn_does_not_manage_is_not_changed(deploy: Any, knative: Any, platform: Any) -> None:
    deploy()
    del knative.service()["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    knative.writes.clear()
    changes: tuple[Callable[[], object], ...] = (
        lambda: deploy(BETTER),
        lambda: platform.remove("iris"),
        lambda: platform.traffic("iris", (Traffic("iris-00001", 100),)),
    )
    for change in changes:
        with pytest.raises(Conflict, match="not managed by mlfn"):
            change()
    assert knative.writes == []
    assert deploy(BETTER, force=True).revision == "iris-00002"


def test_a_deploy_after_a_rollback_takes_all_traffic_and_keeps_the_tags(
    deploy: Any, knative: Any, platform: Any
) -> None:
    deploy()
    deploy(BETTER)
    platform.traffic("iris", (Traffic("iris-00001", 100), Traffic("iris-00002", 0, tag="next")))
    assert serves(knative) == {"iris-00001": 100}
    deployed = deploy(GOOD, window_s=30)
    assert deployed.previous == "iris-00001"
    assert serves(knative) == {deployed.revision: 100}
    tags = {share.tag: share.revision for share in platform.status("iris").traffic if share.tag}
    assert tags == {"next": "iris-00002"}
    signatures = {each.signature for each in platform.status("iris").revisions}
    assert signatures == {platform.status("iris").signature}


def test_a_failed_deploy_after_a_rollback_stays_with_what_was_gone_back_to(
    deploy: Any, knative: Any, platform: Any
) -> None:
    deploy()
    deploy(BETTER)
    platform.traffic("iris", (Traffic("iris-00001", 100),))
    knative.failures[image(BAD).pinned] = "crash_loop"
    with pytest.raises(DeployFailed, match="iris-00001 serves on"):
        deploy(BAD)
    assert serves(knative) == {"iris-00001": 100}


def test_the_same_again_after_a_rollback_is_the_same_revision_with_all_traffic(
    deploy: Any, knative: Any, platform: Any
) -> None:
    deploy()
    deploy(BETTER)
    platform.traffic("iris", (Traffic("iris-00001", 100),))
    again = deploy(BETTER)
    assert (again.revision, again.previous, again.changed) == ("iris-00002", "iris-00001", True)
    assert serves(knative) == {"iris-00002": 100}


def test_without_waiting_knative_shifts_but_not_after_a_rollback(deploy: Any, knative: Any, platform: Any) -> None:
    deploy()
    started = deploy(BETTER, wait=False)
    assert (started.revision, started.ready, started.changed) == ("iris-00002", False, True)
    assert knative.service()["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]
    deploy(BETTER)
    platform.traffic("iris", (Traffic("iris-00001", 100),))
    with pytest.raises(InvalidInput, match="iris-00001 serves iris, not its newest"):
        deploy(GOOD, wait=False, window_s=30)


def test_traffic_to_what_is_not_there_is_refused_before_anything_is_sent(
    deploy: Any, knative: Any, platform: Any
) -> None:
    deploy()
    knative.writes.clear()
    split = (Traffic("iris-00001", 50), Traffic("iris-9", 40), Traffic("iris-00001", 0, tag="Not a tag"))
    with pytest.raises(InvalidInput) as refused:
        platform.traffic("iris", split)
    told = refused.value.message
    assert "sum to 90" in told
    assert "no revision 'iris-9'" in told
    assert "'Not a tag' is no tag" in told
    assert knative.writes == []


def test_a_dry_run_changes_nothing(deploy: Any, knative: Any, platform: Any, repository: Path) -> None:
    deploy()
    knative.writes.clear()
    package = open_model(repository / "examples" / "iris" / "model.onnx")
    (planned,) = platform.dry_run(DeployRequest(FunctionSpec("iris"), package, image(BETTER)))
    assert planned.before == knative.service()
    assert planned.after["spec"]["template"]["metadata"]["name"] == "iris-00002"
    assert planned.after["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]
    assert knative.writes == []


def test_settings_that_the_cluster_refuses_are_told_before_anything_is_sent(knative: Any, repository: Path) -> None:
    package = open_model(repository / "examples" / "iris" / "model.onnx")
    spec = FunctionSpec("iris", concurrency=2000, timeout_s=3600.0)
    with pytest.raises(InvalidInput) as refused:
        KnativePlatform(knative).deploy(DeployRequest(spec, package, image(GOOD)), progress=lambda stage: None)
    assert "--concurrency 2000" in refused.value.message
    assert "--timeout 3600s" in refused.value.message
    assert knative.writes == []


@pytest.mark.parametrize(("visibility", "told"), [("public", "reachable-from-outside"), ("cluster", "cluster-only")])
def test_a_deploy_says_who_can_reach_it(visibility: str, told: str, knative: Any, repository: Path) -> None:
    package = open_model(repository / "examples" / "iris" / "model.onnx")
    request = DeployRequest(FunctionSpec("iris", visibility=visibility), package, image(GOOD))
    deployed = KnativePlatform(knative).deploy(request, progress=lambda stage: None)
    assert told in {each.what for each in deployed.findings}


def test_what_would_be_refused_is_foreseen_without_an_image(
    deploy: Any, platform: KnativePlatform, knative: Any
) -> None:
    platform.foresee(FunctionSpec("iris"), force=False)
    with pytest.raises(InvalidInput, match="--env PORT"):
        platform.foresee(FunctionSpec("iris", env={"PORT": "1"}), force=False)
    assert knative.writes == []
    deploy()
    del knative.service()["metadata"]["labels"]
    knative.writes.clear()
    with pytest.raises(Conflict, match="not managed by mlfn"):
        platform.foresee(FunctionSpec("iris"), force=False)
    platform.foresee(FunctionSpec("iris"), force=True)
    assert knative.writes == []


def test_a_service_of_somebody_else_is_said_to_be_so(deploy: Any, platform: KnativePlatform, knative: Any) -> None:
    deploy()
    for part in ("labels", "annotations"):
        del knative.service()["metadata"][part]
    with pytest.raises(Conflict, match="not managed by mlfn"):
        platform.status("iris")


def test_a_loser_that_was_ready_first_leaves_nothing_either(deploy: Any, knative: Any) -> None:
    """Else a rollback of the winner would find it."""
    deploy()

    def other(number: int) -> None:
        revision = knative.things.get(("Revision", "iris-00002"))
        if number and revision and knative.service()["status"].get("latestReadyRevisionName") == "iris-00001":
            revision["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
            knative.service()["status"]["latestReadyRevisionName"] = "iris-00002"
            knative.before_sight = lambda number: None
            changed = copy.deepcopy(knative.service())
            changed["spec"]["template"]["metadata"]["name"] = "iris-00003"
            knative.apply(changed)

    knative.before_sight = other
    with pytest.raises(Conflict, match=r"somebody else changed iris while iris-00002"):
        deploy(BETTER)
    assert knative.named("Revision") == ["iris-00001", "iris-00003"]


def test_a_function_that_never_was_ready_is_not_asked_but_told_why(
    deploy: Any, platform: KnativePlatform, knative: Any
) -> None:
    knative.failures[image(BAD).pinned] = "missing_secret"
    deploy(BAD, wait=False)
    for _ in knative.watch(Selection(KNATIVE_SERVICE), timeout_s=3.0):  # Knative does its part
        pass
    with pytest.raises(Unreachable, match=r"no revision of iris is ready: .*secret"):
        platform.invoke("iris", "/", b"", {}, 1.0)
