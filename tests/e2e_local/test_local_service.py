"""The background service itself: one for each state folder, reachable by its owner only, on the same port for good."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import Conflict, InvalidInput, MlfnError, NotFound
from mlfn.platforms import local
from mlfn_local.client import LocalClient

IRIS = b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'


def process_name(pid: int | None) -> str:
    """Return the state line of a process; nothing once it is gone, even where nobody has reaped it."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return "" if line.rpartition(")")[2].split()[0] == "Z" else line


def test_looking_starts_nothing(world: Any) -> None:
    assert world.platform.list() == ()
    with pytest.raises(NotFound):
        world.platform.status("iris")
    assert not local.service_status(world.settings).running
    assert not local.down(world.settings)
    assert not world.state_dir.exists()


def test_up_and_down(world: Any) -> None:
    info = local.up(world.settings)
    assert info.running
    assert info.port == int(world.settings["local.port"])
    assert local.up(world.settings).pid == info.pid
    assert local.down(world.settings)
    assert not local.service_status(world.settings).running
    world.wait_until(lambda: not process_name(info.pid))


def test_what_is_deployed_survives_down_on_the_same_port(world: Any) -> None:
    world.deploy()
    port = world.settings.pop("local.port")
    local.down(world.settings)
    assert world.ask().status == 200
    assert local.service_status(world.settings).port == int(port)


def test_many_started_at_once_are_one(world: Any) -> None:
    found: list[local.ServiceInfo] = []
    commands = [threading.Thread(target=lambda: found.append(local.up(world.settings))) for _ in range(6)]
    for command in commands:
        command.start()
    for command in commands:
        command.join()
    assert len({info.pid for info in found}) == 1
    assert len(found) == 6


def test_a_changed_version_restarts_the_service_and_keeps_what_is_deployed(world: Any) -> None:
    world.deploy()
    before = local.service_status(world.settings)
    newer = LocalClient(world.state_dir, version="9.9.9")
    hello = newer.up()
    assert hello.version == "9.9.9"
    assert hello.pid != before.pid
    assert hello.port == before.port
    assert local.service_status(world.settings).version == "9.9.9"
    assert world.ask().status == 200
    assert local.service_status(world.settings).version == before.version


def test_the_router_moves_to_the_port_that_is_asked_for(world: Any, unused: int) -> None:
    world.deploy()
    world.settings["local.port"] = str(unused)
    assert local.up(world.settings).port == unused
    assert world.ask().status == 200
    assert world.platform.status("iris").url == f"http://127.0.0.1:{unused}/iris"


@pytest.fixture
def unused(lasting_port: Callable[[], int]) -> int:
    return lasting_port()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_is_taken_is_named(world: Any, taken: int) -> None:
    world.settings["local.port"] = str(taken)
    with pytest.raises(Conflict, match=str(taken)):
        local.up(world.settings)
    with pytest.raises(Conflict, match=str(taken)):
        world.deploy()
    assert not local.service_status(world.settings).running


def test_moving_to_a_port_that_is_taken_changes_nothing(world: Any, taken: int) -> None:
    world.deploy()
    before = world.settings["local.port"]
    world.settings["local.port"] = str(taken)
    with pytest.raises(Conflict, match=str(taken)):
        world.deploy(model=world.models / "iris2.onnx")
    world.settings["local.port"] = before
    assert world.ask().headers["mlfn-revision"] == "iris-00001"


def test_a_port_that_was_taken_meanwhile_is_named_with_the_way_out(world: Any) -> None:
    world.deploy()
    port = int(world.settings.pop("local.port"))
    local.down(world.settings)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(Conflict, match=str(port)) as failure:
            world.ask()
        assert any("--port" in hint for hint in failure.value.hints)
    assert world.ask().status == 200


def test_state_and_socket_belong_to_their_owner(world: Any) -> None:
    world.deploy()
    world.state_dir.chmod(0o755)
    local.down(world.settings)
    local.up(world.settings)
    assert stat.S_IMODE(world.state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((world.state_dir / "control.sock").stat().st_mode) == 0o600
    for name in ("state.db", "service.log"):
        assert stat.S_IMODE((world.state_dir / name).stat().st_mode) & 0o077 == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_not_served(world: Any) -> None:
    world.deploy()
    control = world.state_dir / "control.sock"
    control.chmod(0o666)
    for folder in (world.state_dir, *world.state_dir.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    try:
        script = (
            "import os, socket, sys\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "link = socket.socket(socket.AF_UNIX); link.connect(sys.argv[1])\n"
            "print(len(link.recv(1000)))"
        )
        argv = [sys.executable, "-S", "-c", script, control]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    finally:
        for folder in world.state_dir.parents[:3]:
            folder.chmod(folder.stat().st_mode & ~0o011)
    assert done.stdout.strip() == "0", done.stderr


def test_only_the_loopback_address_is_listened_on(world: Any) -> None:
    world.deploy()
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    instances = world.platform.status("iris").instances
    ports = {int(world.settings["local.port"]), *(int(i.address.split(":")[1]) for i in instances)}
    found = {int(row[1].split(":")[1], 16): row[1].split(":")[0] for row in listening if row[3] == "0A"}
    assert {found[port] for port in ports} == {"0100007F"}


def test_a_long_state_path_works(world: Any, tmp_path: Path) -> None:
    world.state_dir = tmp_path / ("long" * 30) / ("er" * 50)
    world.settings["local.state_dir"] = str(world.state_dir)
    world.deploy()
    assert world.ask().status == 200


def test_a_state_folder_that_cannot_be_made_is_an_input_error(world: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    world.settings["local.state_dir"] = str(tmp_path / "file" / "state")
    with pytest.raises(InvalidInput, match="state folder"):
        world.deploy()


@pytest.mark.skipif(not Path("/proc/sys").exists(), reason="needs a folder that not even root can write to")
def test_a_state_folder_that_is_not_writable_is_an_input_error(world: Any) -> None:
    world.settings["local.state_dir"] = "/proc/sys/mlfn"
    with pytest.raises(InvalidInput, match="/proc/sys/mlfn"):
        world.deploy()


def test_a_damaged_database_is_named_and_not_touched(world: Any) -> None:
    world.deploy()
    local.down(world.settings)
    database = world.state_dir / "state.db"
    database.write_bytes(b"this is no database" * 100)
    with pytest.raises(MlfnError, match="damaged") as failure:
        world.deploy()
    assert any("move" in hint for hint in failure.value.hints)
    assert database.read_bytes() == b"this is no database" * 100


def test_a_database_of_a_newer_mlfn_is_named(world: Any) -> None:
    world.deploy()
    local.down(world.settings)
    with contextlib.closing(sqlite3.connect(world.state_dir / "state.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(MlfnError, match="newer mlfn"):
        world.deploy()


def test_a_full_disk_is_named_and_leaves_what_was(world: Any) -> None:
    world.deploy()
    pid = world.service_pid
    # A bound on the size of files acts on the service as a full disk does: writes fail in their middle.
    database = (world.state_dir / "state.db-wal").stat().st_size
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (database, hard))
    with pytest.raises(MlfnError, match="full"):
        world.deploy(model=world.models / "iris2.onnx")
    assert world.ask().headers["mlfn-revision"] == "iris-00001"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert [r.name for r in world.platform.status("iris").revisions] == ["iris-00001"]
    assert len(list((world.state_dir / "models").iterdir())) == 1
    assert world.deploy(model=world.models / "iris2.onnx").previous == "iris-00001"


def test_on_a_full_disk_requests_and_looking_go_on_and_no_decision_is_lost(world: Any) -> None:
    world.deploy()
    pid = world.service_pid
    (killed,) = world.instance_pids()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, ((world.state_dir / "state.db-wal").stat().st_size, hard))
    world.kill_instance(killed)
    assert world.ask().status == 200
    assert world.instance_pids() != [killed]
    assert world.platform.list()[0].ready
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert "killed by SIGKILL" in world.platform.status("iris").last_errors[-1]


def test_a_deploy_goes_on_with_the_next_service_when_its_own_is_stopped(world: Any) -> None:
    before = local.up(world.settings).pid
    done: list[Any] = []
    deploying = threading.Thread(target=lambda: done.append(world.deploy("slow", world.models / "slow.onnx")))
    deploying.start()
    world.wait_until(lambda: "starting instance" in world.stages)
    assert local.down(world.settings)
    deploying.join()
    assert [deployed.ready for deployed in done] == [True]
    assert world.service_pid != before
    assert [r.name for r in world.platform.status("slow").revisions] == ["slow-00001"]


def test_deploys_while_the_service_goes_up_and_down_all_succeed(world: Any) -> None:
    for turn in range(4):
        world.deploy()
        name = f"other{turn}"
        commands = [
            threading.Thread(target=local.down, args=(world.settings,)),
            threading.Thread(target=world.deploy, args=(name,)),
            threading.Thread(target=local.up, args=(world.settings,)),
        ]
        for command in commands:
            command.start()
        for command in commands:
            command.join(30)
            assert not command.is_alive()
        assert world.platform.status(name).ready


def test_more_requests_than_open_files_wait_and_are_no_fault_of_the_instance(world: Any) -> None:
    world.deploy()
    (pid,) = world.instance_pids()
    resource.prlimit(world.service_pid, resource.RLIMIT_NOFILE, (700, 1000))
    os.kill(pid, signal.SIGKILL)
    request = b"POST /iris/v2/models/iris/infer HTTP/1.1\r\nhost: h\r\nconnection: close\r\n"
    request += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(IRIS), IRIS)
    with contextlib.ExitStack() as links:
        address = ("127.0.0.1", int(world.settings["local.port"]))
        clients = [links.enter_context(socket.create_connection(address, 20)) for _ in range(500)]
        for client in clients:
            client.sendall(request)
        assert {client.recv(12) for client in clients} == {b"HTTP/1.1 200"}
    assert len(world.platform.status("iris").last_errors) == 1


def test_the_service_is_light(world: Any) -> None:
    world.deploy()
    maps = Path(f"/proc/{world.service_pid}/maps").read_text()
    assert "numpy" not in maps
    assert "onnxruntime" not in maps
    assert local.service_status(world.settings).memory_bytes < 180 * 2**20


def test_the_service_does_not_inherit_what_the_shell_had(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL_SECRET", "sesame-1")
    monkeypatch.setenv("MLFN_MAX_QUEUE", "1")
    world.deploy()
    for pid in (world.service_pid, *world.instance_pids()):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"sesame-1" not in environment
        assert b"MLFN_MAX_QUEUE" not in environment
