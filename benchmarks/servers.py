"""How each contestant is started, what it is sent, and how its answer is checked."""

from __future__ import annotations

import array
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import load
import machine
from prepare import HERE, Home

JSON = {"content-type": "application/json"}
CONTESTANTS = ("mlfn", "mlfn binary", "FastAPI", "uvicorn")
PEER_SCRIPTS = {"FastAPI": "fastapi_tuned.py", "uvicorn": "uvicorn_bare.py"}


@dataclass(frozen=True)
class Contestant:
    """One running server with the request that it takes."""

    url: str
    call: load.Call
    pids: list[int]
    up_s: float
    """Seconds from spawn to the first right answer."""


@contextmanager
def serving(home: Home, name: str, model: str) -> Iterator[Contestant]:
    """Run a contestant; it has answered one request rightly when the block begins."""
    log = home.folder / f"{name.replace(' ', '-')}.log"
    call = call_for(home, name, model)
    env = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MODEL": str(home.model(model))}
    with machine.running(_argv(home, name, model), env, log) as server:
        url = f"http://127.0.0.1:{server.port}"
        machine.wait_for_port(server)
        answer = load.ask_when_ready(url, call, alive=lambda: server.process.poll() is None)
        up_s = time.perf_counter() - server.spawned
        check(name, answer, home.expected(model))
        yield Contestant(url, call, machine.tree(server.process.pid), up_s)


def call_for(home: Home, name: str, model: str, served_as: str = "") -> load.Call:
    """Return the request that a contestant takes."""
    if name in PEER_SCRIPTS:
        return load.Call("/predict", home.body(model, "simple.json"), JSON)
    path = f"/v2/models/{served_as or model}/infer"
    if name == "mlfn binary":
        head = home.body(model, "v2.bin.head").read_text()
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": head}
        return load.Call(path, home.body(model, "v2.bin"), headers)
    return load.Call(path, home.body(model, "v2.json"), JSON)


def check(name: str, answer: bytes, expected: list[float]) -> None:
    """Raise when an answer is not the model's."""
    if name in PEER_SCRIPTS:
        (got,) = json.loads(answer)["outputs"].values()
        numbers = _flat(got)
    elif name == "mlfn binary":
        numbers = list(array.array("f", answer[-4 * len(expected) :]))
    else:
        numbers = json.loads(answer)["outputs"][-1]["data"]
    same = len(numbers) == len(expected)
    if not same or not all(
        math.isclose(a, b, rel_tol=1e-2, abs_tol=1e-2) for a, b in zip(numbers, expected, strict=True)
    ):
        raise RuntimeError(f"{name} answers {numbers[:4]}, the model {expected[:4]}")


def _argv(home: Home, name: str, model: str) -> list[str]:
    if name in PEER_SCRIPTS:
        return [home.peer_python, str(HERE / "peers" / PEER_SCRIPTS[name])]
    log = home.folder / "requests.log"
    log.unlink(missing_ok=True)
    file = str(home.model(model))
    return [home.mlfn, "serve", file, "--name", model, "--port", "{port}", "--log-file", str(log)]


def _flat(values: list[object]) -> list[float]:
    flat: list[float] = []
    for value in values:
        flat += _flat(value) if isinstance(value, list) else [float(value)]  # type: ignore[arg-type]  # a number
    return flat
