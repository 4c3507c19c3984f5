"""Going forth and back between revisions: no request lost, splits that hold, tags, and what stays of old ones."""

from __future__ import annotations

import http.client
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from mlfn.delivery.rollback import roll_back
from mlfn.delivery.traffic import TrafficChange, change_traffic, ready_revisions
from mlfn.errors import Conflict, DeployFailed, InvalidInput, MlfnError, NotFound
from mlfn.function import Traffic
from mlfn.platforms import local

IRIS = b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'
PATH = "/v2/models/iris/infer"
REDEPLOYS, ROLLBACKS = 100, 50
MODELS = ("iris2.onnx", "iris.onnx")
CLIENTS = 4
RATE = 400.0
"""Requests a second, of all clients together."""


@dataclass
class Load:
    """What a number of clients met."""

    statuses: Counter[int] = field(default_factory=Counter)
    revisions: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)


@contextmanager
def load(world: Any) -> Iterator[Load]:
    """Send requests at a steady rate over a few kept connections meanwhile."""
    seen, stop, lock = Load(), threading.Event(), threading.Lock()

    def client(number: int) -> None:
        link = http.client.HTTPConnection("127.0.0.1", int(world.settings["local.port"]), timeout=60)
        due = time.monotonic() + number / RATE
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + CLIENTS / RATE, time.monotonic() - 1.0)
            try:
                link.request("POST", f"/iris{PATH}", IRIS, {"content-type": "application/json"})
                answer = link.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                with lock:
                    seen.losses.append(repr(error))
                link.close()
                continue
            with lock:
                seen.statuses[answer.status] += 1
                seen.revisions[answer.headers["mlfn-revision"]] += 1
        link.close()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    try:
        yield seen
    finally:
        stop.set()
        for each in clients:
            each.join()


def shares(world: Any) -> list[tuple[str, int, str]]:
    return [(each.revision, each.percent, each.tag) for each in world.platform.status("iris").traffic]


@pytest.fixture
def two(world: Any) -> Any:
    """Give a platform with two revisions of iris."""
    world.deploy()
    world.deploy(model=world.models / "iris2.onnx")
    return world


@pytest.mark.timeout(600)
def test_no_request_is_lost_while_revisions_come_and_go(world: Any) -> None:
    chances = random.Random(4)
    world.deploy()
    with load(world) as seen:
        deployed = [world.deploy(model=world.models / MODELS[turn % 2]).revision for turn in range(REDEPLOYS)]
        assert roll_back(world.platform, "iris").revision == deployed[-2]
        for _ in range(1, ROLLBACKS):
            status = world.platform.status("iris")
            (serving,) = (each.revision for each in status.traffic if each.percent)
            to = chances.choice([revision for revision in ready_revisions(status) if revision != serving])
            assert roll_back(world.platform, "iris", to).changed
    assert seen.losses == []
    assert set(seen.statuses) == {200}
    assert len(set(deployed)) == REDEPLOYS
    assert len(seen.revisions) >= 3


def test_a_split_holds_within_chance(two: Any) -> None:
    change_traffic(two.platform, "iris", TrafficChange((("iris-00001", 20), ("iris-00002", 80))))
    link = http.client.HTTPConnection("127.0.0.1", int(two.settings["local.port"]), timeout=60)
    count, first = 1000, 0
    for _ in range(count):
        link.request("POST", f"/iris{PATH}", IRIS, {"content-type": "application/json"})
        answer = link.getresponse()
        answer.read()
        first += answer.headers["mlfn-revision"] == "iris-00001"
    link.close()
    # Six standard deviations of a binomial: wrong once in 500 million runs.
    assert abs(first - count * 0.2) < 6 * math.sqrt(count * 0.2 * 0.8)


def test_a_tag_is_reached_by_path_and_by_host(two: Any) -> None:
    split = change_traffic(two.platform, "iris", TrafficChange(tags=(("iris-00001", "before"),)))
    port = two.settings["local.port"]
    assert [each.url for each in split] == [f"http://127.0.0.1:{port}/before-iris", ""]
    link = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    for path, host in (("/before-iris" + PATH, "127.0.0.1"), (PATH, f"before-iris.localhost:{port}")):
        link.request("POST", path, IRIS, {"content-type": "application/json", "host": host})
        answer = link.getresponse()
        assert (answer.status, answer.headers["mlfn-revision"]) == (200, "iris-00001"), answer.read()
        answer.read()
    link.close()
    assert two.ask().headers["mlfn-revision"] == "iris-00002"


def test_tags_outlive_the_service_and_go_with_the_function(two: Any) -> None:
    change_traffic(two.platform, "iris", TrafficChange(tags=(("iris-00001", "before"),)))
    local.down(two.settings)
    answer = two.platform.invoke("iris", PATH, IRIS, {"content-type": "application/json"}, 20, tag="before")
    assert answer.headers["mlfn-revision"] == "iris-00001"
    two.platform.remove("iris")
    assert two.deploy("before-iris").ready  # the address is free again
    with pytest.raises(NotFound):
        two.platform.status("iris")


def test_an_address_belongs_to_one(two: Any) -> None:
    two.deploy("first-iris")
    with pytest.raises(Conflict, match="first-iris"):
        change_traffic(two.platform, "iris", TrafficChange(tags=(("iris-00001", "first"),)))
    change_traffic(two.platform, "iris", TrafficChange(tags=(("iris-00001", "second"),)))
    with pytest.raises(Conflict, match="second-iris"):
        two.deploy("second-iris")
    with pytest.raises(InvalidInput, match="63 characters"):
        change_traffic(two.platform, "iris", TrafficChange(tags=(("iris-00001", "x" * 60),)))
    assert shares(two) == [("iris-00001", 0, "second"), ("iris-00002", 100, "")]


def test_a_revision_is_ready_before_its_traffic_comes(two: Any) -> None:
    two.wait_until(lambda: {each.revision for each in two.platform.status("iris").instances} == {"iris-00002"})
    roll_back(two.platform, "iris")
    ready = [each.revision for each in two.platform.status("iris").instances if each.state == "ready"]
    assert "iris-00001" in ready
    assert "mlfn-held-seconds" not in two.ask().headers


def test_a_revision_that_does_not_start_gets_no_traffic(two: Any) -> None:
    digest = next(r.digest for r in two.platform.status("iris").revisions if r.name == "iris-00001")
    (stored,) = (two.state_dir / "models" / digest.replace(":", "-")).iterdir()
    stored.chmod(0o600)
    stored.write_bytes(b"not a model")
    two.wait_until(lambda: {each.revision for each in two.platform.status("iris").instances} == {"iris-00002"})
    with pytest.raises(DeployFailed, match="the traffic stays"):
        roll_back(two.platform, "iris")
    assert shares(two) == [("iris-00002", 100, "")]
    assert two.ask().headers["mlfn-revision"] == "iris-00002"
    two.wait_until(lambda: {each.revision for each in two.platform.status("iris").instances} == {"iris-00002"})
    assert two.platform.status("iris").findings == ()


def test_traffic_waits_for_the_deploy_under_way(two: Any) -> None:
    slow = threading.Thread(target=two.deploy, kwargs={"model": two.models / "slow.onnx"})
    two.stages.clear()
    slow.start()
    two.wait_until(lambda: "starting instance" in two.stages)
    with pytest.raises(Conflict, match="under way"):
        roll_back(two.platform, "iris")
    slow.join()
    assert shares(two) == [("iris-00003", 100, "")]
    assert roll_back(two.platform, "iris").revision == "iris-00002"


@pytest.mark.parametrize("seed", range(3))
def test_a_service_killed_in_the_middle_of_a_rollback_has_done_it_or_not(two: Any, seed: int) -> None:
    change_traffic(two.platform, "iris", TrafficChange(tags=(("iris-00002", "newest"),)))
    moments = random.Random(seed)
    for turn in range(3):
        to = "iris-00001" if turn % 2 == 0 else "iris-00002"
        before = shares(two)
        pid = two.service_pid
        killer = threading.Timer(moments.uniform(0.0, 0.15), os.kill, (pid, signal.SIGKILL))
        killer.start()
        done = None
        try:
            done = roll_back(two.platform, "iris", to)
        except MlfnError:
            pass
        killer.join()
        two.wait_until(lambda pid=pid: two.gone(pid))
        after = shares(two)
        serving = next(revision for revision, percent, _ in after if percent == 100)
        assert sum(percent for _, percent, _ in after) == 100
        assert [revision for revision, _, tag in after if tag] == ["iris-00002"]
        assert serving == to if done is not None else after == before or serving == to
        assert two.ask().headers["mlfn-revision"] == serving
        tagged = two.platform.invoke("iris", PATH, IRIS, {"content-type": "application/json"}, 20, tag="newest")
        assert tagged.headers["mlfn-revision"] == "iris-00002"


def test_old_revisions_go_by_count_and_their_models_by_pruning(world: Any) -> None:
    world.settings["local.keep_revisions"] = "2"
    first = world.deploy()
    change_traffic(world.platform, "iris", TrafficChange(tags=((first.revision, "first"),)))
    for seconds in range(10, 14):
        world.deploy(model=world.models / "iris2.onnx", window_s=seconds)
    names = [revision.name for revision in world.platform.status("iris").revisions]
    assert names == ["iris-00001", "iris-00003", "iris-00004", "iris-00005"]
    assert local.prune(world.settings).digests == ()
    change_traffic(world.platform, "iris", TrafficChange(untags=("first",)))
    for seconds in range(20, 23):
        world.deploy(model=world.models / "iris2.onnx", window_s=seconds)
    assert local.prune(world.settings).digests == (first.digest,)
    world.settings["local.keep_revisions"] = "1"
    assert not world.deploy(model=world.models / "iris2.onnx", window_s=22).changed
    assert len(world.platform.status("iris").revisions) == 2


def test_the_split_before_stays_when_a_wrong_one_is_asked_for(two: Any) -> None:
    with pytest.raises(InvalidInput, match="sum to 60"):
        two.platform.traffic("iris", (Traffic("iris-00001", 60),))
    assert shares(two) == [("iris-00002", 100, "")]


def test_decisions_of_a_revision_that_came_to_nothing_are_not_told(world: Any) -> None:
    world.deploy()
    with pytest.raises(DeployFailed):
        world.deploy(model=world.models / "never_warm.onnx")
    assert {each.revision for each in world.platform.status("iris").decisions} == {"iris-00001"}
