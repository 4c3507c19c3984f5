"""503 is for a warm container that is told to stop: never for ``/init``, never for the first ``/run``."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from mlfn_runtime.application import Application
from mlfn_runtime.routes import Exchange
from mlfn_runtime.settings import ServerSettings


class Answered(Exchange):
    """Keep the answer."""

    def __init__(self, path: bytes, document: Any) -> None:
        super().__init__(b"POST", path, b"", [], json.dumps(document).encode())
        self.answer: asyncio.Future[tuple[int, dict[str, Any]]] = asyncio.get_running_loop().create_future()

    def send(self, status: int, headers: Any, body: bytes) -> None:
        self.answer.set_result((status, json.loads(body)))


async def ask(application: Application, path: bytes, value: Any) -> tuple[int, dict[str, Any]]:
    exchange = Answered(path, {"value": value})
    application.routes.dispatch(exchange)
    return await exchange.answer


@pytest.mark.parametrize("runs_before", [0, 1], ids=["cold", "warm"])
def test_what_a_draining_container_answers(tokens_model: Path, tmp_path: Path, runs_before: int) -> None:
    async def scenario() -> list[tuple[int, dict[str, Any]]]:
        settings = ServerSettings(str(tokens_model), openwhisk=True, log_path=str(tmp_path / "log"))
        application = Application(settings, asyncio.get_running_loop())
        await application.start(application.load())
        for _ in range(runs_before):
            assert (await ask(application, b"/run", {"token": [1]}))[0] == 200
        application.service.mark("draining")
        answers = [
            await ask(application, b"/init", {}),
            await ask(application, b"/run", {"token": [1]}),
            await ask(application, b"/run", {"token": [1]}),
        ]
        application.service.close()
        application.log.close()
        return answers

    init, first, second = asyncio.run(scenario())
    assert init == (200, {"ok": True})
    assert first[0] == (503 if runs_before else 200)
    assert second == (503, {"error": "this container is shutting down"})


def test_init_and_run_wait_for_the_model(tokens_model: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = ServerSettings(str(tokens_model), openwhisk=True, log_path=str(tmp_path / "log"))
        application = Application(settings, asyncio.get_running_loop())
        init = asyncio.ensure_future(ask(application, b"/init", {}))
        run = asyncio.ensure_future(ask(application, b"/run", {"token": [3]}))
        done, _ = await asyncio.wait((init, run), timeout=0.1)
        assert not done
        await application.start(application.load())
        assert await init == (200, {"ok": True})
        assert (await run)[1]["outputs"][0]["data"] == [3.0]
        application.service.close()
        application.log.close()

    asyncio.run(scenario())


def test_a_model_that_did_not_start_is_no_container(tokens_model: Path, tmp_path: Path) -> None:
    async def scenario() -> list[tuple[int, dict[str, Any]]]:
        settings = ServerSettings(str(tokens_model), openwhisk=True, log_path=str(tmp_path / "log"))
        application = Application(settings, asyncio.get_running_loop())
        init = asyncio.ensure_future(ask(application, b"/init", {}))
        application.service.mark("failed")
        answers = [await init, await ask(application, b"/run", {"mlfn_ping": True})]
        application.service.close()
        application.log.close()
        return answers

    init, ping = asyncio.run(scenario())
    assert init[0] == 502
    assert "did not start" in init[1]["error"]
    assert (ping[0], list(ping[1])) == (200, ["error"])


def test_a_load_that_outlasts_its_budget_says_so(tokens_model: Path, tmp_path: Path) -> None:
    async def scenario() -> tuple[int, dict[str, Any]]:
        settings = ServerSettings(str(tokens_model), openwhisk=True, log_path=str(tmp_path / "log"))
        application = Application(settings, asyncio.get_running_loop())
        deadline = str(int((time.time() + 0.5) * 1000))
        answer = await asyncio.wait_for(ask(application, b"/init", {"env": {"__OW_DEADLINE": deadline}}), 30)
        application.service.close()
        application.log.close()
        return answer

    status, told = asyncio.run(scenario())
    assert status == 504
    assert told["error"].startswith("the model was still loading when the 0.")
    assert "timeout" in told["error"]


def test_an_action_may_take_as_long_as_its_platform_lets_it() -> None:
    there = {"MLFN_MODEL_PATH": "m.onnx", "__OW_API_HOST": "http://127.0.0.1:3233"}
    assert ServerSettings.from_environment(there).request_timeout_s == 300
    assert ServerSettings.from_environment({**there, "MLFN_REQUEST_TIMEOUT_S": "7"}).request_timeout_s == 7
    assert ServerSettings.from_environment({"MLFN_MODEL_PATH": "m.onnx"}).request_timeout_s == 60
