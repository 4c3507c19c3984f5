"""Whatever is wrong: one clear error, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

Make = Callable[[Path, Any], Path]


def missing(folder: Path, save: Any) -> Path:
    return folder / "nowhere.onnx"


def directory(folder: Path, save: Any) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def pipe(folder: Path, save: Any) -> Path:
    os.mkfifo(folder / "pipe.onnx")
    return folder / "pipe.onnx"


def empty(folder: Path, save: Any) -> Path:
    (folder / "empty.onnx").touch()
    return folder / "empty.onnx"


def text(folder: Path, save: Any) -> Path:
    (folder / "text.onnx").write_text("not a model")
    return folder / "text.onnx"


def truncated(folder: Path, save: Any) -> Path:
    whole = save("cut", helper.make_node("Identity", ["x"], ["y"]))
    whole.write_bytes(whole.read_bytes()[:-20])
    return Path(whole)


class Bomb:
    """Leave a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


def pickled(folder: Path, save: Any) -> Path:
    (folder / "model.onnx").write_bytes(pickle.dumps(Bomb(folder / "exploded")))
    return folder / "model.onnx"


def without_its_data(folder: Path, save: Any) -> Path:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4], bytes(16), raw=True)
    tensors = [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["N", 4]) for each in ("x", "y")]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="external.data", size_threshold=0)
    (folder / "external.data").unlink()
    return path


def opset_too_new(folder: Path, save: Any) -> Path:
    made: Path = save("new", helper.make_node("Identity", ["x"], ["y"]), opsets={"": 99})
    return made


def custom_operator(folder: Path, save: Any) -> Path:
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.example")
    made: Path = save("custom", node, opsets={"": 17, "com.example": 1})
    return made


BAD_MODELS: list[tuple[Make, str]] = [
    (missing, "there is no file"),
    (directory, "folder"),
    (pipe, "pipe"),
    (empty, "is empty"),
    (text, "is a text"),
    (truncated, "cut off"),
    (pickled, "pickle"),
    (without_its_data, "external.data"),
    (opset_too_new, "opset"),
    (custom_operator, "Frobnicate"),
]


@pytest.mark.parametrize("command", ["deploy", "inspect", "serve"])
@pytest.mark.parametrize(("make", "told"), BAD_MODELS, ids=[make.__name__ for make, _ in BAD_MODELS])
def test_a_bad_model_is_one_error(command: str, make: Make, told: str, cli: Any, save: Any) -> None:
    model = make(cli.folder, save)
    before = sorted(cli.folder.rglob("*"))
    done = cli.run(command, model, *(["--port", "0"] if command == "serve" else []))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1
    assert told in done.stderr
    assert "hint: " in done.stderr or make in (missing, pipe)
    assert "Traceback" not in done.stderr
    assert sorted(cli.folder.rglob("*")) == before


OPTIONS = [
    (["--name", "My_Model"], 2, "try --name my-model"),
    (["--platform", "lokal"], 2, "did you mean 'local'?"),
    (["--output", "jsno"], 2, "did you mean 'json'?"),
    (["--concurency", "2"], 2, "did you mean '--concurrency'?"),
    (["--memory", "512mb"], 2, "try --memory 512M"),
    (["--min-scale", "3", "--max-scale", "2"], 2, ""),
    (["--window", "1s"], 2, ""),
    (["--env", "NOVALUE"], 2, ""),
]


@pytest.mark.parametrize(("options", "code", "hint"), OPTIONS, ids=[" ".join(each[0]) for each in OPTIONS])
def test_a_bad_option_is_one_error_and_starts_nothing(
    options: list[str], code: int, hint: str, cli: Any, iris: Path
) -> None:
    done = cli.run("deploy", iris, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("error: ") == 1
    assert hint in done.stderr
    assert not cli.state.exists()


def test_looking_starts_nothing_where_nothing_was_ever_deployed(cli: Any) -> None:
    assert cli.json("list") == {"schema": "mlfn.functions/v1", "functions": []}
    for args in (["describe", "x"], ["logs", "x"], ["invoke", "x", "--example"], ["delete", "x", "--yes"]):
        assert cli.run(*args).returncode == 4, args
    assert cli.json("local", "status")["running"] is False
    assert cli.json("local", "prune")["digests"] == []
    assert not cli.state.exists()


@pytest.fixture
def taken_port() -> Any:
    """Hold a port that nobody else can have meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def test_serve_on_a_taken_port_offers_another(cli: Any, iris: Path, taken_port: int) -> None:
    done = cli.run("serve", iris, "--port", taken_port)
    assert (done.returncode, done.stdout) == (11, "")
    first, hint = done.stderr.splitlines()
    assert first.startswith(f"error: cannot listen on 127.0.0.1:{taken_port}: ")
    assert f"--port {taken_port + 1}" in hint


def test_the_service_on_a_taken_port_says_so(cli: Any, taken_port: int) -> None:
    done = cli.run("local", "up", "--port", taken_port)
    assert (done.returncode, done.stdout) == (11, ""), done.stderr
    assert done.stderr.count("error: ") == 1
    assert str(taken_port) in done.stderr
    assert "hint: " in done.stderr
    assert cli.json("local", "status")["running"] is False


def test_a_state_folder_that_cannot_be_written_is_named(cli: Any, iris: Path) -> None:
    in_the_way = cli.folder / "file"
    in_the_way.touch()
    for state in (in_the_way, in_the_way / "below", Path("/proc/nobody/state")):
        done = cli.run("deploy", iris, MLFN_STATE_DIR=str(state))
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith(f"error: state folder {state} cannot be used: ")
        assert "hint: set MLFN_STATE_DIR" in done.stderr


def test_a_full_disk_fails_cleanly_and_the_next_command_works(cli: Any, iris: Path) -> None:
    def no_room() -> None:
        # What the kernel answers to a write beyond the limit (EFBIG) takes the same ways as a full disk (ENOSPC).
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))

    command = [cli.run("version").args[0], "deploy", str(iris)]
    done = subprocess.run(
        command,
        env=cli.env,
        cwd=cli.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=no_room,
    )
    assert done.returncode not in (0, 130), done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "bug in mlfn" not in done.stderr
    cli.run("local", "down")
    assert cli.run("deploy", iris).returncode == 0
    assert cli.run("invoke", "iris", "--example").returncode == 0


def test_a_model_that_fails_its_first_inference_is_not_deployed(cli: Any, fails_warm_up: Path) -> None:
    done = cli.run("deploy", fails_warm_up)
    assert (done.returncode, done.stdout) == (7, ""), done.stderr
    assert done.stderr.count("error: ") == 1
    assert cli.left_behind() == []
    served = cli.run("serve", fails_warm_up, "--port", 0)
    assert served.returncode == 2
    assert "loads, but " in served.stderr


@pytest.fixture
def hungry(save: Any) -> Path:
    """Give a model that needs 800 MB for one inference."""
    size = helper.make_tensor("size", TensorProto.INT64, [1], [200_000_000])
    ones = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    made: Path = save(
        "hungry",
        helper.make_node("Constant", [], ["size"], value=size),
        helper.make_node("ConstantOfShape", ["size"], ["many"], value=ones),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Add", ["many", "largest"], ["all"]),
        helper.make_node("ReduceMax", ["all"], ["top"], keepdims=0),
        helper.make_node("Add", ["x", "top"], ["y"]),
    )
    return made


def test_a_model_that_needs_more_memory_than_allowed_is_not_deployed(cli: Any, hungry: Path) -> None:
    done = cli.run("deploy", hungry, "--memory", "256Mi")
    assert (done.returncode, done.stdout) == (7, ""), done.stderr
    assert "memory" in done.stderr
    assert cli.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_while_a_model_loads_leaves_nothing(cli: Any, slow_to_load: Path, number: int) -> None:
    cli.json("local", "up")
    deploying = cli.start("deploy", slow_to_load)
    cli.wait_for(lambda: any((cli.state / "models").iterdir()) or deploying.poll() is not None)
    deploying.send_signal(number)
    out, err = deploying.communicate(timeout=30)
    assert (deploying.returncode, out) == (130, "")
    assert err.strip() == "interrupted"
    cli.wait_for(lambda: names(cli) == [])
    cli.wait_for(lambda: cli.json("local", "status")["instances"] == 0)
    cli.json("local", "prune")
    assert cli.left_behind() == []


def names(cli: Any) -> list[str]:
    """Return what is deployed."""
    return [each["name"] for each in cli.json("list")["functions"]]


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_ctrl_c_at_any_moment_of_a_deploy_leaves_all_or_nothing(part: float, cli: Any, iris: Path) -> None:
    whole_s = cli.json("deploy", iris, "--name", "before")["seconds"]["total"] + 0.15
    cli.run("local", "down")
    deploying = cli.start("deploy", iris, "--name", "after")
    try:
        deploying.wait(timeout=part * whole_s)
    except subprocess.TimeoutExpired:
        deploying.send_signal(signal.SIGINT)
    _, err = deploying.communicate(timeout=30)
    if deploying.returncode == 0:
        assert names(cli) == ["after", "before"]
    else:
        # While Python itself starts it dies of the signal; from then on the code is 130.
        assert deploying.returncode in (130, -signal.SIGINT), err
        cli.wait_for(lambda: names(cli) == ["before"])
    assert cli.run("invoke", "before", "--example").returncode == 0


def test_ctrl_c_stops_a_server(cli: Any, iris: Path) -> None:
    serving = cli.start("serve", iris, "--port", 0)
    welcome = serving.stderr.readline()
    assert welcome.startswith("serving iris at http://127.0.0.1:")
    assert json.loads(serving.stdout.readline())["event"] == "listening"
    serving.send_signal(signal.SIGINT)
    _, err = serving.communicate(timeout=30)
    assert (serving.returncode, err) == (0, "")


def test_delete_without_a_terminal_wants_yes(cli: Any, iris: Path) -> None:
    cli.json("deploy", iris)
    refused = cli.run("delete", "iris", stdin="y\n")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "hint: mlfn delete iris --yes" in refused.stderr
    assert names(cli) == ["iris"]
