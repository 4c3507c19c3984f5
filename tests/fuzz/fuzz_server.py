"""Send hostile requests to a real server, and the well-formed ones to the ASGI adapter as well.

``python tests/fuzz/fuzz_server.py --count 100000 --seed 1`` starts both servers, prints one JSON line, and exits with 1
if anything was found: a crash, a 5xx other than 503, an unreadable answer, two servers that answer differently, or
memory or connections that stay.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fuzz_client import Answer, BadAnswer, Connection
from fuzz_model import write_model
from fuzz_requests import MODEL, Plain, plain_request, raw_request

TOGETHER = 8
"""Connections that have a request in flight at the same time, so that runs are merged."""
LEAK_BYTES = 24 << 20
"""What resident memory may grow by from a fifth of the way to the end: allocators keep some, a leak of 1 kB a request
at 100,000 requests is four times this."""
CHANGING = ("/metrics", "/stats", "/init")
"""What is answered differently each time: ``/init`` once only."""
START_S = 60.0


class Fuzz:
    """Hold both servers' ports and what was found."""

    def __init__(self, port: int, reference: int | None, rng: random.Random) -> None:
        self.port = port
        self._rng = rng
        self.reference = reference
        self.findings: list[dict[str, object]] = []
        self.statuses: Counter[int] = Counter()
        self._kept: list[Connection] = []
        self._kept_reference: list[Connection] = []

    def found(self, what: str, sent: bytes, **facts: object) -> None:
        """Keep one finding with the bytes that caused it."""
        self.findings.append({"what": what, "sent": repr(sent[:2000]), **facts})

    def plain(self, requests: Sequence[Plain]) -> None:
        """Send well-formed requests at the same time, each on a kept-alive connection; compare with the reference."""
        answers = self._exchange(self.port, self._kept, requests)
        expected = self._exchange(self.reference, self._kept_reference, requests) if self.reference else answers
        for request, answer, reference in zip(requests, answers, expected, strict=True):
            self._check(answer, request.as_bytes())
            self._compare(request, answer, reference)

    def pipelined(self, requests: Sequence[Plain]) -> None:
        """Send well-formed requests at once on one connection: as many answers must come, in order."""
        connection = Connection(self.port)
        whole = b"".join(request.as_bytes() for request in requests)
        connection.send(whole, self._pieces())
        connection.half_close()
        try:
            answers = connection.rest()
        except BadAnswer as error:
            self.found("unreadable answer", whole, error=str(error))
            return
        finally:
            connection.close()
        for answer in answers:
            self._check(answer, whole)
        if len(answers) != len(requests):
            self.found("not one answer for each pipelined request", whole, wanted=len(requests), got=len(answers))
        elif self.reference:
            expected = self._exchange(self.reference, self._kept_reference, requests)
            for request, answer, reference in zip(requests, answers, expected, strict=True):
                self._compare(request, answer, reference)

    def raw(self, data: bytes, ending: str) -> None:
        """Send any bytes on a connection of their own: whatever comes back must be readable, and the end must come."""
        connection = Connection(self.port)
        connection.send(data, self._pieces())
        if ending != "half-close":
            connection.close(reset=ending == "reset")
            return
        connection.half_close()
        try:
            for answer in connection.rest():
                self._check(answer, data)
        except BadAnswer as error:
            self.found("unreadable answer", data, error=str(error))
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections that were kept."""
        for connection in (*self._kept, *self._kept_reference):
            connection.close()

    def _exchange(
        self, port: int | None, kept: list[Connection], requests: Sequence[Plain]
    ) -> list[Answer | BadAnswer]:
        assert port is not None
        while len(kept) < len(requests):
            kept.append(Connection(port))
        for connection, request in zip(kept, requests, strict=False):
            connection.send(request.as_bytes(), self._pieces())
        answers: list[Answer | BadAnswer] = []
        for index, request in enumerate(requests):
            try:
                answers.append(kept[index].answer(request.method))
            except (BadAnswer, OSError) as error:
                answers.append(error if isinstance(error, BadAnswer) else BadAnswer(str(error)))
                kept[index].closed = True
            if kept[index].closed:
                kept[index].close()
                kept[index] = Connection(port)
        return answers

    def _pieces(self) -> int:
        """Return into how many writes a request is cut: parsers hold state between them."""
        return self._rng.choice((1, 1, 1, 1, 2, 3, 9))

    def _compare(self, request: Plain, ours: Answer | BadAnswer, reference: Answer | BadAnswer) -> None:
        if isinstance(reference, BadAnswer):
            self.found("the ASGI server's answer can't be read", request.as_bytes(), error=str(reference))
        elif isinstance(ours, Answer) and not request.target.endswith(CHANGING) and _steady(ours) != _steady(reference):
            what = "the two servers differ"
            self.found(what, request.as_bytes(), ours=repr(ours.seen), asgi=repr(reference.seen))

    def _check(self, answer: Answer | BadAnswer, sent: bytes) -> None:
        if isinstance(answer, BadAnswer):
            self.found("unreadable answer", sent, error=str(answer))
            return
        self.statuses[answer.status] += 1
        if answer.status >= 500 and not (answer.status == 503 and "retry-after" in answer.headers):
            self.found(f"status {answer.status}", sent, body=repr(answer.body[:500]))
        if answer.status >= 400 and answer.body and not _is_error(answer.body):
            self.found('an error without {"error"}', sent, status=answer.status, body=repr(answer.body[:500]))
        if answer.status == 405 and not answer.headers.get("allow"):
            self.found("405 without Allow", sent)


def _steady(answer: Answer) -> tuple[object, ...]:
    """Return the answer without what each server measured at its own start."""
    if b'"execution":' not in answer.body:
        return answer.seen
    return (*answer.seen[:2], {**json.loads(answer.body), "parameters": None})


def _is_error(body: bytes) -> bool:
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and isinstance(document.get("error"), str)


# -- servers ----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(
    argv: Sequence[str], port: int, log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, wait until it is ready, and stop it with SIGTERM at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
    try:
        give_up = time.monotonic() + START_S
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"{' '.join(argv)} did not start:\n{log.read_text()[-3000:]}")
            _pause(process)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)


def _is_ready(port: int) -> bool:
    try:
        connection = Connection(port)
    except OSError:
        return False
    try:
        connection.send(b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\n\r\n")
        return connection.answer("GET").status == 200
    except (BadAnswer, OSError):
        return False
    finally:
        connection.close()


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _left_over(port: int) -> dict[str, float]:
    """Return the gauges that should have come down again: but for this scrape, nothing is in flight."""
    connection = Connection(port)
    connection.send(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")
    lines = connection.answer("GET").body.decode().splitlines()
    connection.close()
    values = {name: float(value) for name, value in (line.split() for line in lines if line[:1] not in "# ")}
    rest = {"mlfn_requests_in_flight": 1, "mlfn_connections": 1, "mlfn_queue_depth": 0}
    return {name: values[name] for name, value in rest.items() if values[name] != value}


def _settled_files(process: subprocess.Popen[bytes], wanted: int) -> int:
    """Return the open files once the server has noticed every close, or after five seconds."""
    give_up = time.monotonic() + 5
    while _open_files(process.pid) > wanted and time.monotonic() < give_up:
        _pause(process)
    return _open_files(process.pid)


def _pause(process: subprocess.Popen[bytes]) -> None:
    """Wait a moment, or until the process is gone."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.05)


# -- the run ----------------------------------------------------------------------------------------------------------


def drive(fuzz: Fuzz, process: subprocess.Popen[bytes], count: int, rng: random.Random) -> dict[str, int]:
    """Send ``count`` requests and watch ``process``; return what was measured."""
    pid = process.pid
    files_before = _open_files(pid)
    early_bytes = 0
    sent = 0
    while sent < count and len(fuzz.findings) < 20 and process.poll() is None:
        choice = rng.random()
        if choice < 0.25:
            requests = [plain_request(rng) for _ in range(min(TOGETHER, count - sent))]
            fuzz.plain(requests)
            sent += len(requests)
        elif choice < 0.3:
            requests = [plain_request(rng) for _ in range(rng.randint(2, 6))]
            fuzz.pipelined(requests)
            sent += len(requests)
        else:
            for _ in range(2):
                request = raw_request(rng)
                fuzz.raw(request.data, request.ending)
                sent += 1
        if not early_bytes and sent >= count // 5:
            early_bytes = _resident_bytes(pid)
    fuzz.close()
    if process.poll() is not None:
        return {"sent": sent, "grown_bytes": 0, "files_left": 0}
    files_left = _settled_files(process, files_before) - files_before
    grown = _resident_bytes(pid) - early_bytes
    if files_left > 0:
        fuzz.found("connections stay open", b"", files=files_left)
    for name, value in _left_over(fuzz.port).items():
        fuzz.found(f"{name} is {value} at the end", b"")
    if grown > LEAK_BYTES:
        fuzz.found("memory stays in use", b"", bytes=grown)
    return {"sent": sent, "grown_bytes": grown, "files_left": files_left}


def main() -> int:
    """Start the servers, send the requests, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-reference", action="store_true", help="leave the ASGI server out")
    parser.add_argument("--openwhisk", action="store_true", help="offer /init and /run as well")
    parser.add_argument("--slow", action="store_true", help="fuzz a model that worker threads run")
    options = parser.parse_args()
    begun = time.monotonic()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / f"{MODEL}.onnx"
        write_model(model, slow=options.slow)
        port, reference = free_port(), free_port()
        ours = (sys.executable, "-m", "mlfn_runtime", "--model", str(model), "--name", MODEL, "--port", str(port))
        asgi = (
            sys.executable, "-m", "uvicorn", "mlfn_runtime.asgi:app", "--factory", "--http", "h11", "--loop", "asyncio",
            "--host", "127.0.0.1", "--port", str(reference), "--log-level", "error",
        )  # fmt: skip
        whisk = {"MLFN_OPENWHISK": "1" if options.openwhisk else "0"}
        asgi_env = {"MLFN_MODEL_PATH": str(model), "MLFN_NAME": MODEL, **whisk}
        with running(ours, port, Path(folder) / "ours.log", whisk) as process:
            if options.no_reference:
                fuzz = Fuzz(port, None, rng)
                measured = drive(fuzz, process, options.count, rng)
            else:
                with running(asgi, reference, Path(folder) / "asgi.log", asgi_env):
                    fuzz = Fuzz(port, reference, rng)
                    measured = drive(fuzz, process, options.count, rng)
            if process.poll() is not None:
                log = (Path(folder) / "ours.log").read_text()[-3000:]
                fuzz.found("the server stopped", b"", code=process.returncode, log=log)
        if process.returncode != 0:
            fuzz.found("SIGTERM did not end it with 0", b"", code=process.returncode)
    report = {
        "count": options.count,
        "seed": options.seed,
        **measured,
        "seconds": round(time.monotonic() - begun, 1),
        "statuses": {str(status): number for status, number in sorted(fuzz.statuses.items())},
        "findings": fuzz.findings,
    }
    print(json.dumps(report))
    return 1 if fuzz.findings or measured["sent"] < options.count else 0


if __name__ == "__main__":
    raise SystemExit(main())
