"""What is killed comes back, and nothing that was deployed is lost."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import MlfnError
from mlfn.platforms import local
from mlfn_local.client import LocalClient


def parent_pid(world: Any) -> int:
    return int(LocalClient(world.state_dir).call("info", {})["warm_parent"] or 0)


def test_a_killed_instance_is_replaced_for_the_next_request(world: Any) -> None:
    world.deploy()
    for _ in range(3):
        (pid,) = world.wait_until(world.instance_pids)
        world.kill_instance(pid)
        assert world.ask().status == 200
    status = world.platform.status("iris")
    assert status.instances[0].restarts >= 3
    assert "killed by SIGKILL" in status.last_errors[-1]


def test_a_killed_warm_parent_is_replaced(world: Any) -> None:
    world.deploy()
    first = parent_pid(world)
    (instance,) = world.instance_pids()
    os.kill(first, signal.SIGKILL)
    world.wait_until(lambda: (pid := parent_pid(world)) and pid != first)
    assert world.ask().status == 200
    assert world.instance_pids() == [instance]
    world.kill_instance(instance)
    assert world.ask().status == 200


def test_warm_parent_and_instance_killed_together_are_replaced(world: Any) -> None:
    world.deploy()
    (instance,) = world.instance_pids()
    os.kill(parent_pid(world), signal.SIGKILL)
    world.kill_instance(instance)
    assert world.ask().status == 200


def test_a_warm_parent_killed_during_a_deploy_does_not_fail_it(world: Any) -> None:
    world.deploy()
    for turn in range(4):
        killer = threading.Timer(0.005 * turn, os.kill, (parent_pid(world), signal.SIGKILL))
        killer.start()
        assert world.deploy(model=world.models / ("iris2.onnx" if turn % 2 == 0 else "iris.onnx")).ready
        killer.join()
        world.wait_until(lambda: parent_pid(world))
    assert world.ask().status == 200


def test_a_killed_service_takes_its_processes_along_and_comes_back_as_it_was(world: Any) -> None:
    world.deploy()
    world.deploy("other", world.models / "iris2.onnx", min_scale=1)
    family = [parent_pid(world), *world.instance_pids(), *world.instance_pids("other")]
    before = local.service_status(world.settings)
    world.kill_service()
    for pid in family:
        world.wait_until(lambda pid=pid: world.gone(pid))
    assert not local.service_status(world.settings).running
    assert world.ask().status == 200
    after = local.service_status(world.settings)
    assert after.port == before.port
    assert after.pid != before.pid
    assert [f.name for f in world.platform.list()] == ["iris", "other"]
    world.wait_until(lambda: [i.state for i in world.platform.status("other").instances] == ["ready"])


def instances_logging_to(folder: Path) -> list[str]:
    """Return the processes whose standard output is a file in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder) in str((process / "fd" / "1").readlink()):
                found.append(process.name)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_a_service_killed_at_any_moment_of_a_deploy_loses_nothing(world: Any, seed: int) -> None:
    moments = random.Random(seed)
    world.deploy("kept")
    digests = ["iris.onnx", "iris2.onnx"]
    serving = None
    for turn in range(3):
        pid = world.service_pid
        killer = threading.Timer(moments.uniform(0.0, 0.08), os.kill, (pid, signal.SIGKILL))
        killer.start()
        try:
            serving = world.deploy("moving", world.models / digests[turn % 2]).revision
        except MlfnError:
            pass
        killer.join()
        world.wait_until(lambda pid=pid: world.gone(pid))
        assert world.ask("kept").status == 200
        functions = {f.name: f for f in world.platform.list()}
        if serving is not None:
            moving = functions["moving"]
            assert moving.ready
            assert [t.percent for t in moving.traffic] == [100]
            assert moving.traffic[0].revision >= serving
            assert world.ask("moving").status == 200
        assert {r.state for f in functions.values() for r in f.revisions} <= {"ready"}
    left = {path.name.split("-")[0] for path in (world.state_dir / "models").iterdir()}
    assert left == {"sha256"}
    local.down(world.settings)
    world.wait_until(lambda: not instances_logging_to(world.state_dir / "logs"))
    logged = {path.name for path in (world.state_dir / "logs").iterdir()}
    assert logged <= {f.name for f in world.platform.list()}


def test_an_unattended_deploy_survives_the_service(world: Any) -> None:
    world.deploy("slow", world.models / "slow.onnx", wait=False)
    world.kill_service()
    world.wait_until(lambda: world.platform.status("slow").ready)


def test_a_service_whose_state_folder_was_deleted_ends(world: Any) -> None:
    world.deploy()
    family = [world.service_pid, parent_pid(world), *world.instance_pids()]
    shutil.rmtree(world.state_dir)
    world.settings["local.port"] = "0"  # the old one has its own for a moment yet
    assert world.deploy(model=world.models / "iris2.onnx").revision == "iris-00001"
    for pid in family:
        world.wait_until(lambda pid=pid: world.gone(pid))
    assert world.ask().status == 200  # the one that went has left the folder of the next alone


def test_no_request_is_lost_while_revisions_change(world: Any) -> None:
    world.deploy()
    stop, statuses, revisions = threading.Event(), [], set()

    def load() -> None:
        while not stop.is_set():
            answer = world.ask()
            statuses.append(answer.status)
            revisions.add(answer.headers["mlfn-revision"])

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    for turn in range(6):
        world.deploy(model=world.models / ("iris2.onnx" if turn % 2 == 0 else "iris.onnx"))
    stop.set()
    for client in clients:
        client.join()
    assert set(statuses) == {200}
    assert len(revisions) >= 5


def test_a_crash_loop_is_named_with_the_last_lines(world: Any) -> None:
    world.deploy()
    digest = world.platform.status("iris").digest.replace(":", "-")
    (stored,) = (world.state_dir / "models" / digest).iterdir()
    stored.chmod(0o600)
    stored.write_bytes(b"not a model")
    os.kill(world.instance_pids()[0], signal.SIGKILL)
    answer = world.wait_until(lambda: (a := world.ask()).status == 503 and a)
    assert b"cannot start" in answer.body
    assert int(answer.headers["retry-after"]) >= 1
    status = world.wait_until(lambda: len((s := world.platform.status("iris")).last_errors) >= 3 and s)
    (finding,) = status.findings
    assert finding.what == "crash-loop"
    assert "times in a row" in finding.message
    assert not status.ready
    assert world.platform.diagnose("iris") == status.findings
    # A deploy that works ends it.
    world.deploy(model=world.models / "iris2.onnx")
    assert world.ask().status == 200
    assert world.platform.status("iris").ready
