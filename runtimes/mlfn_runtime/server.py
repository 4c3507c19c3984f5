"""The function server as a process: listen, load, warm up, serve until told to stop, drain.

Cheap to import: everything heavy is imported by ``preload``, which a parent can call before it forks.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from mlfn_runtime.errors import StartError
from mlfn_runtime.settings import ServerSettings

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mlfn_runtime.application import Application, LoadedModel
    from mlfn_runtime.http_door import HttpDoor

    Notify = Callable[[str, dict[str, object]], None]

__all__ = ["ServerSettings", "preload", "serve"]


_COLLECT = (20_000, 20, 20)
"""Objects between two collections, instead of 700: the requests of one turn are alive together and no garbage, and
looking through them every second turn costs 2 us per request."""


def preload() -> None:
    """Import everything heavy; starts no thread and no loop, so that a forked child can serve at once.

    The collector is off meanwhile, and what was imported stays out of its sight: it would look through all modules
    several times, and once more when it is back, and find 600 dead objects (16 ms of 150).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import uvloop  # noqa: F401

        import mlfn_runtime.application
        import mlfn_runtime.http_door  # noqa: F401
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()


def serve(settings: ServerSettings, *, listener: socket.socket | None = None, notify: Notify | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code; 0 after a full drain.

    ``listener`` is a bound socket to use instead of ``settings.host`` and ``port``. ``notify`` hears "listening",
    "ready" or "failed" with facts.
    """
    tell = notify or (lambda event, facts: None)
    _occupy_standard_streams()
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))  # nothing to drain before the loop takes over
    try:
        bound = listener or _bind(settings.host, settings.port)
        preload()
        import asyncio

        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, bound, tell))
    except StartError as error:
        tell("failed", {"error": error.message, "kind": error.kind})
        if notify is None:  # nobody else tells it
            print(f"mlfn: {error.message}", file=sys.stderr)
        if os.environ.get("MLFN_DEBUG") == "1":
            raise
        return error.exit_code


def _occupy_standard_streams() -> None:
    """Give closed standard streams to /dev/null, before a socket gets their numbers and the log writes to a client."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one


async def _serve(settings: ServerSettings, listener: socket.socket, tell: Notify) -> int:
    import asyncio

    from mlfn_runtime.application import Application
    from mlfn_runtime.http_door import HttpDoor

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    application = Application(settings, loop)
    door = HttpDoor(application.routes.dispatch, application.access, application.counters, settings.door())
    await door.open(listener)
    port = listener.getsockname()[1]
    tell("listening", {"port": port})
    application.log.event("info", "listening", port=port, model=settings.served_name)
    try:
        model = await _first(_load_in_thread(application, loop), stop)
        if model is not None:
            plan = await application.start(model)
            gc.freeze()  # the model stays too
            gc.set_threshold(*_COLLECT)
            counters = application.counters
            seconds = {"load": round(counters.load_s, 6), "warm_up": round(counters.warm_up_s, 6)}
            facts: dict[str, object] = {"port": port, "seconds": seconds, "execution": plan.as_json()}
            application.log.event("info", "ready", **facts)
            tell("ready", facts)
            await stop.wait()
            await _leave(application, door, stop, settings.leave_s)
    except StartError as error:
        application.service.mark("failed")
        application.log.event("error", "failed", error=error.message, kind=error.kind)
        application.log.close()
        raise
    await _stop(application, door, settings.drain_s)
    return 0


async def _leave(application: Application, door: HttpDoor, stop: asyncio.Event, seconds: float) -> None:
    """Serve on while those who send requests learn that this instance ends; a second signal cuts it short."""
    import asyncio
    import contextlib

    if seconds > 0:
        application.log.event("info", "leaving", seconds=seconds)
        door.part()
        stop.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)


async def _stop(application: Application, door: HttpDoor, grace_s: float) -> None:
    application.service.mark("draining")
    application.log.event("info", "draining")
    finished = await door.drain(grace_s)
    application.service.close()
    application.log.event("info", "stopped", finished=finished)
    application.log.close()


def _load_in_thread(application: Application, loop: asyncio.AbstractEventLoop) -> asyncio.Future[LoadedModel]:
    """Load in a thread of its own, so that health is answered meanwhile; as a daemon, so that a stop need not wait."""
    import threading

    future: asyncio.Future[LoadedModel] = loop.create_future()

    def settle(model: LoadedModel | None, error: StartError | None) -> None:
        if future.done():
            return
        if model is not None:
            future.set_result(model)
        elif error is not None:
            future.set_exception(error)

    def load() -> None:
        try:
            model, failure = application.load(), None
        except StartError as error:
            model, failure = None, error
        except BaseException as error:  # noqa: BLE001  # a supervisor: an unforeseen fault must end the start, not hang it
            model, failure = None, StartError("load", f"loading failed: {error!r}")
        try:
            loop.call_soon_threadsafe(settle, model, failure)
        except RuntimeError:  # the loop has ended: stopped while loading
            return

    threading.Thread(target=load, name="load", daemon=True).start()
    return future


async def _first(future: asyncio.Future[LoadedModel], stop: asyncio.Event) -> LoadedModel | None:
    """Await the model, or None where the stop came first."""
    import asyncio

    stopping = asyncio.ensure_future(stop.wait())
    both: list[asyncio.Future[Any]] = [future, stopping]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    return future.result() if future.done() else None


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise StartError("listen", f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return bound
