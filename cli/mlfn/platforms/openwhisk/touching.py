"""Touch a function's containers so that they stay, and tell from the records how warm it has been."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlfn.errors import MlfnError
from mlfn.function import Warmth
from mlfn.platforms.openwhisk.reads import Api

__all__ = ["touch", "warmth"]

_TIMEOUT_S = 120.0


def touch(api: Api, action: str, count: int, hold_s: float) -> None:
    """Call an action ``count`` times at once, so that as many containers take one each. Raises MlfnError."""
    body = json.dumps({"mlfn_ping": True, "mlfn_hold_ms": round(hold_s * 1000)}).encode()
    with ThreadPoolExecutor(count) as callers:
        answers = list(callers.map(lambda _: api.invoke(action, body, _TIMEOUT_S), range(count)))
    failed = [answer for answer in answers if answer.status != 200]
    if failed:
        told = failed[0].body.decode(errors="replace")[:300]
        raise MlfnError(f"{len(failed)} of {count} touches of {action} were answered {failed[0].status}: {told}")


def warmth(records: Sequence[Mapping[str, Any]]) -> Warmth:
    """Count the cold starts among records of activations; ``initTime`` is there only where one was."""
    pings = [record for record in records if _is_ping(record)]
    calls = [record for record in records if not _is_ping(record)]
    return Warmth(
        calls=len(calls),
        cold=sum(map(_is_cold, calls)),
        pings=len(pings),
        cold_pings=sum(map(_is_cold, pings)),
        ping_seconds=sum(record.get("duration", 0) for record in pings) / 1000,
    )


def _is_ping(record: Mapping[str, Any]) -> bool:
    return bool(record["response"].get("result") == {"mlfn_ping": True})


def _is_cold(record: Mapping[str, Any]) -> bool:
    return any(item["key"] == "initTime" for item in record["annotations"])
