"""A warm plan for OpenWhisk, carried out over a day of compressed time against the invoker's own rules."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn_local.openwhisk.http_values import Request
from mlfn_local.openwhisk.serving import assemble
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_policies.warm_openwhisk import IDLE_S, PAUSE_GRACE_S, NotAffordable, TouchPlan, touch_plan

HEADERS = (
    ("authorization", "Basic " + base64.b64encode(b"user:key").decode()),
    ("content-type", "application/json"),
)
DAY_S = 86_400


async def a_day(containers: Any, plan: TouchPlan, period_s: float) -> int:
    """Touch by a plan for a day and return how many containers were created after the first round."""
    loop = asyncio.get_running_loop()
    server = assemble(containers, ServerSettings(), {"user:key": "guest"}, now_ms=lambda: int(loop.time() * 1000))

    async def send(method: str, body: dict[str, Any], query: str = "") -> int:
        request = Request(method, "/api/v1/namespaces/_/actions/warm", query, HEADERS, json.dumps(body).encode())
        return (await server.api.answer(request)).status

    assert await send("PUT", {"exec": {"kind": "blackbox", "image": "owlocal/action:v1"}, "limits": {"memory": 128}})
    ping = {"mlfn_ping": True, "mlfn_hold_ms": round(plan.hold_s * 1000)}
    created_first = 0
    due_s = loop.time()
    while loop.time() < DAY_S:
        answers = await asyncio.gather(*(send("POST", ping, "blocking=true") for _ in range(plan.containers)))
        assert set(answers) == {200}
        created_first = created_first or len(containers.names)
        due_s += period_s
        await asyncio.sleep(due_s - loop.time())
    await server.close()
    assert created_first == plan.containers
    return len(containers.names) - created_first


@pytest.mark.parametrize("count", [1, 3])
def test_the_plan_keeps_its_containers(
    containers: Any, in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any], count: int
) -> None:
    plan = touch_plan(count, 60)
    assert in_jumping_time(a_day(containers, plan, plan.period_s)) == 0


def test_beyond_the_stay_every_round_is_cold(
    containers: Any, in_jumping_time: Callable[[Coroutine[Any, Any, Any]], Any]
) -> None:
    plan = touch_plan(2, 60)
    late_s = PAUSE_GRACE_S + IDLE_S + 5
    rounds = int(DAY_S / late_s)
    assert in_jumping_time(a_day(containers, plan, late_s)) == 2 * rounds


@given(containers=st.integers(1, 500), per_minute=st.integers(1, 5000), period_s=st.integers(0, 579))
def test_a_plan_leaves_three_quarters_of_every_minute(containers: int, per_minute: int, period_s: int) -> None:
    try:
        plan = touch_plan(containers, per_minute, period_s=period_s)
    except NotAffordable:
        assert containers * math.ceil(60 / (period_s or 579)) > per_minute / 4
        return
    assert 0 < plan.period_s < PAUSE_GRACE_S + IDLE_S
    assert plan.quota_share <= 0.25
    assert plan.calls_per_day >= containers * DAY_S / (plan.period_s + 1)


@pytest.mark.parametrize(
    "arguments", [{"containers": 0, "per_minute": 60}, {"containers": 1, "per_minute": 60, "period_s": 600}]
)
def test_what_cannot_be_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        touch_plan(**arguments)
