"""One function server put together: service, contracts, routes, records; whatever the transport.

The HTTP door and the ASGI adapter both serve an ``Application``. Its life: made on the loop, ``load`` in a thread,
``start`` on the loop again, then exchanges.
"""

from __future__ import annotations

import os
import time
import traceback
from typing import TYPE_CHECKING, NamedTuple

from mlfn_runtime.access import Access
from mlfn_runtime.calibration import calibrate
from mlfn_runtime.contracts.cloudevents import CloudEvents
from mlfn_runtime.contracts.hosted import Hosted
from mlfn_runtime.contracts.open_inference_rest import OpenInferenceRest
from mlfn_runtime.contracts.openwhisk import OpenWhisk
from mlfn_runtime.contracts.pages import Pages
from mlfn_runtime.counters import Counters
from mlfn_runtime.fetching import Fetcher
from mlfn_runtime.limits import cores_here, memory_limit_bytes, read_text
from mlfn_runtime.logs import GATHER_S, JsonLog
from mlfn_runtime.metrics import CONTENT_TYPE, render
from mlfn_runtime.onnx_backend import OnnxBackend
from mlfn_runtime.routes import Routes
from mlfn_runtime.service import ModelService
from mlfn_runtime.warm_up import warm_up

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mlfn_runtime.calibration import Backend, Calibration, ExecutionPlan
    from mlfn_runtime.routes import Exchange
    from mlfn_runtime.settings import ServerSettings

__all__ = ["Application", "LoadedModel"]

_MOST_TWICE_BYTES = 64 * 1024 * 1024
"""A larger model is not held twice, for one caller's sake."""


class LoadedModel(NamedTuple):
    """A model that has run once."""

    backend: OnnxBackend
    calibration: Calibration
    load_s: float
    calibrate_s: float


class Application:
    """Answer exchanges for one model; every contract at once."""

    def __init__(self, settings: ServerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.counters = Counters()
        self.log = JsonLog(
            settings.log_path,
            self.counters,
            schedule=lambda flush: loop.call_later(GATHER_S, flush),
            later=loop.call_later,
            max_bytes=settings.log_max_bytes,
        )
        self.access = Access(self.counters, self.log)
        self.service = ModelService(
            settings.served_name,
            settings.version,
            loop=loop,
            counters=self.counters,
            max_queue=settings.max_queue,
            timeout_s=settings.request_timeout_s,
        )
        self.routes = Routes(self._crashed)
        OpenInferenceRest(self.service).add_routes(self.routes)
        Hosted(self.service).add_routes(self.routes)
        CloudEvents(self.service).add_routes(self.routes)
        Pages(self.service, openwhisk=settings.openwhisk).add_routes(self.routes)
        if settings.openwhisk:
            bounds = settings.fetching()
            fetcher = None if bounds is None else Fetcher(bounds, loop)
            OpenWhisk(self.service, self.log, loop=loop, fetcher=fetcher).add_routes(self.routes)
        self.routes.add(b"GET", b"/metrics", self._metrics)

    def load(self) -> LoadedModel:
        """Load and calibrate the model; may take long, and runs in any thread. Raise StartError."""
        start = time.perf_counter()
        backend = OnnxBackend(self.settings.model_path)
        loaded = time.perf_counter()
        calibration = calibrate(backend, time.perf_counter)
        return LoadedModel(backend, calibration, loaded - start, time.perf_counter() - loaded)

    async def start(self, model: LoadedModel) -> ExecutionPlan:
        """Warm the whole path up and be ready; on the loop. Raise StartError."""
        start = time.perf_counter()
        cores = self.settings.threads or cores_here()
        plan = self.service.adopt(model.backend, model.calibration, cores, self._widening(cores))
        await warm_up(self.routes.dispatch, self.service, model.calibration)
        self.counters.forget_warm_up()
        self.counters.load_s = model.load_s
        self.counters.warm_up_s = model.calibrate_s + time.perf_counter() - start
        self.service.mark("ready")
        return plan

    def _widening(self, cores: int) -> Callable[[], Backend] | None:
        """Return how to load the model for all cores, where there is room for it twice."""
        path = self.settings.model_path
        room = memory_limit_bytes(read_text)
        size = os.stat(path).st_size  # noqa: PTH116  # pathlib costs 4 ms of a start
        if size > _MOST_TWICE_BYTES or (room is not None and room < 8 * size + _MOST_TWICE_BYTES * 4):
            return None
        return lambda: OnnxBackend(path, cores)

    def _metrics(self, exchange: Exchange) -> None:
        exchange.reply(200, ((b"content-type", CONTENT_TYPE),), render(self.counters))

    def _crashed(self, exchange: Exchange, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self.log.event("error", "crash", request_id=exchange.request_id, error=repr(error), traceback=text)
