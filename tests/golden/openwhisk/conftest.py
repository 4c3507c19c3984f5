"""What replays of the real OpenWhisk need: a loop whose time only jumps, and the recorded action as a container."""

from __future__ import annotations

import asyncio
import json
import re
import selectors
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlfn_local.openwhisk.containers import CannotStart, Wanted
from mlfn_policies.openwhisk_proxy import Answer, Silence, Status

DATA = Path(__file__).parents[2] / "data" / "openwhisk"


class JumpingSelector(selectors.DefaultSelector):
    """Where others wait, let the loop's time jump."""

    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop_of_time = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self._loop_of_time.now_s += timeout
        return super().select(0 if timeout else timeout)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop without waiting: its clock jumps to whatever is due next."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(JumpingSelector(self))

    def time(self) -> float:
        return self.now_s


class ProbeContainer:
    """The recorded action image: acts by its action's name (``init-MODE``) and by ``mode`` of the parameters."""

    def __init__(self, world: ProbeContainers, name: str, number: int) -> None:
        self.world = world
        self.name = name
        self.id = f"{number:012x}"
        self.active = 0
        self.alive = True
        self.dead = False
        self.lines: list[str] = []

    def note(self, event: str) -> None:
        self.world.events.append((self.id, event))

    async def post(self, path: str, body: bytes, timeout_s: float) -> Answer | Silence:
        self.note("connect")
        self.note(f"request {path}")
        value = json.loads(body)["value"]
        self.world.bodies.append((self.name, json.loads(body)))
        self.active += 1
        try:
            async with asyncio.timeout(timeout_s):
                answer = await (self._init() if path == "/init" else self._run(value))
        except TimeoutError:
            return Silence.TIMEOUT
        finally:
            self.active -= 1
        if answer is Silence.DROPPED:
            self.dead = True
        if isinstance(answer, tuple):
            self.note(f"response {answer[0]}")
            self.note("disconnect")
            status, text = answer
            size = len(text.encode())
            return Answer(status, text[:1_048_576], size)
        self.note("exit" if answer is Silence.DROPPED else f"response {204 if 'http204' in self.name else 200}")
        self.note("disconnect" if answer is not Silence.DROPPED else "docker die")
        return answer

    async def _init(self) -> tuple[int, str] | Silence:
        mode = self.name.partition("init-")[2]
        await asyncio.sleep(0.003)
        if mode == "slow":
            await asyncio.sleep(10_000)
        if mode == "delay3":
            await asyncio.sleep(3)
        if mode == "exit":
            return Silence.DROPPED
        if mode in ("nolength", "chunked", "http204"):
            return Silence.GONE
        return self.world.init_answers.get(mode, (200, '{"ok": true}'))

    async def _run(self, value: Any) -> tuple[int, str] | Silence:
        await asyncio.sleep(0.002)
        mode = value.get("mode", "echo") if isinstance(value, dict) else "echo"
        if mode == "logs":
            self.lines.extend(f"out {i}" for i in range(int(value.get("lines", 1))))
        if isinstance(value, dict) and value.get("mlfn_ping"):
            await asyncio.sleep(value.get("mlfn_hold_ms", 0) / 1000)
            return 200, '{"mlfn_ping": true}'
        if mode == "sleep":
            await asyncio.sleep(float(value.get("s", 1)))
        if mode in ("exit", "oom"):
            return Silence.DROPPED
        if mode in ("nolength", "chunked", "gzip"):
            return Silence.GONE
        if mode == "503once" and value["token"] not in self.world.tokens:
            self.world.tokens.add(value["token"])
            return 503, '{"error": "shutting down"}'
        if mode in ("big", "bigerror"):
            key = "big" if mode == "big" else "error"
            return (200 if mode == "big" else 500), json.dumps({key: "x" * int(value["n"])})
        if mode in self.world.run_answers:
            return self.world.run_answers[mode]
        if mode == "webstatus":
            return 200, json.dumps(_web_status(value))
        if mode == "weberror":
            error = {"statusCode": 422, "headers": {"x-own": "err"}, "body": {"why": "unprocessable"}}
            return 200, json.dumps({"error": error})
        return 200, json.dumps({"active": self.active, "container": self.id, "echo": value})

    async def logs(self, most_bytes: int) -> tuple[str, ...]:
        await asyncio.sleep(0.07)
        lines, self.lines = self.lines, []
        return tuple(f"2026-11-23T08:49:26.081807092Z {line}" for line in lines)

    async def pause(self) -> None:
        self.note("docker pause")

    async def resume(self) -> None:
        self.note("docker unpause")

    async def destroy(self) -> None:
        if self.alive:
            self.alive = False
            if not self.dead:
                self.note("docker kill")
            self.note("docker destroy")


def _web_status(value: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"statusCode": int(value.get("code", 418)), "body": value.get("out", {"tea": True})}
    kind = value.get("ct", "application/json")
    return {**shown, "headers": {"content-type": kind, "x-own": "yes"}}


class ProbeContainers:
    """Make probe containers, and write down all that happens to them."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.bodies: list[tuple[str, Any]] = []
        self.tokens: set[str] = set()
        self.names: dict[str, str] = {}
        self.run_answers, self.init_answers = _recorded_answers()
        self._made = 0

    async def create(self, wanted: Wanted) -> ProbeContainer:
        await asyncio.sleep(0.3)
        self._made += 1
        container = ProbeContainer(self, wanted.name.partition("_")[2], self._made)
        self.names[container.id] = container.name
        if wanted.image in _IMAGES:
            status, message, events = _IMAGES[wanted.image]
            for event in events:
                container.note(event)
            raise CannotStart(status, message)
        for event in ("docker create", "docker start", "listening"):
            container.note(event)
        return container


_IMAGES: dict[str, tuple[Status, str, tuple[str, ...]]] = {
    **{
        image: (Status.DEVELOPER_ERROR, f"Failed to pull container image '{image}'.", ())
        for image in ("owlocal/unlisted:latest", "owlocal/unlisted", "owlocal/nothere:v9", "owlocal/action")
    },
    "owlocal/nocommand:v1": (
        Status.DEVELOPER_ERROR,
        "executable file not found in image owlocal/nocommand:v1",
        ("docker create", "docker destroy"),
    ),
    "owlocal/exits:v1": (
        Status.WHISK_ERROR,
        "Failed to provision resources to run the action.",
        ("docker create", "docker start", "docker destroy"),
    ),
}
"""Images that do not come up: what the recorded callers were told, and the engine's events."""


def _recorded_answers() -> tuple[dict[str, tuple[int, str]], dict[str, tuple[int, str]]]:
    """Take what the real action answered, by mode, from the recorded traces."""
    run: dict[str, tuple[int, str]] = {"empty": (200, ""), "null": (200, "null"), "string": (200, '"just a string"')}
    init: dict[str, tuple[int, str]] = {"empty200": (200, "")}
    run["nan"] = (200, '{"x": NaN}')
    for record in json.loads((DATA / "container.json").read_text()):
        mode = record["params"].get("mode") if isinstance(record["params"], dict) else None
        answers = [event for event in record["trace"] if event["event"] == "response" and event.get("body") is not None]
        if not answers:
            continue
        first, last = answers[0], answers[-1]
        name = record["action"]["name"]
        if name.startswith("init-"):
            init.setdefault(name[5:], (first["status"], _text(first["body"])))
        elif mode and "echo" not in str(last["body"])[:60] and last["body_bytes"] < 500:
            run.setdefault(mode, (last["status"], _text(last["body"])))
    run.pop("503once", None)
    return run, init


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


NUMBERS = frozenset(("start", "end", "duration", "updated", "size"))


def plain(value: Any) -> Any:
    """Set apart what no two runs share."""
    if isinstance(value, dict):
        if set(value) >= {"key", "value"} and value["key"] in ("waitTime", "initTime"):
            return {**value, "value": 0}
        return {key: _plain_field(key, item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        items = [plain(item) for item in value]
        pairs = all(isinstance(item, dict) and "key" in item for item in items)
        return sorted(items, key=lambda item: str(item["key"])) if pairs else items
    if isinstance(value, str):
        if value.startswith("{") and "activationId" in value:
            return plain(json.loads(value))
        value = re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z ", "TIME ", value)
        return re.sub(r"[0-9a-f]{32}", "ID", value)
    return value


def _plain_field(key: str, item: Any) -> Any:
    if key in NUMBERS and isinstance(item, int):
        return 0
    if key in ("code", "container") and isinstance(item, str):
        return key
    if key in ("build", "description"):
        return key
    return plain(item)


@pytest.fixture(name="plain")
def _plain() -> Callable[[Any], Any]:
    """Set apart what no two runs share: times, ids, names of containers, order of keys."""
    return plain


@pytest.fixture
def containers() -> ProbeContainers:
    """Containers of the recorded action."""
    return ProbeContainers()


@pytest.fixture
def in_jumping_time() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine on a loop whose time only jumps."""
    loop = JumpingLoop()
    try:
        yield loop.run_until_complete
    finally:
        loop.close()


@pytest.fixture
def recording() -> Callable[[str], Any]:
    """Read one of the recordings."""
    return lambda name: json.loads((DATA / f"{name}.json").read_text())
