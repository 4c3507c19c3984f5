"""The model as a service: takes inferences in arrays, gives each an outcome, keeps its state. Knows no HTTP.

Life: loading, warming (the inferences before ready), ready, draining; or failed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mlfn_runtime.calibration import ExecutionPlan, choose
from mlfn_runtime.errors import RequestError, StartError
from mlfn_runtime.execution import LoopExecutor, WorkerBounds, WorkerExecutor
from mlfn_runtime.lone_caller import LoneCaller
from mlfn_runtime.merge_limit import MergeLimit
from mlfn_runtime.open_inference import OpenInferenceCodec
from mlfn_runtime.synthesis import LENGTHS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mlfn_runtime.calibration import Backend, Calibration
    from mlfn_runtime.counters import Counters
    from mlfn_runtime.requests import InferenceRequest, InferenceResult
    from mlfn_runtime.signature import ModelSignature

__all__ = ["ModelService"]


class ModelService:
    """Serve one model.

    ``max_queue`` bounds the inferences that wait; ``timeout_s`` bounds how long each may wait.
    """

    def __init__(
        self,
        name: str,
        version: str,
        *,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        max_queue: int = 256,
        timeout_s: float = 60.0,
    ) -> None:
        self.name = name
        self.version = version
        self.state = "loading"
        self.signature: ModelSignature | None = None
        self.codec: OpenInferenceCodec | None = None
        self.plan: ExecutionPlan | None = None
        self.lengths = LENGTHS[0]
        self.counters = counters
        self._loop = loop
        self._max_queue = max_queue
        self._timeout_s = timeout_s
        self._lone: LoneCaller | None = None
        self._executor: LoopExecutor | WorkerExecutor | None = None

    @property
    def ready(self) -> bool:
        """Return whether inferences are taken and will be."""
        return self.state == "ready"

    def require_codec(self) -> OpenInferenceCodec:
        """Return the codec, or refuse while there is no model."""
        if self.codec is None:
            raise self._not_ready()
        return self.codec

    def adopt(
        self,
        backend: Backend,
        calibration: Calibration,
        cores: int,
        widen: Callable[[], Backend] | None = None,
    ) -> ExecutionPlan:
        """Take a loaded and calibrated model; called on the loop's thread.

        ``widen`` loads the model once more for all cores; it is called in a thread, when requests come one by one.
        """
        plan = choose(calibration, cores)
        limit = MergeLimit(plan.merge_rows)
        if plan.mode == "loop":
            self._executor = LoopExecutor(
                backend.predict,
                plan.merge_rows,
                self._loop,
                self.counters,
                lambda run_s: self._leave_the_loop(backend, cores, run_s),
            )
        else:
            if plan.merge_rows > 1:
                limit.seed(1, calibration.run_s)
                limit.seed(2, calibration.pair_s)
            lone = None
            if plan.workers > 1 and widen is not None:
                load = widen
                lone = LoneCaller(lambda: self._load_wide(load, calibration))
            self._executor = self._workers(backend, plan, limit, lone)
        self.plan = plan
        self.signature = backend.signature
        self.lengths = calibration.lengths
        self.codec = OpenInferenceCodec(backend.signature, self.name, self.version)
        self.state = "warming"
        return plan

    def _workers(
        self, backend: Backend, plan: ExecutionPlan, limit: MergeLimit, lone: LoneCaller | None = None
    ) -> WorkerExecutor:
        self._lone = lone
        bounds = WorkerBounds(plan.workers, self._max_queue, self._timeout_s, plan.run_s, limit, lone)
        return WorkerExecutor(backend.predict, bounds, self._loop, self.counters)

    def _leave_the_loop(self, backend: Backend, cores: int, run_s: float) -> None:
        """Run a model in threads that was chosen for the loop: the inputs that come are larger than those made up."""
        why = f"moved from the loop: runs on the inputs that came took {run_s * 1000:.1f} ms"
        self.plan = ExecutionPlan("workers", cores, 1, run_s, why)
        self._executor = self._workers(backend, self.plan, MergeLimit(1))

    def _load_wide(self, widen: Callable[[], Backend], calibration: Calibration) -> None:
        """Load the model for all cores, beside the requests; without it everything goes on as before."""

        def load() -> None:
            try:
                backend = widen()
                for _ in range(2):
                    backend.predict(calibration.inputs)
                self._loop.call_soon_threadsafe(self._use_wide, backend)
            except (StartError, RequestError, RuntimeError):  # no memory for it, or the loop has ended
                return

        threading.Thread(target=load, name="load-wide", daemon=True).start()

    def _use_wide(self, backend: Backend) -> None:
        if self._lone is not None and self.plan is not None:
            self._lone.offer(backend.predict)
            self.plan = self.plan._replace(why=f"{self.plan.why}; a lone caller gets all cores where that is faster")

    def mark(self, state: str) -> None:
        """Go to another state of the service's life."""
        self.state = state
        self.counters.ready = int(state == "ready")

    def submit(
        self,
        request: InferenceRequest,
        reply: Callable[[InferenceResult | RequestError], None],
        gone: Callable[[], bool],
    ) -> None:
        """Run one inference; ``reply`` is called once, on the loop, perhaps before this returns.

        What still waits when ``gone`` says that its client is not there any more is not run.
        """
        if self._executor is None:
            reply(self._not_ready())
        else:
            self._executor.submit(request.inputs, reply, gone)

    def close(self) -> None:
        """Let the worker threads end; what they run now is finished first."""
        if self._executor is not None:
            self._executor.close()

    def _not_ready(self) -> RequestError:
        message = f'the model "{self.name}" is not ready: {self.state}'
        return RequestError(503, message, ((b"retry-after", b"1"),))
