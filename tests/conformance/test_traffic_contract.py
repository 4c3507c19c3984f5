"""What every platform promises of traffic, tags and going back. Revisions' names are opaque; networks may be slow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import pytest

from mlfn.delivery.invoke import Invocation, invoke
from mlfn.delivery.rollback import roll_back
from mlfn.delivery.traffic import LATEST, TrafficChange, change_traffic
from mlfn.errors import InvalidInput, NotFound
from mlfn.function import Traffic

NAME = "conformance"
ENOUGH = 12
"""Requests in a row that show where the traffic goes."""


@pytest.fixture
def two(subject: Any) -> tuple[str, str]:
    """Deploy two revisions; the second has all traffic."""
    subject.need("revisions")
    return subject.deploy().revision, subject.deploy(model=subject.changed_model).revision


def plain(split: Iterable[Traffic]) -> set[tuple[str, int, str]]:
    """Return a split without addresses, and without what says nothing."""
    return {(each.revision, each.percent, each.tag) for each in split if each.percent or each.tag}


def only(subject: Any, model: str) -> bool:
    """Say whether one model gives all of some answers."""
    return {subject.answering() for _ in range(ENOUGH)} == {model}


def test_a_tag_answers_with_its_revision_and_the_main_address_does_not(subject: Any, two: tuple[str, str]) -> None:
    subject.need("traffic_split")
    first, second = two
    split = subject.platform.traffic(NAME, (Traffic(first, 100), Traffic(second, 0, "candidate")))
    assert plain(split) == {(first, 100, ""), (second, 0, "candidate")}
    assert plain(subject.platform.status(NAME).traffic) == plain(split)
    (tagged,) = (each for each in split if each.tag)
    assert tagged.url.startswith("http")
    assert tagged.url != subject.platform.status(NAME).url
    subject.settles(lambda: subject.answering(tag="candidate") == "changed_model")
    subject.settles(lambda: only(subject, "model"))
    assert {subject.answering() for _ in range(ENOUGH)} == {"model"}
    assert subject.answering(tag="candidate") == "changed_model"


def test_a_tag_that_is_not_there_is_not_found(subject: Any) -> None:
    subject.need("traffic_split")
    subject.deploy()
    with pytest.raises(NotFound):
        subject.invoke(tag="nobody")


def test_a_tag_can_move_and_go(subject: Any, two: tuple[str, str]) -> None:
    subject.need("traffic_split")
    first, second = two
    change_traffic(subject.platform, NAME, TrafficChange(tags=((first, "known-good"),)))
    subject.settles(lambda: subject.answering(tag="known-good") == "model")
    with pytest.raises(InvalidInput) as refused:
        change_traffic(subject.platform, NAME, TrafficChange(tags=((second, "known-good"),)))
    assert f"--untag known-good --tag {second}=known-good" in refused.value.hints[0]
    moved = TrafficChange(tags=((LATEST, "known-good"),), untags=("known-good",))
    assert plain(change_traffic(subject.platform, NAME, moved)) == {(second, 100, "known-good")}
    subject.settles(lambda: subject.answering(tag="known-good") == "changed_model")
    change_traffic(subject.platform, NAME, TrafficChange(untags=("known-good",)))
    assert plain(subject.platform.status(NAME).traffic) == {(second, 100, "")}
    with pytest.raises(NotFound):
        subject.invoke(tag="known-good")


def test_an_example_is_made_for_the_revision_of_the_tag(subject: Any, tmp_path: Path) -> None:
    subject.need("traffic_split")
    first = subject.deploy().revision
    other = onnx.load(subject.model)
    given = other.graph.input[0].name
    other.graph.input[0].name = "renamed"
    other.graph.node.insert(0, onnx.helper.make_node("Identity", ["renamed"], [given]))
    onnx.save(other, tmp_path / "renamed.onnx")
    second = subject.deploy(model=tmp_path / "renamed.onnx").revision
    told = {each.name: each.signature.inputs[0].name for each in subject.platform.status(NAME).revisions}
    assert told == {first: given, second: "renamed"}
    change_traffic(subject.platform, NAME, TrafficChange(tags=((first, "before"),)))
    subject.settles(lambda: subject.answering(tag="before") == "model")
    assert invoke(subject.platform, Invocation(NAME, None, "", 30.0, "before")).status == 200
    assert invoke(subject.platform, Invocation(NAME, None, "", 30.0)).status == 200


def test_a_split_reaches_both_revisions(subject: Any, two: tuple[str, str]) -> None:
    subject.need("traffic_split")
    first, second = two
    split = change_traffic(subject.platform, NAME, TrafficChange(((first, 50), (LATEST, 50))))
    assert plain(split) == {(first, 50, ""), (second, 50, "")}
    seen: set[str] = set()
    subject.settles(lambda: seen.add(subject.answering()) or seen >= {"model", "changed_model"})
    assert seen == {"model", "changed_model"}


def test_a_split_that_cannot_be_changes_nothing(subject: Any, two: tuple[str, str]) -> None:
    subject.need("traffic_split")
    first, second = two
    before = subject.platform.status(NAME).traffic
    for wrong in (
        (),
        (Traffic(first, 30), Traffic(second, 60)),
        (Traffic(first, 80), Traffic(second, 40)),
        (Traffic(first, -10), Traffic(second, 110)),
        (Traffic("conformance-no-such", 50), Traffic(second, 50)),
        (Traffic(first, 0, "same"), Traffic(second, 100, "same")),
        (Traffic(second, 100, "No Label"),),
    ):
        with pytest.raises(InvalidInput):
            subject.platform.traffic(NAME, wrong)
    assert subject.platform.status(NAME).traffic == before
    assert subject.answering() == "changed_model"


def test_shares_that_do_not_sum_to_a_hundred_come_with_the_command_that_does(
    subject: Any, two: tuple[str, str]
) -> None:
    subject.need("traffic_split")
    first, second = two
    with pytest.raises(InvalidInput, match="sum to 10, expected 100") as refused:
        change_traffic(subject.platform, NAME, TrafficChange(((first, 10),)))
    assert refused.value.hints == (f"mlfn traffic {NAME} {first}=10 {second}=90",)


def test_rolling_back_brings_the_revision_before(subject: Any, two: tuple[str, str]) -> None:
    first, second = two
    done = roll_back(subject.platform, NAME)
    assert (done.revision, done.previous, done.changed) == (first, second, True)
    assert plain(done.traffic) == plain(subject.platform.status(NAME).traffic) == {(first, 100, "")}
    subject.settles(lambda: only(subject, "model"))
    again = roll_back(subject.platform, NAME, first)
    assert (again.revision, again.changed) == (first, False)
    with pytest.raises(InvalidInput, match="no ready revision before"):
        roll_back(subject.platform, NAME)
    forth = roll_back(subject.platform, NAME, second)
    assert (forth.revision, forth.changed) == (second, True)
    subject.settles(lambda: only(subject, "changed_model"))


def test_a_revision_that_is_not_there_cannot_be_brought_back(subject: Any, two: tuple[str, str]) -> None:
    before = subject.platform.status(NAME).traffic
    with pytest.raises(NotFound):
        roll_back(subject.platform, NAME, "conformance-no-such")
    assert subject.platform.status(NAME).traffic == before


def test_after_a_rollback_a_deploy_gets_all_traffic_and_tags_stay(subject: Any, two: tuple[str, str]) -> None:
    subject.need("traffic_split")
    first, second = two
    change_traffic(subject.platform, NAME, TrafficChange(tags=((second, "kept"),)))
    rolled = roll_back(subject.platform, NAME)
    assert plain(rolled.traffic) == {(first, 100, ""), (second, 0, "kept")}
    third = subject.deploy(env={"A": "b"})
    assert third.previous == first
    assert plain(subject.platform.status(NAME).traffic) == {(third.revision, 100, ""), (second, 0, "kept")}
    subject.settles(lambda: only(subject, "model"))
    assert subject.answering(tag="kept") == "changed_model"


def test_describing_tells_each_revision(subject: Any, two: tuple[str, str]) -> None:
    status = subject.platform.status(NAME)
    told = {revision.name: revision for revision in status.revisions}
    assert [told[name].state for name in two] == ["ready", "ready"]
    assert told[two[0]].digest != told[two[1]].digest
    assert told[two[0]].created_at <= told[two[1]].created_at
