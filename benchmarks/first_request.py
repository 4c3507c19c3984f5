"""The first request after ready beside the steady ones, over real models of every size."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import machine
from options import Options
from prepare import EXAMPLES, Home
from rows import Row

MODELS = ("magika", "minilm", "silero-vad", "ocr-cls", "ocr-rec", "basic-pitch", "resnet50-light")
STEADY = 30
FACTOR, ALLOWANCE_MS = 1.2, 1.0


def measure(home: Home, options: Options) -> Iterator[Row]:
    """Yield one row a model: first request / (1.2 x steady median + 1 ms), the median over fresh servers."""
    folder = home.folder / "models"
    missing = [name for name in MODELS if not home.model(name).is_file()]
    if missing:
        fetch = [sys.executable, str(EXAMPLES / "fetch.py"), "--into", str(folder), *missing]
        subprocess.run(fetch, check=True, stdout=sys.stderr)
    for name in ("iris", *MODELS):
        runs = [_one_server(home, home.model(name)) for _ in range(max(3, options.samples // 2))]
        shares = [first / (FACTOR * steady + ALLOWANCE_MS) for first, steady in runs]
        yield Row(
            f"{name}: first request after ready vs {FACTOR:g}x steady median + {ALLOWANCE_MS:g} ms",
            statistics.median(shares),
            "x",
            "<=",
            1.0,
            {"first_ms, steady_ms": [[round(first, 3), round(steady, 3)] for first, steady in runs]},
        )


def _one_server(home: Home, model: Path) -> tuple[float, float]:
    """Start a server, wait until it is ready without asking for an inference, return (first, steady median) in ms."""
    argv = [
        home.mlfn,
        "serve",
        str(model),
        "--name",
        "m",
        "--port",
        "{port}",
        "--log-file",
        str(home.folder / "first.log"),
    ]
    with machine.running(argv, {}, home.folder / "first.out") as server:
        machine.wait_for_port(server)
        _wait_until_ready(server.port)
        body = _example(server.port)
        milliseconds = [_ask(server.port, body) for _ in range(1 + STEADY)]
    return milliseconds[0], statistics.median(milliseconds[1:])


def _example(port: int) -> bytes:
    """Return the request that the server gives as its example: of lengths that the model takes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/openapi.json")
    document = json.loads(connection.getresponse().read())
    return json.dumps(document["components"]["examples"]["inference"]["value"]).encode()


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/v2/health/ready")
        if connection.getresponse().status == 200:
            return
        time.sleep(0.01)
    raise RuntimeError(f"the server on port {port} did not become ready")


def _ask(port: int, body: bytes) -> float:
    """Send one inference on a new connection, as a first caller does; return milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    connection.request("POST", "/v2/models/m/infer", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    raw = answer.read()
    taken = (time.perf_counter() - began) * 1e3
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {json.loads(raw)}")
    return taken
