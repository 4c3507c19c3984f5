"""The process: how it starts, how it fails to start, how it stops while it loads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

FLOAT = TensorProto.FLOAT


def start(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    command = [sys.executable, "-m", "mlfn_runtime", *arguments]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFN_")}
    return subprocess.run(command, env=clean | env, capture_output=True, text=True, check=False, timeout=60)


def failing_model(house: Any, folder: Path) -> str:
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[7, 11])
    nodes = [shape, helper.make_node("Reshape", ["X", "shape"], ["Y"])]
    return str(house.save_model(folder / "bad.onnx", nodes, [("X", FLOAT, ["N", 13])], [("Y", FLOAT, [7, 11])]))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    ended = start("--model", str(tmp_path / "none.onnx"), "--port", "0")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "none.onnx" in ended.stderr
    failed = json.loads(ended.stdout.splitlines()[-1])
    assert (failed["event"], failed["kind"]) == ("failed", "load")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("not a model")
    ended = start("--model", str(tmp_path / "m.onnx"), "--port", "0")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_a_model_that_fails_its_first_inference(house: Any, tmp_path: Path) -> None:
    ended = start(f"--model={failing_model(house, tmp_path)}", "--port=0")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "the inference before ready failed" in ended.stderr


def test_the_debug_switch_shows_where(house: Any, tmp_path: Path) -> None:
    ended = start("--model", failing_model(house, tmp_path), "--port", "0", MLFN_DEBUG="1")
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr


def test_a_port_that_is_taken(models: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = start("--model", str(models / "double.onnx"), "--port", str(port))
    assert ended.returncode == 1
    assert ended.stderr == f"mlfn: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "x", "--model", "m"], "--port: expected a number from 0 to 65535, got 'x'"),
        (["--wrong", "m"], "expected --model"),
        (["--model"], "each with a value"),
        ([], "MLFN_MODEL_PATH"),
    ],
)
def test_wrong_arguments(arguments: list[str], words: str) -> None:
    ended = start(*arguments)
    assert ended.returncode == 2
    assert words in ended.stderr


@pytest.fixture
def endless_load(tmp_path: Path, house: Any) -> Any:
    """A server whose model never finishes loading: its file is a pipe that nobody fills."""
    os.mkfifo(tmp_path / "slow.onnx")
    env = os.environ | {"MLFN_MODEL_PATH": str(tmp_path / "slow.onnx"), "MLFN_LOG_PATH": str(tmp_path / "log")}
    with subprocess.Popen([sys.executable, "-c", house.PROGRAM], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        event, facts = json.loads(process.stdout.readline())
        assert event == "listening"
        server = house.Server(process, "slow", tmp_path / "log", facts["port"])
        yield server
        assert server.stop() == 0


def test_while_it_loads_it_lives_but_is_not_ready(endless_load: Any) -> None:
    assert endless_load.get("/v2/health/live").status == 200
    ready = endless_load.get("/v2/health/ready")
    assert (ready.status, ready.json["state"]) == (503, "loading")
    refused = endless_load.post({"inputs": []})
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert endless_load.get("/v2/models/slow").status == 503


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_it_loads_ends_it_at_once(endless_load: Any, number: int) -> None:
    assert endless_load.get("/v2/health/live").status == 200
    endless_load.process.send_signal(number)
    assert endless_load.process.wait(10) == 0


def test_standard_streams_that_are_closed_are_no_clients(models: Path, house: Any) -> None:
    """Their numbers would go to the next sockets, and the log to whoever is behind those."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        program = f"""
import os, socket
from mlfn_runtime.server import ServerSettings, serve
for number in (0, 1, 2): os.close(number)
os._exit(serve(ServerSettings({str(models / "double.onnx")!r}), listener=socket.socket(fileno={listener.fileno()})))
"""
        process = subprocess.Popen([sys.executable, "-c", program], pass_fds=[listener.fileno()])
        server = house.Server(process, "double", models / "no.log", listener.getsockname()[1])
        clients = [server.connect() for _ in range(4)]
        live = house.request("/v2/health/live", method="GET")
        assert [client.ask(live).status for client in clients * 3] == [200] * 12
        assert {str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in range(3)} == {"/dev/null"}
        assert server.stop() == 0


@pytest.fixture
def unread(models: Path, house: Any) -> Any:
    """A server whose log goes to its standard output: a pipe that nobody reads after "ready"."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFN_")}
    command = [sys.executable, "-m", "mlfn_runtime", "--model", str(models / "double.onnx"), "--port", "0"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        server = house.Server(process, "double", models / "no.log")
        while json.loads(line := process.stdout.readline())["event"] != "ready":
            server.port = json.loads(line)["port"]
        yield server
        server.stop()


def dropped_lines(server: Any) -> float:
    text = server.get("/metrics").body.decode()
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("mlfn_log_lines_dropped"))


def test_a_log_that_nobody_reads_stops_no_request(unread: Any, house: Any) -> None:
    client = unread.connect()
    live = house.request("/v2/health/live", headers=f"X: {'x' * 100}\r\n", method="GET")
    asked = 0
    while not dropped_lines(unread):
        client.send(live * 500)
        assert {client.read().status for _ in range(500)} == {200}
        asked += 500
        assert asked < 50_000, "a pipe and a bounded buffer cannot hold so many lines"
    unread.process.send_signal(signal.SIGTERM)
    assert unread.process.wait(10) == 0


def test_a_log_that_is_read_late_is_whole(unread: Any, house: Any) -> None:
    client = unread.connect()
    live = house.request("/v2/health/live", method="GET")
    for _ in range(4):  # 400 kB: more than a pipe holds
        client.send(live * 500)
        assert {client.read().status for _ in range(500)} == {200}
    lines = [json.loads(unread.process.stdout.readline()) for _ in range(2000)]
    assert {line["path"] for line in lines} == {"/v2/health/live"}
    assert dropped_lines(unread) == 0
