"""What Apache OpenWhisk's source says and no recording shows: asked of the server that the recordings are asked of."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from mlfn_local.openwhisk.http_values import Request, Response
from mlfn_local.openwhisk.serving import Server, assemble
from mlfn_local.openwhisk.settings import ServerSettings

KEY = "user:key"
IMAGE = {"exec": {"kind": "blackbox", "image": "owlocal/action:v1"}, "limits": {"memory": 128, "logs": 0}}
MANY = ServerSettings(invocations_per_minute=100_000, concurrent_invocations=1000)
NOT_ALLOWED = "Request defines parameters that are not allowed (e.g., reserved properties)."
ON_BINDING = "Operation not permitted on package binding."
CYCLE = "Sequence may not refer to itself."

Run = Callable[..., None]


class Client:
    """A caller with the good key."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def ask(self, method: str, path: str, body: Any = None) -> Response:
        path, _, query = path.partition("?")
        key = "Basic " + base64.b64encode(KEY.encode()).decode()
        headers = (("authorization", key), ("content-type", "application/json"))
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        root = "" if path.startswith("/") else "/api/v1/namespaces/_/"
        return await self._server.api.answer(Request(method, root + path, query, headers, sent))

    async def done(self, method: str, path: str, body: Any = None) -> Any:
        """Return what a call that succeeds answers."""
        answer = await self.ask(method, path, body)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    async def refused(self, status: int, method: str, path: str, body: Any = None) -> str:
        """Return why a call is refused."""
        answer = await self.ask(method, path, body)
        assert answer.status == status, answer.body
        return str(json.loads(answer.body)["error"])

    async def make(self, name: str, **more: Any) -> None:
        await self.done("PUT", f"actions/{name}?overwrite=true", {**IMAGE, **more})

    async def chain(self, name: str, *components: str) -> Response:
        execution = {"kind": "sequence", "components": [f"/_/{component}" for component in components]}
        return await self.ask("PUT", f"actions/{name}?overwrite=true", {"exec": execution})


def pairs(**values: Any) -> list[dict[str, Any]]:
    return [{"key": key.replace("_", "-"), "value": value} for key, value in values.items()]


@pytest.fixture
def run(in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any], containers: Any) -> Run:
    """Run a caller's story against a server."""

    def play(story: Callable[[Client], Coroutine[Any, Any, None]], settings: ServerSettings = MANY) -> None:
        async def whole() -> None:
            server = assemble(containers, settings, {KEY: "guest"})
            try:
                await story(Client(server))
            finally:
                await server.close()

        in_jumping_time(whole())

    return play


async def package_and_binding(client: Client) -> None:
    await client.done("PUT", "packages/pk", {"parameters": pairs(a=1, b=1)})
    await client.done("PUT", "packages/bound", {"binding": {"namespace": "_", "name": "pk"}, "parameters": pairs(b=2)})
    await client.make("pk/act", parameters=pairs(c=3))


def test_final_parameters_hold_for_direct_calls(run: Run) -> None:
    async def story(client: Client) -> None:
        await client.make("act", parameters=pairs(fixed=1, open=None), annotations=pairs(final=True))
        assert await client.refused(400, "POST", "actions/act?blocking=true", {"fixed": 2}) == NOT_ALLOWED
        answer = await client.done("POST", "actions/act?blocking=true&result=true", {"open": 2})
        assert answer["echo"] == {"fixed": 1, "open": 2}

    run(story)


def test_a_binding_gives_its_parameters_to_what_is_shown_called_and_chained(run: Run) -> None:
    async def story(client: Client) -> None:
        await package_and_binding(client)
        shown = await client.done("GET", "actions/bound/act")
        assert {pair["key"]: pair["value"] for pair in shown["parameters"]} == {"a": 1, "b": 2, "c": 3}
        assert (await client.chain("seq", "bound/act")).status == 200
        for name in ("bound/act", "seq"):
            answer = await client.done("POST", f"actions/{name}?blocking=true&result=true", {"d": 4})
            assert answer["echo"] == {"a": 1, "b": 2, "c": 3, "d": 4}, name

    run(story)


def test_a_package_lists_its_actions_and_a_binding_takes_none(run: Run) -> None:
    async def story(client: Client) -> None:
        await package_and_binding(client)
        await client.make("outside")
        for name in ("pk", "bound"):
            listed = await client.done("GET", f"actions/{name}/?limit=30&skip=0")
            assert [(one["namespace"], one["name"]) for one in listed] == [("guest/pk", "act")]
        await client.refused(404, "GET", "actions/nopk/")
        assert await client.refused(400, "PUT", "actions/bound/new", IMAGE) == ON_BINDING
        assert await client.refused(400, "DELETE", "actions/bound/act") == ON_BINDING

    run(story)


def test_no_sequence_comes_back_to_itself(run: Run) -> None:
    async def story(client: Client) -> None:
        await client.make("one")
        assert (await client.chain("inner", "one")).status == 200
        assert (await client.chain("outer", "inner", "one")).status == 200
        for name, component in (("inner", "outer"), ("inner", "inner"), ("one", "outer")):
            answer = await client.chain(name, component)
            assert (answer.status, json.loads(answer.body)["error"]) == (400, CYCLE), name

    run(story)


def test_a_sequence_counts_the_actions_of_the_sequences_in_it(run: Run) -> None:
    async def story(client: Client) -> None:
        await client.make("one")
        assert (await client.chain("two", "one", "one")).status == 200
        assert (await client.chain("four", "two", "two")).status == 200
        answer = await client.chain("five", "four", "one")
        assert json.loads(answer.body)["error"] == "Too many actions in the sequence."
        answer = await client.chain("none")
        assert json.loads(answer.body)["error"] == "No component specified for the sequence."

    run(story, replace(MANY, most_sequence=4))


def test_what_was_a_sequence_keeps_no_parameters_of_it(run: Run) -> None:
    async def story(client: Client) -> None:
        await client.make("one")
        assert (await client.chain("was", "one")).status == 200
        await client.make("was")
        assert (await client.done("GET", "actions/was"))["parameters"] == []

    run(story)


def test_calls_that_come_at_once_do_not_pass_the_limit_together(run: Run) -> None:
    async def story(client: Client) -> None:
        await client.make("one")
        answers = await asyncio.gather(*(client.ask("POST", "actions/one", {}) for _ in range(9)))
        assert [answer.status for answer in answers] == [202] * 4 + [429] * 5
        assert "count: 4, allowed: 4" in json.loads(answers[-1].body)["error"]

    run(story, replace(MANY, concurrent_invocations=4))


@pytest.mark.parametrize("query", ["since=soon", "upto=%C2%B2", "limit=%C2%B2", "skip=-1"])
def test_a_query_that_is_no_number_is_refused(run: Run, query: str) -> None:
    async def story(client: Client) -> None:
        name = query.partition("=")[0]
        assert (await client.refused(400, "GET", f"activations?{query}")).startswith(f"The query parameter '{name}' ")

    run(story)


def test_a_web_action_runs_with_its_owners_key_and_its_packages_parameters(run: Run, containers: Any) -> None:
    async def story(client: Client) -> None:
        await client.done("PUT", "packages/pk", {"parameters": pairs(fixed=1)})
        await client.make("pk/web", annotations=pairs(web_export=True, provide_api_key=True, final=True))
        answer = await client.done("GET", "/api/v1/web/guest/pk/web.json?free=2")
        assert (answer["echo"]["fixed"], answer["echo"]["free"]) == (1, "2")
        assert containers.bodies[-1][1]["api_key"] == KEY
        assert await client.refused(400, "GET", "/api/v1/web/guest/pk/web.json?fixed=2") == NOT_ALLOWED

    run(story)


@pytest.mark.parametrize(
    "result",
    [
        {"headers": {"x\r\nown": "1"}, "body": "hi"},
        {"headers": {"x y": "1"}, "body": "hi"},
        {"statusCode": 101, "body": "hi"},
        {"statusCode": 600, "body": "hi"},
    ],
)
def test_a_web_action_cannot_break_http(run: Run, containers: Any, result: Any) -> None:
    async def story(client: Client) -> None:
        containers.run_answers["own"] = (200, json.dumps(result))
        await client.make("web", annotations=pairs(web_export=True))
        why = await client.refused(400, "GET", "/api/v1/web/guest/default/web.http?mode=own")
        assert why == "Response is not valid 'message/http'."

    run(story)


def test_a_web_actions_length_is_the_servers_business(run: Run, containers: Any) -> None:
    async def story(client: Client) -> None:
        await client.make("web", annotations=pairs(web_export=True))
        headers = {"Content-Length": "99", "transfer-encoding": "chunked", "x-own": "yes"}
        for status, body in ((200, b"hi"), (204, b""), (304, b"")):
            containers.run_answers["own"] = (200, json.dumps({"statusCode": status, "headers": headers, "body": "hi"}))
            answer = await client.ask("GET", "/api/v1/web/guest/default/web.http?mode=own")
            assert (answer.status, answer.body, dict(answer.headers)["x-own"]) == (status, body, "yes")
            assert not {"content-length", "transfer-encoding"} & {name.lower() for name, _ in answer.headers}

    run(story)


def test_half_a_character_in_a_result_is_shown_as_a_question_mark(run: Run, containers: Any) -> None:
    async def story(client: Client) -> None:
        await client.make("web", annotations=pairs(web_export=True))
        containers.run_answers["own"] = (200, '{"text": "\\ud800"}')
        assert await client.done("GET", "/api/v1/web/guest/default/web.json?mode=own") == {"text": "?"}
        answer = await client.ask("GET", "/api/v1/web/guest/default/web.text?mode=own")
        assert (answer.status, answer.body) == (200, b"?")

    run(story)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": NaN}', "Unexpected character 'N' at input index 6 (line 1, position 7), expected JSON Value:"),
        (b"[" * 100_000, "JSON input was nested more deeply than the configured limit of maxNesting = 1000"),
        (b'{"delAnnotations": 5}', "delAnnotations malformed!"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(run: Run, body: bytes, why: str) -> None:
    async def story(client: Client) -> None:
        await client.make("one")
        refused = await client.refused(400, "PUT", "actions/one?overwrite=true", body)
        assert refused.startswith(f"The request content was malformed:\n{why}")

    run(story)


def test_an_answer_that_is_nested_too_deeply_is_the_developers_error(run: Run, containers: Any) -> None:
    async def story(client: Client) -> None:
        await client.make("one")
        containers.run_answers["own"] = (200, '{"a": ' + "[" * 100_000)
        answer = await client.ask("POST", "actions/one?blocking=true", {"mode": "own"})
        assert (answer.status, json.loads(answer.body)["response"]["status"]) == (502, "action developer error")

    run(story)
