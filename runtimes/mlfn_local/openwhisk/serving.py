"""Put a small OpenWhisk together and serve it over HTTP."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlfn_local.openwhisk.activating import Activator
from mlfn_local.openwhisk.containers import Containers
from mlfn_local.openwhisk.entity_calls import EntityCalls
from mlfn_local.openwhisk.invoker import Invoker
from mlfn_local.openwhisk.rest import Api
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_local.openwhisk.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["Server", "assemble"]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenWhisk without its transport: what answers, and what has to be closed."""

    api: Api
    activator: Activator
    store: Store

    async def close(self) -> None:
        """End every container."""
        await self.activator.close()


def assemble(
    containers: Containers,
    settings: ServerSettings,
    keys: dict[str, str],
    *,
    now_ms: Callable[[], int] = _now_ms,
    new_id: Callable[[], str] = _new_id,
) -> Server:
    """Return a server that runs its actions in ``containers``; clock and ids are injected by tests."""
    store = Store()
    activator = Activator(store, Invoker(containers, settings, now_ms), settings, now_ms=now_ms, new_id=new_id)
    entities = EntityCalls(store, settings, now_ms)
    return Server(Api(store, activator, entities, keys), activator, store)
