"""The background service: everything of the local platform put together, and its heartbeat.

One for each state folder (the holder of its lock). Started by ``mlfn_local.launch``; ended by ``stop`` or SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlfn_local import wire
from mlfn_local.content import ContentStore
from mlfn_local.control import Control, Progress
from mlfn_local.deploying import ENV_LIMIT_BYTES, Deployer, Request
from mlfn_local.errors import Kind, LocalError
from mlfn_local.functions import Functions, address
from mlfn_local.ledger import Ledger, unbroken
from mlfn_local.memory import proportional_bytes, sweep_groups
from mlfn_local.paths import StatePaths
from mlfn_local.pinger import Pinger
from mlfn_local.records import FunctionSettings, Keep, ModelFiles, RevisionState, Share
from mlfn_local.revision import Place
from mlfn_local.router import DEFAULT_PORT, Router
from mlfn_local.scaling import RevisionScaler
from mlfn_local.starter import Starter
from mlfn_local.state import State
from mlfn_local.status import describe
from mlfn_local.traffic import move_traffic
from mlfn_runtime.limits import cores_here

__all__ = ["Service", "ServiceSettings"]

_log = logging.getLogger("mlfn_local")

_NAME = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
WATCH_S = 0.2
"""How often the memory of instances without a cgroup is looked at."""
DROP_OLD_BEATS = 600
"""How often revisions that have become too old are looked for: their ages are counted in days."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Say where and as what the service runs."""

    state_dir: Path
    version: str
    port: int = 0
    """The router's port; 0 = the one of last time, else the default, else any free one."""
    fork: bool = True
    """Whether instances may be forked from a warm parent."""
    cgroups: bool = True
    """Whether memory may be limited by cgroups; without, it is watched."""
    clock: Callable[[], float] = time.monotonic
    """The time that scale is decided by."""
    beats: bool = True
    """Whether the service keeps its own time; without, ``beat`` must be called."""


class Service:
    """Hold the parts together."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._paths = StatePaths(settings.state_dir)
        self._lock_identity = self._paths.lock_identity()
        self._started_at = time.time()
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._beats = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.router = Router(self._page)
        self._ledger = Ledger(State(self._paths.database))
        self._content = ContentStore(self._paths.models)
        self._starter = Starter(fork=settings.fork and hasattr(os, "fork") and Path("/proc/self/fd").exists())
        group = f"mlfn-{hashlib.sha256(str(settings.state_dir).encode()).hexdigest()[:8]}-"
        if settings.cgroups:
            sweep_groups(group)
        place = Place(
            starter=self._starter,
            history=self._ledger,
            models=self._content.folder,
            logs=self._paths.logs,
            group=group if settings.cgroups else "",
            cores=cores_here(),
            clock=settings.clock,
        )
        self.functions = Functions(self._ledger, self._content, place, self.router)
        self._deployer = Deployer(self.functions)
        self._pinger = Pinger(lambda: self.router.port, settings.clock)
        self._control = Control(
            self._hello,
            {
                "deploy": self._deploy,
                "info": self._info,
                "list": self._list,
                "move": self._move,
                "prune": self._prune,
                "remove": self._remove,
                "route": self._route,
                "status": self._status,
                "stop": self._stop,
                "traffic": self._traffic,
            },
        )

    async def start(self) -> None:
        """Take up what was deployed, then listen. Raises LocalError."""
        state = self._ledger.state
        self._content.sweep()
        for name in await self._ledger.call(state.drop_interrupted):
            _log.warning("removed revision %s: its deploy was interrupted", name)
        await self._listen()
        await self.functions.load()
        await self.functions.drop_old()
        self.functions.forget_logs()
        for function in self.functions.records:
            for revision in function.revisions:
                if revision.state is RevisionState.PENDING:
                    self._deployer.resume(revision)
        await self._control.listen(self._paths.bind_control())
        if self._settings.beats:
            self._tasks = [self._loop.create_task(self._keep_time()), self._loop.create_task(self._keep_watch())]

    async def wait(self) -> None:
        """Return when somebody asked the service to stop."""
        await self._stopped.wait()

    def stop(self) -> None:
        """Ask the service to stop."""
        self._stopped.set()

    async def close(self) -> None:
        """Finish what is under way, end the instances, close everything."""
        # First what clients have begun: to undo it takes all that is closed below.
        self.stop()
        await self._control.withdraw()
        await self.router.stop_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pinger.close()
        await self._deployer.close()
        await self.functions.close()
        await self.router.close()
        await self._starter.close()
        await self._ledger.flush()
        if self._owns_folder():
            self._paths.control.unlink(missing_ok=True)
        await self._control.close()
        self._ledger.close()

    async def _listen(self) -> None:
        asked = self._settings.port
        known = await self._ledger.call(self._ledger.state.port)
        if asked or known:
            await self.router.listen(asked or known)
        else:
            try:
                await self.router.listen(DEFAULT_PORT)
            except LocalError:
                await self.router.listen(0)
        if self.router.port != known:
            await self._ledger.call(self._ledger.state.set_port, self.router.port)

    # -- time ---------------------------------------------------------------------------------------------------------

    async def beat(self) -> None:
        """Do what is due each second."""
        if not self._owns_folder():
            _log.warning("the state folder %s was deleted: nobody can reach this service any more", self._paths.root)
            self.stop()
            return
        self._beats += 1
        self.functions.report()
        if self._beats % 2 == 0:
            self.functions.tick()
        self._pinger.beat(self.functions.records)
        if self._beats % 5 == 0:
            self.router.sweep()
        if self._beats % DROP_OLD_BEATS == 0:
            await self.functions.drop_old()
        await self._ledger.flush()

    def _owns_folder(self) -> bool:
        """Say whether the folder is the one whose lock is held, not deleted, nor made anew by somebody."""
        return self._paths.lock_identity() == self._lock_identity

    async def _keep_time(self) -> None:
        due = self._loop.time()
        while True:
            due += 1.0
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            try:
                await self.beat()
            except Exception:  # noqa: BLE001  a supervisor must go on: the next beat may find the disk free again
                _log.exception("beat failed")

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                self.functions.watch()
            except Exception:  # noqa: BLE001  a supervisor must go on
                _log.exception("watch failed")

    # -- what clients can ask for -------------------------------------------------------------------------------------

    def _hello(self) -> wire.Hello:
        stopping = self._stopped.is_set()
        return wire.Hello(self._settings.version, os.getpid(), self.router.port, self._started_at, stopping)

    async def _deploy(self, params: dict[str, Any], progress: Progress) -> object:
        settings = FunctionSettings.from_json(params["settings"])
        name = str(params["name"])
        _check(name, settings)
        request = Request(
            function=name,
            root=Path(params["root"]),
            model=ModelFiles.from_json(params["model"]),
            settings=settings,
            wait=bool(params["wait"]),
            keep=Keep(**params["keep"]),
        )
        outcome = await self._deployer.deploy(request, progress)
        return {**asdict(outcome), "url": f"http://127.0.0.1:{self.router.port}/{name}"}

    async def _status(self, params: dict[str, Any], _: Progress) -> object:
        return await self._describe(str(params["name"]))

    async def _describe(self, name: str) -> dict[str, Any]:
        record = self.functions.get(name)
        await self._ledger.flush()
        state = self._ledger.state
        changes = await self._ledger.call(state.decisions, name)
        errors = await self._ledger.call(state.errors, name)
        described = describe(self.functions, record, changes, errors)
        return {**described, "pings": self._pinger.describe(record), "port": self.router.port}

    async def _list(self, _: dict[str, Any], __: Progress) -> object:
        return [await self._describe(record.name) for record in self.functions.records]

    async def _route(self, params: dict[str, Any], _: Progress) -> object:
        """Tell where a function is reached, or one of its tags."""
        record, tag = self.functions.get(str(params["name"])), str(params.get("tag", ""))
        if tag and tag not in record.tags:
            known = ", ".join(sorted(record.tags)) or "none"
            raise LocalError(
                Kind.NOT_FOUND,
                f"{record.name} has no tag {tag!r}; tags: {known}",
                hints=(f"mlfn traffic {record.name} --tag REVISION={tag}",),
            )
        return {"port": self.router.port, "address": address(record.name, tag) if tag else record.name}

    async def _traffic(self, params: dict[str, Any], _: Progress) -> object:
        shares = [Share(str(each["revision"]), int(each["percent"]), str(each["tag"])) for each in params["split"]]
        split = await move_traffic(self.functions, self._deployer, str(params["name"]), shares)
        return {"port": self.router.port, "traffic": [asdict(share) for share in split]}

    async def _remove(self, params: dict[str, Any], _: Progress) -> object:
        name = str(params["name"])
        self.functions.get(name)
        await self._deployer.cancel(name)
        removing = asyncio.ensure_future(self.functions.remove(name))
        with contextlib.suppress(asyncio.CancelledError):  # it is too late to change one's mind
            await unbroken(removing)
        return {}

    async def _prune(self, _: dict[str, Any], __: Progress) -> object:
        async with self._deployer.storing:
            used = await self._ledger.call(self._ledger.state.digests) | self._deployer.digests
            digests, freed = await asyncio.to_thread(self._content.prune, used)
        return {"digests": digests, "freed_bytes": freed}

    async def _info(self, _: dict[str, Any], __: Progress) -> object:
        pids = [os.getpid()]
        if self._starter.parent_pid is not None:
            pids.append(self._starter.parent_pid)
        instances = [process for revision in self.functions.at_work for process in revision.instances]
        pids += [process.pid for process in instances if process.pid is not None]
        return {
            "functions": len(self.functions.records),
            "instances": len(instances),
            "memory_bytes": sum(map(proportional_bytes, pids)),
            "warm_parent": self._starter.parent_pid,
        }

    async def _move(self, params: dict[str, Any], _: Progress) -> object:
        port = int(params["port"])
        if port != self.router.port:
            await self.router.listen(port)
            await self._ledger.call(self._ledger.state.set_port, port)
        return {"port": self.router.port}

    async def _stop(self, _: dict[str, Any], __: Progress) -> object:
        self.stop()
        return {}

    def _page(self) -> object:
        root = f"http://127.0.0.1:{self.router.port}"
        return {
            "schema": "mlfn.functions/v1",
            "functions": [
                {
                    "name": record.name,
                    "url": f"{root}/{record.name}",
                    "revision": record.latest.name if record.latest else None,
                    "ready": record.latest is not None,
                }
                for record in self.functions.records
            ],
        }


def _check(name: str, settings: FunctionSettings) -> None:
    """Refuse what cannot work, whoever asks: the name becomes a folder and a host name. Raises LocalError."""
    if not _NAME.fullmatch(name):
        raise LocalError(
            Kind.INVALID_INPUT,
            f"{name!r} is no name for a function; expected at most 63 lower-case letters, digits and '-', "
            "starting with a letter",
        )
    if sum(len(key) + len(value) for key, value in settings.env.items()) > ENV_LIMIT_BYTES:
        raise LocalError(Kind.INVALID_INPUT, f"the environment is larger than {ENV_LIMIT_BYTES} bytes")
    try:
        RevisionScaler(settings, cores=1, now_s=0.0, resumed=False)
    except ValueError as error:
        raise LocalError(Kind.INVALID_INPUT, f"the settings of {name} cannot work: {error}") from error
