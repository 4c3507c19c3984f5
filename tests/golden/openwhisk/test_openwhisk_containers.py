"""The invoker against the recorded one: the same call gives the same container events, requests, answer and record."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from mlfn_local.openwhisk.http_values import Request
from mlfn_local.openwhisk.serving import assemble
from mlfn_local.openwhisk.settings import ServerSettings

KEY = "user:key"
HEADERS = (
    ("authorization", "Basic " + base64.b64encode(KEY.encode()).decode()),
    ("content-type", "application/json"),
)
OPEN: dict[str, Any] = {
    "invocations_per_minute": 100_000,
    "fires_per_minute": 100_000,
    "concurrent_invocations": 1000,
    "kinds": (("probe:1", "owlocal/action:v1"),),
}
CONCURRENT: dict[str, Any] = {
    **OPEN,
    "most_concurrency": 16,
    "pause_grace_ms": 3000,
    "idle_container_ms": 20_000,
}
NOISE = frozenset(("listening", "disconnect", "exit", "docker die", "docker oom"))
"""Events whose place among the others is left to the machine."""
AT_ONCE = ("second call at once after the first answer", "second call at once, logs limit 0")
BEFORE = {
    "after an update: old container not reused": 1,
    "line printed 1.5 s after the reply, next activation": 1,
    "two logging calls in one second: first": 1,
    "pause after the grace period": 1,
}
"""Calls that the recorder made before, unrecorded."""
CODE = "def main(a):\n  return a\n"
MADE: dict[str, dict[str, Any]] = {
    "keyed": {
        "annotations": [{"key": "provide-api-key", "value": True}],
        "parameters": [{"key": "plain", "value": "p"}, {"key": "ENVP", "value": "e", "init": True}],
    },
    "coded": {"exec": {"kind": "blackbox", "image": "owlocal/action:v1", "code": CODE, "main": "entry"}},
    "kinded9": {"exec": {"kind": "probe:1", "code": CODE}},
}
"""How actions were made whose records do not say."""
DIFFERENT = {
    "run over the timeout, warm": "the real invoker looks for lost memory for 12 s before it kills",
}


@dataclass
class Bench:
    """A server, and what is asked of it."""

    containers: Any
    settings: ServerSettings
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        self.server = assemble(self.containers, self.settings, {KEY: "guest"}, now_ms=self.now_ms)

    def now_ms(self) -> int:
        return 1_795_424_000_000 + int(self.loop.time() * 1000)

    async def send(self, method: str, path: str, body: Any = None, query: str = "") -> tuple[int, Any]:
        asked = Request(method, f"/api/v1/namespaces/_/{path}", query, HEADERS, json.dumps(body or {}).encode())
        if isinstance(body, list):
            asked = Request(method, asked.path, query, HEADERS, json.dumps(body).encode())
        answer = await self.server.api.answer(asked)
        return answer.status, json.loads(answer.body) if answer.body else None

    async def put(self, action: dict[str, Any], more: dict[str, Any] | None = None) -> None:
        """Create the action of a record, unless it is there."""
        name = action["name"]
        status, _ = await self.send("GET", f"actions/{name}")
        if status == 200 and more is None:
            return
        limits = {
            "timeout": action.get("timeout_ms", 60_000),
            "memory": action.get("memory_mb", action.get("memory", 128)),
            "logs": action.get("logs_mb", action.get("logs", 10)),
            "concurrency": action.get("concurrency", 1),
        }
        given = {"exec": {"kind": "blackbox", "image": action["image"]}, "limits": limits}
        given |= MADE.get(name, {}) | (more or {})
        status, told = await self.send("PUT", f"actions/{name}", given, "overwrite=true")
        assert status == 200, told


def calm(events: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return each container's events in order, containers in the order in which they came; noise set apart."""
    numbers: dict[str, int] = {}
    sorted_out: dict[str, list[str]] = {}
    for container, event in events:
        number = numbers.setdefault(container, len(numbers))
        if event not in NOISE:
            sorted_out.setdefault(f"container {number}", []).append(event)
    return sorted_out


def recorded_events(record: dict[str, Any]) -> list[tuple[str, str]]:
    named = {"request": "path", "response": "status"}
    found = []
    for event in record["trace"]:
        word = event["event"]
        found.append((event["container"], f"{word} {event[named[word]]}" if word in named else word))
    return found


def without_last_pause(events: dict[str, list[str]]) -> dict[str, list[str]]:
    """A pause that ends a trace depends on when the recorder stopped looking."""
    cut = {name: list(steps) for name, steps in events.items()}
    for steps in cut.values():
        while steps and steps[-1] == "docker pause":
            steps.pop()
    return {name: steps for name, steps in cut.items() if steps}


def seen_limits(record: dict[str, Any]) -> dict[str, Any]:
    """Return the limits that the recorded activation ran with."""
    body = record["api"]["body"]
    annotations = body.get("annotations", []) if isinstance(body, dict) else []
    found = next((item["value"] for item in annotations if item["key"] == "limits"), None)
    return {"timeout_ms": found["timeout"], "logs": found["logs"], "memory": found["memory"]} if found else {}


def unversioned(body: Any) -> Any:
    """Set the version apart: the recorder updated its actions between calls."""
    return {**body, "version": ""} if isinstance(body, dict) and "version" in body else body


def told(body: Any) -> Any:
    """Set apart of a message to a container what no two runs share."""
    if isinstance(body, dict):
        secret = {"__OW_API_KEY": "AUTH", "api_key": "AUTH"}
        once = ("DEADLINE", "TRANSACTION_ID", "ACTION_VERSION")
        return {
            key: "" if key.upper().removeprefix("__OW_") in once else secret.get(key, told(item))
            for key, item in body.items()
        }
    return body


def unconnected(events: dict[str, list[str]]) -> dict[str, list[str]]:
    """Leave out connections, which a pooled client keeps."""
    return {name: [step for step in steps if not step.startswith("connect")] for name, steps in events.items()}


async def one_call(bench: Bench, record: dict[str, Any], plain: Callable[[Any], Any]) -> str:
    """Make the call of a record and return what differs, or nothing."""
    name, action = record["name"], {**record["action"], **seen_limits(record)}
    await bench.put(action)
    path = f"actions/{action['name']}"
    for _ in range(record["warm_calls_before"] + BEFORE.get(name, 0)):
        await bench.send("POST", path, {"mode": "noop"}, "blocking=true")
        await asyncio.sleep(1)
    if name.startswith("after an update"):
        await bench.put(action, {"annotations": [{"key": "v", "value": 2}]})
    if name in AT_ONCE:
        await bench.send("POST", path, {"mode": "noop"}, "blocking=true")
    start, asked = len(bench.containers.events), len(bench.containers.bodies)
    blocking = "true" if record["blocking"] else "false"
    status, body = await bench.send("POST", path, record["params"], f"blocking={blocking}")
    await asyncio.sleep(10.5 if "60 s" in name or "pause after" in name else 4)
    names = bench.containers.names
    events = [event for event in bench.containers.events[start:] if names.get(event[0]) == action["name"]]
    ours, real = calm(events), calm(recorded_events(record))
    if record["server"] == "concurrent-pooled":
        ours, real = unconnected(ours), unconnected(real)
    if "pause" not in name:
        ours, real = without_last_pause(ours), without_last_pause(real)
    if ours != real and not name.endswith("205 s after the call"):  # whose trace was not kept
        return f"events\n   ours {ours}\n   real {real}"
    sent = [told(plain(body)) for at, body in bench.containers.bodies[asked:] if at == action["name"]]
    expected = [told(plain(event["body"])) for event in record["trace"] if event["event"] == "request"]
    if expected and sent != expected:
        return f"requests\n   ours {sent}\n   real {expected}"
    if status != record["api"]["status"]:
        return f"status {status}, recorded {record['api']['status']}: {body}"
    theirs = record["api"]["body"]
    if isinstance(theirs, dict) and plain(unversioned(body)) != plain(unversioned(theirs)):
        return f"body\n   ours {plain(body)}\n   real {plain(theirs)}"
    return ""


async def replay(records: list[dict[str, Any]], containers: Any, plain: Callable[[Any], Any]) -> dict[str, str]:
    bench = Bench(containers, ServerSettings(**OPEN))
    found = {}
    for record in records:
        found[record["name"]] = await one_call(bench, record, plain)
    await bench.server.close()
    return found


def test_the_recorded_calls(
    containers: Any,
    recording: Callable[[str], Any],
    in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any],
    plain: Callable[[Any], Any],
) -> None:
    found = in_jumping_time(replay(recording("container"), containers, plain))
    wrong = {name: why for name, why in found.items() if why}
    unexpected = [f"{name}: {why}" for name, why in wrong.items() if name not in DIFFERENT]
    assert not unexpected, f"{len(unexpected)} of {len(found)} differ\n" + "\n".join(unexpected)
    assert not set(DIFFERENT) - set(wrong), "these agree after all"


TOGETHER_DIFFERENT = {
    "concurrent-pooled: pooled client: run gzip, warm": "ours calls as the default client does, for which gzip is none",
    "concurrent-pooled: pooled client: over the timeout, warm": "two older containers expired meanwhile",
}


def by_container(events: list[tuple[str, str]]) -> list[list[str]]:
    """Return the containers' events, sorted, for starts race; without connections, which a pool keeps."""
    return sorted([step for step in steps if not step.startswith("connect")] for steps in calm(events).values())


def awake(events: list[list[str]]) -> list[list[str]]:
    """Leave out pauses: whether one fell between two groups of calls is the recorder's timing."""
    return sorted([step for step in steps if step not in ("docker pause", "docker unpause")] for steps in events)


async def calls_together(bench: Bench, record: dict[str, Any]) -> str:
    """Send the calls of a record when they were sent, and return what differs, or nothing."""
    action = record["action"]
    await bench.put(action)
    path = f"actions/{action['name']}"
    if action["name"] == "pk":
        await bench.send("POST", path, {"mode": "noop"}, "blocking=true")
        await asyncio.sleep(1)
    start, begun_s = len(bench.containers.events), bench.loop.time()

    async def call(one: dict[str, Any]) -> int:
        await asyncio.sleep(one["sent_ms"] / 1000)
        status, _ = await bench.send("POST", path, one["params"], "blocking=true")
        return status

    statuses = await asyncio.gather(*(call(one) for one in record["calls"]))
    until_s = begun_s + record["trace_until_ms"] / 1000
    await asyncio.sleep(max(0.0, until_s - bench.loop.time()))
    names = bench.containers.names
    events = [event for event in bench.containers.events[start:] if names[event[0]] == action["name"]]
    ours, real = by_container(events), by_container(recorded_events(record))
    if "idle" not in record["name"]:
        ours, real = awake(ours), awake(real)
    if ours != real:
        return "events\n" + "\n".join(
            f"   {who} {steps}" for who, all_of in (("ours", ours), ("real", real)) for steps in all_of
        )
    recorded = [one["status"] for one in record["calls"]]
    return "" if statuses == recorded else f"statuses {statuses}, recorded {recorded}"


async def replay_together(
    records: list[dict[str, Any]], containers: Any, plain: Callable[[Any], Any]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for server in ("concurrent-pooled", "concurrent-apache"):
        bench = Bench(containers, ServerSettings(**CONCURRENT, repeat_dropped=server == "concurrent-apache"))
        for record in records:
            if record["server"] == server:
                alone = "calls" not in record
                verdict = one_call(bench, record, plain) if alone else calls_together(bench, record)
                found[f"{server}: {record['name']}"] = await verdict
                await asyncio.sleep(1)
        await bench.server.close()
    return found


def test_calls_that_run_together(
    containers: Any,
    recording: Callable[[str], Any],
    in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any],
    plain: Callable[[Any], Any],
) -> None:
    found = in_jumping_time(replay_together(recording("concurrency"), containers, plain))
    wrong = {name: why for name, why in found.items() if why}
    unexpected = [f"{name}: {why}" for name, why in wrong.items() if name not in TOGETHER_DIFFERENT]
    assert not unexpected, f"{len(unexpected)} of {len(found)} differ\n" + "\n".join(unexpected)
    assert not set(TOGETHER_DIFFERENT) - set(wrong), "these agree after all"


async def fill_and_evict(containers: Any) -> list[tuple[str, str]]:
    """Fill a pool with eight actions, then call one that needs the room of two."""
    bench = Bench(containers, ServerSettings(**OPEN))
    for i in range(9):
        action = {"name": f"ev{i}", "image": "owlocal/action:v1", "memory": 256 if i == 8 else 128}
        await bench.put(action)
        await bench.send("POST", f"actions/ev{i}", {"mode": "noop"}, "blocking=true")
        await asyncio.sleep(0.5)
    events = [(containers.names[container], event) for container, event in containers.events]
    await bench.server.close()
    return events


def test_a_full_pool_makes_room(
    containers: Any,
    recording: Callable[[str], Any],
    in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    record = recording("pool")[0]
    names = {event["container"]: event["name"].removeprefix("wsk0_1_guest_") for event in record["trace"]}
    real = calm([(names[container], event) for container, event in recorded_events(record)])
    assert calm(in_jumping_time(fill_and_evict(containers))) == real


def test_nine_busy_calls_in_a_pool_of_eight(
    containers: Any,
    recording: Callable[[str], Any],
    in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    record = recording("pool")[1]

    async def replay_pool() -> str:
        bench = Bench(containers, ServerSettings(**OPEN))
        found = await calls_together(bench, record)
        await bench.server.close()
        return found

    assert in_jumping_time(replay_pool()) == ""
