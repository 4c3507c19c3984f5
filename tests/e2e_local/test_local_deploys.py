"""Deploying to this machine: what appears, what stays, and what a failure leaves behind (nothing)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import Conflict, DeployFailed, InvalidInput, NotFound
from mlfn.function import FunctionSpec, Traffic
from mlfn.models import open_model
from mlfn.platforms import DeployRequest


def left_behind(world: Any) -> list[str]:
    """Return the files of models and logs below the state folder."""
    return sorted(
        str(p.relative_to(world.state_dir)) for d in ("models", "logs") for p in world.state_dir.glob(f"{d}/*")
    )


def test_a_model_is_deployed_and_answers(world: Any) -> None:
    deployed = world.deploy()
    assert (deployed.revision, deployed.previous, deployed.changed, deployed.ready) == ("iris-00001", None, True, True)
    assert deployed.url == f"http://127.0.0.1:{world.settings['local.port']}/iris"
    assert {"store", "start", "total"} <= set(deployed.seconds)
    assert world.stages == ["copying model", "starting instance"]
    answer = world.ask()
    assert answer.status == 200
    assert json.loads(answer.body)["outputs"][0]["data"] == [0]
    status = world.platform.status("iris")
    assert status.ready
    assert status.traffic == (Traffic("iris-00001", 100),)
    (instance,) = status.instances
    assert instance.state == "ready"
    assert instance.memory_bytes > 1_000_000
    assert answer.headers["mlfn-instance"] == instance.id
    assert status.digest == deployed.digest
    assert [i.name for i in status.signature.inputs] == ["X"]


def test_the_same_again_changes_nothing(world: Any) -> None:
    world.deploy(window_s=30)
    pids = world.instance_pids()
    again = world.deploy(window_s=30)
    assert (again.changed, again.revision) == (False, "iris-00001")
    assert world.instance_pids() == pids
    other_settings = world.deploy(window_s=31)
    assert (other_settings.changed, other_settings.revision, other_settings.previous) == (
        True,
        "iris-00002",
        "iris-00001",
    )


def test_the_deployed_copy_does_not_follow_the_file(world: Any, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes((world.models / "iris.onnx").read_bytes())
    world.deploy(model=model)
    model.write_bytes(b"no model any more")
    world.kill_instance(world.instance_pids()[0])
    assert world.ask().status == 200


def test_a_new_revision_takes_over_and_the_old_one_ends(world: Any) -> None:
    world.deploy()
    (old,) = world.instance_pids()
    deployed = world.deploy(model=world.models / "iris2.onnx")
    assert (deployed.revision, deployed.previous) == ("iris-00002", "iris-00001")
    assert world.ask().headers["mlfn-revision"] == "iris-00002"
    world.wait_until(lambda: old not in world.instance_pids())
    status = world.platform.status("iris")
    assert [(r.name, r.state) for r in status.revisions] == [("iris-00001", "ready"), ("iris-00002", "ready")]
    assert [i.revision for i in status.instances] == ["iris-00002"]


@pytest.mark.parametrize(
    ("model", "spec", "words"),
    [
        ("never_warm.onnx", {}, ("reshape",)),
        ("hungry.onnx", {"memory_bytes": 100 * 2**20}, ("out of memory", "100 MiB")),
        ("iris2.onnx", {"env": {"MLFN_MAX_QUEUE": "many"}}, ("MLFN_MAX_QUEUE", "many")),
    ],
    ids=["warm-up", "memory", "settings"],
)
def test_a_revision_that_fails_leaves_the_old_one_serving(
    world: Any, model: str, spec: dict[str, Any], words: tuple[str, ...]
) -> None:
    world.deploy()
    before, pids = left_behind(world), world.instance_pids()
    with pytest.raises(DeployFailed) as failure:
        world.deploy(model=world.models / model, **spec)
    for word in words:
        assert word.lower() in (failure.value.message + failure.value.details).lower()
    assert "iris-00001 serves on" in failure.value.message
    assert world.ask().headers["mlfn-revision"] == "iris-00001"
    assert world.instance_pids() == pids
    assert [r.name for r in world.platform.status("iris").revisions] == ["iris-00001"]
    assert left_behind(world) == before


def test_a_first_deploy_that_fails_leaves_nothing(world: Any) -> None:
    with pytest.raises(DeployFailed):
        world.deploy("broken", world.models / "never_warm.onnx")
    assert world.platform.list() == ()
    assert left_behind(world) == []
    with pytest.raises(NotFound):
        world.platform.status("broken")


def test_one_deploy_of_a_function_at_a_time(world: Any) -> None:
    world.deploy()
    slow = threading.Thread(target=world.deploy, kwargs={"model": world.models / "slow.onnx"})
    slow.start()
    world.wait_until(lambda: len(world.instance_pids()) == 2 or not slow.is_alive())
    with pytest.raises(Conflict):
        world.deploy(model=world.models / "iris2.onnx")
    with pytest.raises(Conflict):
        world.platform.remove("iris")
    other = world.deploy("other")
    assert other.ready
    slow.join()
    assert world.platform.status("iris").traffic == (Traffic("iris-00002", 100),)


INTERRUPTED = """
import sys
from pathlib import Path
from mlfn.function import FunctionSpec
from mlfn.models import open_model
from mlfn.platforms import DeployRequest, local
def tell(stage):
    print(stage, flush=True)
platform = local.connect({"local.state_dir": sys.argv[1], "local.port": sys.argv[2]})
platform.deploy(DeployRequest(FunctionSpec("iris"), open_model(Path(sys.argv[3]))), progress=tell)
"""


@pytest.mark.parametrize("stage", ["copying model", "starting instance"])
def test_a_command_that_is_interrupted_leaves_nothing(world: Any, stage: str) -> None:
    world.deploy()
    before, pids = left_behind(world), world.instance_pids()
    argv = [sys.executable, "-c", INTERRUPTED, str(world.state_dir), world.settings["local.port"]]
    with subprocess.Popen(
        [*argv, str(world.models / "slow.onnx")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as command:
        stdout = command.stdout
        assert stdout is not None
        assert stage in iter(lambda: stdout.readline().strip(), "")
        command.send_signal(signal.SIGINT)
    assert command.returncode != 0
    assert left_behind(world) == before
    assert world.instance_pids() == pids
    assert [r.name for r in world.platform.status("iris").revisions] == ["iris-00001"]
    assert world.deploy(model=world.models / "iris2.onnx").ready


def test_without_waiting_the_service_goes_on(world: Any) -> None:
    deployed = world.deploy(wait=False)
    assert (deployed.ready, deployed.revision) == (False, "iris-00001")
    world.wait_until(lambda: world.platform.status("iris").ready)
    assert world.ask().status == 200
    world.deploy(model=world.models / "never_warm.onnx", wait=False)
    status = world.wait_until(lambda: (s := world.platform.status("iris")).last_errors and s)
    assert [(r.name, r.state) for r in status.revisions] == [("iris-00001", "ready"), ("iris-00002", "failed")]
    assert [finding.what for finding in status.findings] == ["deploy-failed"]
    assert world.ask().headers["mlfn-revision"] == "iris-00001"
    world.deploy(model=world.models / "iris2.onnx")
    assert [r.state for r in world.platform.status("iris").revisions] == ["ready", "ready"]


def test_deleting_ends_everything_but_the_stored_model(world: Any) -> None:
    world.deploy()
    (pid,) = world.instance_pids()
    world.platform.remove("iris")
    world.wait_until(lambda: not Path(f"/proc/{pid}").exists())
    with pytest.raises(NotFound):
        world.ask()
    with pytest.raises(NotFound):
        world.platform.remove("iris")
    assert world.platform.list() == ()
    assert [name.split("/")[0] for name in left_behind(world)] == ["models"]
    assert world.deploy().revision == "iris-00001"


def test_prune_removes_what_no_revision_uses(world: Any) -> None:
    from mlfn.platforms import local

    first = world.deploy()
    world.deploy("other", world.models / "iris2.onnx")
    assert local.prune(world.settings).digests == ()
    world.platform.remove("iris")
    pruned = local.prune(world.settings)
    assert pruned.digests == (first.digest,)
    assert pruned.freed_bytes == (world.models / "iris.onnx").stat().st_size
    assert world.ask("other").status == 200


def test_traffic_is_split_between_revisions(world: Any) -> None:
    world.deploy()
    world.deploy(model=world.models / "iris2.onnx")
    halves = (Traffic("iris-00001", 50), Traffic("iris-00002", 50))
    assert world.platform.traffic("iris", halves) == halves
    seen = {world.ask().headers["mlfn-revision"] for _ in range(40)}
    assert seen == {"iris-00001", "iris-00002"}
    world.platform.traffic("iris", (Traffic("iris-00001", 100),))
    assert {world.ask().headers["mlfn-revision"] for _ in range(10)} == {"iris-00001"}
    with pytest.raises(InvalidInput):
        world.platform.traffic("iris", (Traffic("iris-00001", 60),))
    with pytest.raises(InvalidInput):
        world.platform.traffic("iris", (Traffic("iris-00009", 100),))


def test_what_an_instance_wrote_can_be_read_after_its_death(world: Any) -> None:
    world.deploy(env={"PYTHONUNBUFFERED": "1"})
    (instance,) = world.platform.status("iris").instances
    world.ask()
    world.wait_until(lambda: any("infer" in line.text for line in world.platform.logs("iris", follow=False, tail=-1)))
    os.kill(instance.pid, signal.SIGKILL)
    world.wait_until(lambda: instance.pid not in world.instance_pids())
    lines = list(world.platform.logs("iris", follow=False, tail=-1))
    assert any("infer" in line.text for line in lines if line.instance == instance.id)
    assert len(list(world.platform.logs("iris", follow=False, tail=1))) == 1


def test_logs_can_be_followed(world: Any) -> None:
    world.deploy()
    lines = world.platform.logs("iris", follow=True, tail=0)
    threading.Timer(0.3, world.ask).start()
    assert "infer" in next(lines).text


def test_the_environment_reaches_instances_and_stays_out_of_command_lines(world: Any) -> None:
    world.deploy(env={"API_KEY": "sesame-4711"})
    (pid,) = world.instance_pids()
    argv = [Path(p).read_bytes() for p in (f"/proc/{pid}/cmdline", f"/proc/{world.service_pid}/cmdline")]
    assert not any(b"sesame" in line for line in argv)
    assert world.platform.status("iris").spec.env == {"API_KEY": "sesame-4711"}
    assert b"sesame-4711" not in (world.state_dir / "service.log").read_bytes()


def test_a_model_that_changes_while_it_is_deployed_is_refused(world: Any, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes((world.models / "iris.onnx").read_bytes())
    package = open_model(model)
    model.write_bytes((world.models / "iris2.onnx").read_bytes())
    with pytest.raises(Conflict):
        world.platform.deploy(DeployRequest(FunctionSpec("iris"), package), progress=world.note)
    assert world.platform.list() == ()
    assert left_behind(world) == []


@pytest.mark.parametrize(
    ("name", "spec", "word"),
    [
        ("../up", {}, "name"),
        ("Iris", {}, "name"),
        ("iris", {"min_scale": 3, "max_scale": 2}, "max_scale 2"),
        ("iris", {"env": {"A": "x" * 100_000}}, "environment"),
    ],
    ids=["path", "case", "bounds", "environment"],
)
def test_what_cannot_work_is_refused_before_anything_happens(
    world: Any, name: str, spec: dict[str, Any], word: str
) -> None:
    with pytest.raises(InvalidInput, match=word):
        world.deploy(name, **spec)
    assert left_behind(world) == []


def test_a_log_that_grows_is_turned_over_and_loses_no_line(world: Any, in_process: Callable[..., Any]) -> None:
    service = in_process(beats=False)
    world.deploy()
    (instance,) = world.platform.status("iris").instances
    log = world.state_dir / "logs" / "iris" / f"{instance.id}.log"
    sent = 0
    request = b"GET /iris/nothing/%s HTTP/1.1\r\nhost: h\r\n\r\n" % (b"x" * 3000)
    with socket.create_connection(("127.0.0.1", int(world.settings["local.port"])), 20) as link:
        while not log.with_name(log.name + ".1").exists():
            link.sendall(request * 20)
            sent += 20
            received = b""
            while received.count(b"HTTP/1.1 404 ") < 20:
                received += link.recv(1_000_000)
            service.beat()
    written = world.wait_until(
        lambda: (n := sum(line.text.count("/nothing/") for line in logs_of(world))) >= sent and n
    )
    assert written == sent
    assert instance.id == world.platform.status("iris").instances[0].id


def logs_of(world: Any) -> list[Any]:
    return list(world.platform.logs("iris", follow=False, tail=-1))
