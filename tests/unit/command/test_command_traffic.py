"""`mlfn traffic` and `mlfn rollback`: what they take, refuse and print, on a platform in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

R1, R2, R3 = (f"echo-0000{number}" for number in (1, 2, 3))


@pytest.fixture
def three(world: Any, run: Any, model: Path) -> Any:
    """Deploy three revisions of echo; the newest serves."""
    for concurrency in range(3):
        assert run("deploy", model, "--concurrency", concurrency).code == 0
    return world


def split(run: Any) -> list[tuple[str, int, str]]:
    return [(t["revision"], t["percent"], t["tag"]) for t in run("traffic", "echo", "-o", "json").json["traffic"]]


def test_without_a_change_the_split_is_shown(three: Any, run: Any) -> None:
    shown = run("traffic", "echo")
    assert (shown.code, shown.out) == (0, f"REVISION    TRAFFIC\n{R3}  100 %\n")
    told = run("traffic", "echo", "-o", "json").json
    assert told == {
        "schema": "mlfn.traffic/v1",
        "name": "echo",
        "platform": "memory",
        "traffic": [{"revision": R3, "percent": 100, "tag": "", "url": ""}],
    }


def test_shares_and_tags_are_set_together(three: Any, run: Any) -> None:
    done = run("traffic", "echo", f"{R1}=75%", "@latest=25", "--tag", f"{R2}=try", "--tag", "@latest=new")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1:] == [
        f"{R1}  75 %     -    -",
        f"{R2}  0 %      try  memory:try-echo",
        f"{R3}  25 %     new  memory:new-echo",
    ]
    assert run("traffic", "echo", "--untag", "try", "--tag", f"{R3}=second").code == 0
    assert split(run) == [(R1, 75, ""), (R3, 25, "new"), (R3, 0, "second")]
    assert run("traffic", "echo", f"{R1}=100").code == 0
    assert split(run) == [(R1, 100, ""), (R3, 0, "new"), (R3, 0, "second")]


@pytest.mark.parametrize(
    ("shares", "corrected"),
    [
        ((f"{R1}=10",), f"{R1}=10 {R3}=90"),
        ((f"{R1}=30", f"{R3}=30"), f"{R1}=30 {R3}=70"),
        ((f"{R1}=80", f"{R3}=40"), f"{R1}=80 {R3}=20"),
        ((f"{R1}=100", f"{R2}=50", f"{R3}=10"), f"{R1}=62 {R2}=31 {R3}=7"),
        ((f"{R3}=0",), f"{R3}=100"),
    ],
    ids=["rest to what serves", "too little", "too much", "far too much", "nothing"],
)
def test_shares_that_do_not_sum_come_with_the_command_that_does(
    three: Any, run: Any, shares: tuple[str, ...], corrected: str
) -> None:
    total = sum(int(share.rpartition("=")[2]) for share in shares)
    refused = run("traffic", "echo", *shares)
    hint = f"mlfn traffic echo {corrected}"
    assert (refused.code, refused.err) == (
        2,
        f"error: the shares sum to {total}, expected 100\nhint: {hint}\n",
    )
    assert run(*hint.split()[1:]).code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("half",), "'half': expected REVISION=PERCENT"),
        (("a=1000", "=5"), "'a=1000', '=5': expected REVISION=PERCENT"),
        ((f"{R1}=12.5",), "a whole number from 0 to 100"),
        (("--tag", "nothing"), "--tag 'nothing': expected REVISION=TAG"),
        ((f"{R1}=50", f"{R1}=50"), f"{R1} is given two shares"),
        (("--tag", f"{R1}=a", "--tag", f"{R2}=a"), "the tag a is given to two revisions"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(three: Any, run: Any, args: tuple[str, ...], words: str) -> None:
    refused = run("traffic", "echo", *args)
    assert (refused.code, refused.out) == (2, "")
    assert words in refused.err
    assert split(run) == [(R3, 100, "")]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("echo-0001=100",), "no ready revision 'echo-0001'; ready: echo-00001, echo-00002, echo-00003"),
        (("--untag", "gone"), "echo has no tag 'gone'; tags: none"),
    ],
)
def test_what_does_not_exist_is_not_found(three: Any, run: Any, args: tuple[str, ...], words: str) -> None:
    refused = run("traffic", "echo", *args)
    assert (refused.code, refused.out) == (4, "")
    assert words in refused.err
    assert split(run) == [(R3, 100, "")]


def test_all_that_is_wrong_is_said_at_once(three: Any, run: Any) -> None:
    refused = run("traffic", "echo", "echo-9=50", f"{R1}=10", "--untag", "gone")
    assert [word in refused.err for word in ("'echo-9'", "sum to 60", "'gone'")] == [True] * 3
    assert "mlfn traffic echo echo-9" not in refused.err


def test_a_rollback_says_where_it_went(three: Any, run: Any) -> None:
    done = run("rollback", "echo", "-o", "name")
    assert (done.code, done.out, done.err) == (0, f"{R2}\n", f"rolled echo back to revision {R2}, from {R3}\n")
    told = run("rollback", "echo", "-o", "json").json
    assert (told["schema"], told["revision"], told["previous"], told["changed"]) == ("mlfn.rollback/v1", R1, R2, True)
    end = run("rollback", "echo")
    assert (end.code, end.out) == (2, "")
    assert f"echo has no ready revision before {R1}" in end.err
    same = run("rollback", "echo", "--to", R1)
    assert (same.code, same.err) == (0, f"unchanged: revision {R1} of echo has all requests already\n")
    assert run("rollback", "echo", "--to", "@latest").err == f"rolled echo back to revision {R3}, from {R1}\n"


def test_a_rollback_keeps_tags_and_ends_a_split(three: Any, run: Any) -> None:
    run("traffic", "echo", f"{R1}=90", f"{R3}=10", "--tag", f"{R3}=new", "--tag", f"{R1}=old")
    refused = run("rollback", "echo")
    assert refused.code == 2
    assert f"hint: mlfn rollback echo --to {R1}  # all requests to it" in refused.err
    assert run("rollback", "echo", "--to", R1).err == f"all requests of echo go to revision {R1} now\n"
    assert split(run) == [(R1, 100, "old"), (R3, 0, "new")]


def test_a_near_name_is_offered(three: Any, run: Any) -> None:
    for args in (("traffic", "eco"), ("rollback", "eco")):
        assert "hint: did you mean 'echo'?" in run(*args).err
    refused = run("rollback", "echo", "--to", "echo-0002")
    assert (refused.code, f"did you mean '{R2}'?" in refused.err) == (4, True)


@pytest.mark.parametrize(
    ("denied", "args", "words"),
    [
        ("traffic_split", ("traffic", "echo", f"{R1}=100"), "the platform memory cannot split traffic"),
        ("revisions", ("rollback", "echo"), "the platform memory cannot go back: it keeps no revisions"),
    ],
)
def test_a_platform_that_cannot_says_so(three: Any, run: Any, denied: str, args: tuple[str, ...], words: str) -> None:
    three.denies = frozenset((denied,))
    refused = run(*args)
    assert (refused.code, refused.out) == (2, "")
    assert words in refused.err
    assert "--platform" in refused.err
    assert run("traffic", "echo").code == 0


def test_describing_shows_tags_and_settings_of_each_revision(three: Any, run: Any) -> None:
    run("traffic", "echo", "--tag", f"{R1}=old")
    (line,) = (each for each in run("describe", "echo").out.splitlines() if each.startswith(R1))
    assert line.split()[1:5] == ["0", "%", "old", "ready"]
