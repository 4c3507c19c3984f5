"""`mlfn openwhisk dev` with processes of the runtime: a real server, a real model, as `wsk` and browsers ask it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MLFN = Path(sys.executable).parent / "mlfn"
ACTION = {"exec": {"kind": "blackbox", "image": "iris:v1"}, "annotations": [{"key": "web-export", "value": True}]}
QUESTION = json.loads((REPOSITORY / "examples" / "iris" / "request.json").read_text())


@dataclass(frozen=True)
class Served:
    """A server that runs, its folder, and a client with its credential."""

    process: subprocess.Popen[str]
    folder: Path
    client: httpx.Client


@pytest.fixture
def served(tmp_path: Path, lasting_port: Callable[[], int]) -> Iterator[Served]:
    """Start the server and wait until it answers."""
    port = lasting_port()
    model = REPOSITORY / "examples" / "iris" / "model.onnx"
    argv = [str(MLFN), "openwhisk", "dev", "--engine", "process", "--image", f"iris:v1={model}"]
    argv += ["--port", str(port), "--state-dir", str(tmp_path), "--pause-grace", "0", "--per-minute", "1000"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    base = f"http://127.0.0.1:{port}"
    try:
        settle(lambda: _pings(base))
        user, _, key = (tmp_path / "auth").read_text().partition(":")
        with httpx.Client(base_url=base, auth=(user, key), timeout=60, trust_env=False) as client:
            yield Served(process, tmp_path, client)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def _pings(base: str) -> bool:
    try:
        return httpx.get(f"{base}/ping", trust_env=False).text == "pong"
    except httpx.TransportError:
        return False


def settle(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline, pause = time.monotonic() + 60, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.05)


def labels(answer: httpx.Response) -> list[int]:
    """Return the labels of an answer."""
    return next(each["data"] for each in answer.json()["outputs"] if each["name"] == "label")


def test_a_model_is_an_action(served: Served) -> None:
    actions = "/api/v1/namespaces/_/actions/iris"
    made = served.client.put(actions, json=ACTION)
    assert (made.status_code, made.json()["version"]) == (200, "0.0.1")
    cold = served.client.post(f"{actions}?blocking=true", json=QUESTION).json()
    assert "initTime" in [each["key"] for each in cold["annotations"]]
    assert labels(served.client.post(f"{actions}?blocking=true&result=true", json=QUESTION)) == [0, 1, 2]
    assert labels(httpx.post(f"{served.client.base_url}/api/v1/web/guest/default/iris.json", json=QUESTION)) == [
        0,
        1,
        2,
    ]
    wrong = served.client.post(f"{actions}?blocking=true&result=true", json={"inputs": 3})
    assert (wrong.status_code, list(wrong.json())) == (502, ["error"])
    settle(lambda: len(served.client.get("/api/v1/namespaces/_/activations?name=iris").json()) == 4)


def test_an_idle_container_is_stopped_and_goes_on(served: Served) -> None:
    actions = "/api/v1/namespaces/_/actions/iris"
    served.client.put(actions, json={**ACTION, "limits": {"logs": 0}})
    served.client.post(f"{actions}?blocking=true", json=QUESTION)
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    settle(lambda: [pid for pid in children.read_text().split() if _state(pid) == "T"])
    assert labels(served.client.post(f"{actions}?blocking=true&result=true", json=QUESTION)) == [0, 1, 2]


def _state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_credential_is_the_owners_alone(served: Served) -> None:
    for name in ("auth", "wskprops"):
        assert stat.S_IMODE((served.folder / name).stat().st_mode) == 0o600
    assert httpx.get(f"{served.client.base_url}/api/v1/namespaces", auth=("a", "b")).status_code == 401


def test_an_image_without_a_model_fails_as_a_pull(served: Served) -> None:
    served.client.put("/api/v1/namespaces/_/actions/none", json={"exec": {"kind": "blackbox", "image": "none:v1"}})
    answer = served.client.post("/api/v1/namespaces/_/actions/none?blocking=true&result=true", json={})
    assert (answer.status_code, answer.json()) == (502, {"error": "Failed to pull container image 'none:v1'."})


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--image", "iris"], 2, "NAME=MODEL.onnx"),
        (["--image", "iris=/nowhere.onnx"], 2, "no file"),
        (["--engine", "podman"], 8, "not on PATH"),
    ],
)
def test_bad_input_is_named(arguments: list[str], code: int, told: str) -> None:
    done = subprocess.run(
        [str(MLFN), "openwhisk", "dev", *arguments],
        env={**os.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert told in done.stderr
