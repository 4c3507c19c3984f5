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
OPEN = {
    "invocations_per_minute": 100_000,
    "fires_per_minute": 100_000,
    "concurrent_invocations": 1000,
    "kinds": ("probe:1",),
}
SERVERS = {
    "open": ServerSettings(**OPEN),  # type: ignore[arg-type]
    "concurrent-apache": ServerSettings(**OPEN, most_concurrency=16),  # type: ignore[arg-type]
    "stock": ServerSettings(kinds=("probe:1",)),
}
DIFFERENT: dict[str, str] = {}


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
        query = asked["query"]
        path = unquote(asked["path"])
        for theirs, ours in self.ids.items():
            path = path.replace(theirs, ours)
        headers = tuple((name.lower(), value) for name, value in asked["headers"])
        request = Request(asked["method"], path, query, tuple(_with_key(headers)), body)
        response = await self.server.api.answer(request)
        self._learn(recorded, response)
        return response

    def _learn(self, recorded: dict[str, Any], response: Response) -> None:
        theirs, ours = (dict((k.lower(), v) for k, v in pairs) for pairs in (recorded["headers"], response.headers))
        name = "x-openwhisk-activation-id"
        if name in theirs and name in ours:
            self.ids[theirs[name]] = ours[name]
        if isinstance(recorded["body"], dict) and recorded["body"].get("activationId") and response.body:
            self.ids[recorded["body"]["activationId"]] = json.loads(response.body).get("activationId", "")


def _with_key(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    good = "Basic " + base64.b64encode(KEY.encode()).decode()
    return [(name, good if (name, value) == ("authorization", "Basic AUTH") else value) for name, value in headers]


def _body(asked: dict[str, Any]) -> bytes:
    body = asked["body"]
    if isinstance(body, dict) and set(body) == {"bytes", "first", "last"}:
        filler = re.search(r"(.)\1{9}", body["first"])
        assert filler is not None
        lead = body["first"].encode()
        tail = body["last"].encode()
        return lead + filler[1].encode() * (body["bytes"] - len(lead) - len(tail)) + tail
    if isinstance(body, dict) and "base64_bytes" in body:
        return bytes(range(body["base64_bytes"]))
    if isinstance(body, str):
        kind = dict((k.lower(), v) for k, v in asked["headers"]).get("content-type", "")
        return json.dumps(body).encode() if len(body) + 2 == asked["body_bytes"] and "json" in kind else body.encode()
    whole = json.dumps(body, separators=(",", ":")).encode()
    return whole if len(whole) == asked["body_bytes"] else json.dumps(body).encode()


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


def difference(recorded: dict[str, Any], response: Response) -> str:
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


async def replay(records: list[dict[str, Any]], containers: Any) -> dict[str, str]:
    """Return each record's first difference, empty where there is none."""
    found: dict[str, str] = {}
    worlds: dict[str, World] = {}
    for number, record in enumerate(records):
        if record["server"] not in worlds:
            worlds[record["server"]] = World(SERVERS[record["server"]], containers)
            await prepare(worlds[record["server"]], record)
        world = worlds[record["server"]]
        verdicts = []
        for exchange in record["exchanges"]:
            date = dict(exchange["response"]["headers"]).get("Date", "")
            await world.reach(date)
            verdicts.append(difference(exchange["response"], await world.ask(exchange)))
        found[f"{number} {record['name']}"] = next(filter(None, verdicts), "")
    for world in worlds.values():
        await world.server.close()
    return found


async def prepare(world: World, record: dict[str, Any]) -> None:
    """Make what the recorder had made before its first recorded call."""


def test_the_command_lines_exchanges(
    containers: Any,
    recording: Callable[[str], Any],
    in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    found = in_jumping_time(replay(recording("wsk"), containers))
    report(found)


def report(found: dict[str, str]) -> None:
    wrong = {name: why for name, why in found.items() if why}
    unexpected = [f"{name}: {why}" for name, why in wrong.items() if name not in DIFFERENT]
    assert not unexpected, f"{len(unexpected)} of {len(found)} differ\n" + "\n".join(unexpected)
    assert not set(DIFFERENT) & set(found) - set(wrong), "these agree after all"


