"""Every exchange recorded from the real OpenWhisk, asked of ours: same status, headers that matter, and body.

Times, ids, container names, sizes that follow from them, and the order of keys are set apart. What differs by intent is
listed in ``DIFFERENT`` with its reason; an entry that agrees after all fails the test, so the list stays true.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Coroutine
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from mlfn_local.openwhisk.http_values import Request, Response
from mlfn_local.openwhisk.serving import Server, assemble
from mlfn_local.openwhisk.settings import ServerSettings

KEY = "user:key"
Plain = Callable[[Any], Any]
OPEN = {
    "invocations_per_minute": 100_000,
    "fires_per_minute": 100_000,
    "concurrent_invocations": 1000,
    "kinds": (("probe:1", "owlocal/action:v1"),),
}
SERVERS = {
    "open": ServerSettings(**OPEN),  # type: ignore[arg-type]
    "concurrent-apache": ServerSettings(**OPEN, most_concurrency=16),  # type: ignore[arg-type]
    "stock": ServerSettings(kinds=(("probe:1", "owlocal/action:v1"),)),
}
DIFFERENT = {
    "74 REST activations count": "the recorder had made 227 activations before, unrecorded",
    "76 REST actions count": "the recorder had made 57 actions before, unrecorded",
}


class World:
    """One server under replay: keeps the recorded time, and which recorded id is which of ours."""

    def __init__(self, settings: ServerSettings, containers: Any) -> None:
        self.epoch_ms = 0
        self.ids: dict[str, str] = {}
        self.loop = asyncio.get_running_loop()
        self.server: Server = assemble(containers, settings, {KEY: "guest"}, now_ms=self.now_ms)

    def now_ms(self) -> int:
        return self.epoch_ms + int(self.loop.time() * 1000)

    async def reach(self, date: str) -> None:
        """Let time pass until a recorded date."""
        target_ms = int(parsedate_to_datetime(date).timestamp() * 1000)
        if not self.epoch_ms:
            self.epoch_ms = target_ms - int(self.loop.time() * 1000) - 1000
        await asyncio.sleep(max(0.0, (target_ms - self.now_ms()) / 1000))

    async def ask(self, exchange: dict[str, Any]) -> Response:
        asked, recorded = exchange["request"], exchange["response"]
        body = _body(asked)
        query = self._since(asked["query"])
        path = unquote(asked["path"])
        for theirs, ours in self.ids.items():
            path = path.replace(theirs, ours)
        headers = tuple((name.lower(), value) for name, value in asked["headers"])
        request = Request(asked["method"], path, query, tuple(_with_key(headers)), body)
        response = await self.server.api.answer(request)
        self._learn(recorded, response)
        return response

    def _since(self, query: str) -> str:
        """Ask for what came after our newest record, where the recorder asked for what came after the real one."""
        newest_ms = max((record.start_ms for record in self.server.store.activations), default=0)
        return re.sub(r"since=17\d+", f"since={newest_ms + 1}", query)

    async def send(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Make a call that is not recorded."""
        headers = _with_key((("authorization", "Basic AUTH"), ("content-type", "application/json")))
        request = Request(method, f"/api/v1/namespaces/_/{path}", "", tuple(headers), json.dumps(body).encode())
        assert (await self.server.api.answer(request)).status in (200, 202, 204, 429)

    def _learn(self, recorded: dict[str, Any], response: Response) -> None:
        theirs, ours = ({k.lower(): v for k, v in pairs} for pairs in (recorded["headers"], response.headers))
        name = "x-openwhisk-activation-id"
        if name in theirs and name in ours:
            self.ids[theirs[name]] = ours[name]
        if isinstance(recorded["body"], dict) and recorded["body"].get("activationId") and response.body:
            self.ids[recorded["body"]["activationId"]] = json.loads(response.body).get("activationId", "")


def _with_key(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    good = "Basic " + base64.b64encode(KEY.encode()).decode()
    sent = dict(headers)  # the last counts
    return [(name, good if (name, value) == ("authorization", "Basic AUTH") else value) for name, value in sent.items()]


def _body(asked: dict[str, Any]) -> bytes:
    body = asked["body"]
    if isinstance(body, dict) and set(body) == {"bytes", "first", "last"}:
        return _filled(body["first"], body["last"], body["bytes"])
    if isinstance(body, dict) and "base64_bytes" in body:
        return bytes(range(body["base64_bytes"]))
    if isinstance(body, str):
        kind = {k.lower(): v for k, v in asked["headers"]}.get("content-type", "")
        return json.dumps(body).encode() if len(body) + 2 == asked["body_bytes"] and "json" in kind else body.encode()
    whole = json.dumps(body, separators=(",", ":")).encode()
    return whole if len(whole) == asked["body_bytes"] else json.dumps(body).encode()


def _filled(first: str, last: str, length: int) -> bytes:
    """Return a long body of which the recording holds both ends: what lies between goes on as the head ends."""
    period = next(width for width in range(1, 9) if first[-8:] == first[-8 - width : -width])
    missing = length - len(first) - len(last)
    return (first + (first[-period:] * (missing // period + 1))[:missing] + last).encode()


def difference(recorded: dict[str, Any], response: Response, plain: Plain) -> str:
    """Return what differs, or nothing."""
    if recorded["status"] != response.status:
        return f"status {response.status}, recorded {recorded['status']}: {response.body[:200]!r}"
    theirs = {name.lower(): value for name, value in recorded["headers"]}
    kind = theirs.get("content-type", "")
    if kind != response.content_type:
        return f"content type {response.content_type!r}, recorded {kind!r}"
    ours = {name.lower() for name, _ in response.headers}
    missing = set(theirs) - ours - {"server", "date", "content-type", "content-length", "x-request-id"}
    if missing:
        return f"headers missing: {sorted(missing)}"
    body = recorded["body"]
    if isinstance(body, dict) and set(body) >= {"bytes", "first"}:
        return "" if response.body else "no body"
    if isinstance(body, dict) and "base64_bytes" in body:
        return "" if len(response.body) == body["base64_bytes"] else f"{len(response.body)} bytes"
    if kind == "application/json" and body != "":
        mine = json.loads(response.body)
    else:
        mine = response.body.decode() if body != "" else ""
    return "" if plain(mine) == plain(body) else f"body\n   ours {plain(mine)}\n   real {plain(body)}"


async def replay(name: str, records: list[dict[str, Any]], containers: Any, plain: Plain) -> dict[str, str]:
    """Return each record's first difference, empty where there is none."""
    found: dict[str, str] = {}
    worlds: dict[str, World] = {}
    for number, record in enumerate(records):
        if record["server"] not in worlds:
            worlds[record["server"]] = World(SERVERS[record["server"]], containers)
        world = worlds[record["server"]]
        if record["exchanges"]:
            await world.reach(dict(record["exchanges"][0]["response"]["headers"]).get("Date", ""))
        await prepare(world, name, number)
        await asyncio.sleep(0.2)
        verdicts = []
        for exchange in record["exchanges"]:
            date = dict(exchange["response"]["headers"]).get("Date", "")
            await world.reach(date)
            if "unauthorized" in record["name"]:
                exchange["request"]["headers"].append(("Authorization", "Basic d3Jvbmc6a2V5"))
            verdicts.append(difference(exchange["response"], await world.ask(exchange), plain))
        found[f"{number} {record['name']}"] = next(filter(None, verdicts), "")
    for world in worlds.values():
        await world.server.close()
    return found


async def prepare(world: World, name: str, number: int) -> None:
    """Do what the recorder had done, unrecorded, before a call."""
    server = SERVERS_OF_FIRST.get((name, number))
    for action, given in (server or {}).items():
        await world.send("PUT", f"actions/{action}", given)
    if (name, number) == ("wsk", 0):
        await world.send("POST", "actions/hello", {})
        await world.send("POST", "actions/hello", {})
    if name == "wsk" and number in BUSY:
        target, count, params = BUSY[number]
        for _ in range(count):
            await world.send("POST", target, params)


def an_action(memory_mb: int = 128, **more: Any) -> dict[str, Any]:
    return {"exec": {"kind": "blackbox", "image": "owlocal/action:v1"}, "limits": {"memory": memory_mb}, **more}


def pairs(**values: Any) -> list[dict[str, Any]]:
    return [{"key": key.replace("_", "-"), "value": value} for key, value in values.items()]


SERVERS_OF_FIRST: dict[tuple[str, int], dict[str, Any]] = {
    ("wsk", 0): {"hello": an_action()},
    ("wsk", 177): {"th": an_action(), "slow": an_action(limits={"memory": 128, "timeout": 70_000})},
    ("rest_and_web", 0): {
        "web": an_action(
            annotations=pairs(web_export=True),
            parameters=pairs(bound="b"),
            limits={"memory": 128, "timeout": 5000},
        ),
        "own": an_action(annotations=pairs(web_export=True, web_custom_options=True)),
        "raw": an_action(annotations=pairs(web_export=True, raw_http=True)),
        "final": an_action(annotations=pairs(web_export=True, final=True), parameters=pairs(fixed=1)),
        "priv": an_action(),
        "sec": an_action(annotations=pairs(web_export=True, require_whisk_auth="s3cret")),
        "api": an_action(limits={"memory": 128, "timeout": 4000}),
    },
}
BUSY: dict[int, tuple[str, int, dict[str, Any]]] = {
    177: ("actions/th", 61, {"mode": "noop"}),
    179: ("actions/th", 30, {"mode": "sleep", "s": 5}),
    182: ("triggers/tt", 61, {}),
}
"""Calls that fill a quota before the recorded call."""


def test_the_command_lines_exchanges(
    containers: Any,
    recording: Callable[[str], Any],
    in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any],
    plain: Plain,
) -> None:
    found = in_jumping_time(replay("wsk", recording("wsk"), containers, plain))
    report(found)


def test_web_and_rest_exchanges(
    containers: Any,
    recording: Callable[[str], Any],
    in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any],
    plain: Plain,
) -> None:
    found = in_jumping_time(replay("rest_and_web", recording("rest_and_web"), containers, plain))
    report(found)


def report(found: dict[str, str]) -> None:
    wrong = {name: why for name, why in found.items() if why}
    unexpected = [f"{name}: {why}" for name, why in wrong.items() if name not in DIFFERENT]
    assert not unexpected, f"{len(unexpected)} of {len(found)} differ\n" + "\n".join(unexpected)
    assert not (set(DIFFERENT) & set(found)) - set(wrong), "these agree after all"
