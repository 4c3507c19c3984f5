#!/usr/bin/env python3
"""Stand in for the `wsk` binary where there is none: the commands that mlfn gives, as the real one was recorded.

Same requests, same words on the same streams, same exit codes: tests/golden/openwhisk/test_wsk_stand_in.py holds it to
every recording of these commands, byte for byte. A command or an option without a recording ends with exit code 99.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import quote

UNKNOWN = 99
WITH_VALUE = {
    "--docker": "image",
    "--sequence": "components",
    "--memory": "memory",
    "--timeout": "timeout",
    "--logsize": "logs",
    "--concurrency": "concurrency",
    "--web": "web",
    "--web-secure": "secure",
}
PAIRS = {"-a": "annotations", "--annotation": "annotations", "-p": "params", "--param": "params"}
FLAGS = {"-b": "blocking", "--blocking": "blocking", "-r": "result", "--result": "result"}
LIMITS = ("timeout", "memory", "logs", "concurrency")


@dataclass
class Given:
    """The words of a command line after the verb."""

    name: str = ""
    words: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


def unrecorded(what: str) -> NoReturn:
    print(f"no recording of {what}", file=sys.stderr)
    raise SystemExit(UNKNOWN)


def read(arguments: list[str]) -> Given:
    given, rest = Given(), list(arguments)
    while rest:
        word = rest.pop(0)
        if word in WITH_VALUE:
            given.words[WITH_VALUE[word]] = rest.pop(0)
        elif word in PAIRS:
            key, value = rest.pop(0), rest.pop(0)
            getattr(given, PAIRS[word])[key] = parsed(value)
        elif word in FLAGS:
            given.flags.add(FLAGS[word])
        elif word.startswith("-") or given.name:
            unrecorded(word)
        else:
            given.name = word
    if given.name.startswith("/") or ":" in given.name:
        unrecorded(f"the name {given.name}, as mlfn never gives one")
    return given


def parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
    host = os.environ["WHISK_APIHOST"]
    key = base64.b64encode(os.environ["WHISK_AUTH"].encode()).decode()
    headers = {"Authorization": f"Basic {key}", "User-Agent": "OpenWhisk-CLI/1.0 (stand-in) linux amd64"}
    data = None
    if body is not None:
        data = json.dumps(body, separators=(",", ":")).encode()
        headers["Content-Type"] = "application/json"
    base = host if "://" in host else f"https://{host}"
    request = urllib.request.Request(f"{base}/api/v1/namespaces/_/{path}", data, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=400) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        print(f"error: Unable to reach \"{base}\": {reason}\nRun 'wsk --help' for usage.", file=sys.stderr)
        raise SystemExit(3) from None


def fail(verb: str, name: str, status: int, told: Any) -> int:
    message = f"error: Unable to {verb} action '{name}': {told['error']} (code {told['code']})"
    print(f"{message}\nRun 'wsk --help' for usage.", file=sys.stderr)
    return (status - 256) % 256


def pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def document(given: Given, existing: list[dict[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {"namespace": "_", "name": given.name}
    if "image" in given.words:
        body["exec"] = {"kind": "blackbox", "image": given.words["image"]}
    if "components" in given.words:
        names = [name if name.startswith("/") else f"/_/{name}" for name in given.words["components"].split(",")]
        body["exec"] = {"kind": "sequence", "components": names}
    annotations = dict(given.annotations)
    if "web" in given.words:
        annotations = {item["key"]: item.get("value") for item in existing} | annotations
        annotations |= web(given.words["web"])
        if "secure" in given.words:
            annotations["require-whisk-auth"] = parsed(given.words["secure"])
    if annotations:
        body["annotations"] = pairs(annotations)
    if given.params:
        body["parameters"] = pairs(given.params)
    limits = {name: int(given.words[name]) for name in LIMITS if name in given.words}
    if limits:
        body["limits"] = limits
    return body


def web(word: str) -> dict[str, Any]:
    if word not in ("true", "false", "raw"):
        unrecorded(f"--web {word}")
    return {"web-export": word != "false", "raw-http": word == "raw", "final": word != "false"}


def create(given: Given) -> int:
    path = f"actions/{quote(given.name, safe='/@')}"
    status, told = call("PUT", f"{path}?overwrite=false", document(given, []))
    if status != 200:
        return fail("create", given.name, status, told)
    print(f"ok: created action {given.name}")
    return 0


def update(given: Given) -> int:
    path = f"actions/{quote(given.name, safe='/@')}"
    status, told = call("GET", f"{path}?code=false")
    existing = told["annotations"] if status == 200 else []
    if status not in (200, 404):
        return fail("update", given.name, status, told)
    status, told = call("PUT", f"{path}?overwrite=true", document(given, existing))
    if status != 200:
        return fail("update", given.name, status, told)
    print(f"ok: updated action {given.name}")
    return 0


def delete(given: Given) -> int:
    status, told = call("DELETE", f"actions/{quote(given.name, safe='/@')}")
    if status != 200:
        return fail("delete", given.name, status, told)
    print(f"ok: deleted action {given.name}")
    return 0


def invoke(given: Given) -> int:
    blocking = bool(given.flags)
    result = "result" in given.flags
    query = f"blocking={str(blocking).lower()}&result={str(result).lower()}"
    status, told = call("POST", f"actions/{quote(given.name, safe='/@')}?{query}", given.params)
    if isinstance(told, dict) and "code" in told and "error" in told and status != 502:
        return fail("invoke", given.name, status, told)
    shown = json.dumps(told, indent=4, sort_keys=True, ensure_ascii=False)
    name = f"/_/{given.name}"
    if status == 202:
        activation = told["activationId"]
        if not blocking:
            print(f"ok: invoked {name} with id {activation}")
            return 0
        text = f"ok: invoked {name}, but the request has not yet finished, with id {activation}"
        print(text, file=sys.stderr)
        return 202
    out = sys.stdout if status == 200 else sys.stderr
    if not result:
        if not isinstance(told, dict):
            unrecorded("a result that is no object")
        print(f"ok: invoked {name} with id {told['activationId']}", file=out)
    print(shown, file=out)
    return 0 if status == 200 else (status - 256) % 256


def main(argv: list[str]) -> int:
    verbs = {"create": create, "update": update, "delete": delete, "invoke": invoke}
    if argv[:1] != ["action"] or len(argv) < 3 or argv[1] not in verbs:
        unrecorded(" ".join(argv[:2]))
    return verbs[argv[1]](read(argv[2:]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
