"""The Open Inference Protocol over REST: health, metadata, statistics, inference (JSON and binary tensors)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from mlfn_runtime import __version__
from mlfn_runtime.errors import RequestError
from mlfn_runtime.merging import rows_of
from mlfn_runtime.routes import JSON, require_body_type

if TYPE_CHECKING:
    from mlfn_runtime.requests import InferenceResult
    from mlfn_runtime.routes import Exchange, Routes
    from mlfn_runtime.service import ModelService

__all__ = ["OpenInferenceRest"]

_LENGTH_HEADER = b"inference-header-content-length"


class OpenInferenceRest:
    """Answer the protocol's paths for one model."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def add_routes(self, routes: Routes) -> None:
        """Add all paths of the protocol."""
        name, version = self._service.name.encode(), self._service.version.encode()
        routes.add(b"GET", b"/v2", self.server)
        routes.add(b"GET", b"/v2/health/live", self.live)
        routes.add(b"GET", b"/v2/health/ready", self.ready)
        for model in (b"/v2/models/" + name, b"/v2/models/" + name + b"/versions/" + version):
            routes.add(b"GET", model, self.metadata)
            routes.add(b"GET", model + b"/ready", self.ready)
            routes.add(b"GET", model + b"/stats", self.stats)
            routes.add(b"POST", model + b"/infer", self.infer)
        served = f'the model served here is "{self._service.name}", version "{self._service.version}"'
        routes.explain(b"/v2/models/", f"expected a path of a served model; {served}")

    def server(self, exchange: Exchange) -> None:
        """Answer the server's metadata."""
        extensions = ["binary_tensor_data", "statistics"]
        _answer(exchange, {"name": "mlfn", "version": __version__, "extensions": extensions})

    def live(self, exchange: Exchange) -> None:
        """Answer that the process answers."""
        _answer(exchange, {"live": True})

    def ready(self, exchange: Exchange) -> None:
        """Answer 200 when inferences are taken, 503 before and while the server shuts down."""
        service = self._service
        document = {"name": service.name, "ready": service.ready, "state": service.state}
        _answer(exchange, document, 200 if service.ready else 503)

    def metadata(self, exchange: Exchange) -> None:
        """Answer the model's signature and how it is run."""
        service = self._service
        service.require_codec()
        signature, plan = service.signature, service.plan
        if signature is None or plan is None:  # set together with the codec
            raise RequestError(503, "the model is not ready")
        outputs = []
        for spec in signature.outputs:
            output = spec.as_json()
            if spec.keys:
                output["parameters"] = {"keys": list(spec.keys)}
            outputs.append(output)
        _answer(
            exchange,
            {
                "name": service.name,
                "versions": [service.version],
                "platform": "onnxruntime_onnx",
                "inputs": [spec.as_json() for spec in signature.inputs],
                "outputs": outputs,
                "parameters": {"execution": plan.as_json()},
            },
        )

    def stats(self, exchange: Exchange) -> None:
        """Answer what was counted since the start."""
        service, counters = self._service, self._service.counters
        latency = counters.latency
        _answer(
            exchange,
            {
                "name": service.name,
                "version": service.version,
                "state": service.state,
                "inferences": counters.inferences,
                "failures": counters.failures,
                "rejected": counters.rejected,
                "rows": counters.rows,
                "runs": counters.run_rows.count,
                "queue_depth": counters.queue_depth,
                "in_flight": counters.in_flight,
                "warm_pings": counters.warm_pings,
                "seconds": {
                    "load": counters.load_s,
                    "warm_up": counters.warm_up_s,
                    "run": counters.run_s,
                    "waited": counters.waited_s,
                },
                "request_ms": {
                    share: round(latency.quantile(value) * 1000, 3)
                    for share, value in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
                },
            },
        )

    def infer(self, exchange: Exchange) -> None:
        """Run one inference."""
        service = self._service
        exchange.model = service.name
        require_body_type(exchange)
        codec = service.codec or service.require_codec()
        sent = exchange.fields.get(_LENGTH_HEADER)
        request = codec.decode(exchange.body, None if sent is None else _length(sent))

        def reply(outcome: InferenceResult | RequestError) -> None:
            if isinstance(outcome, RequestError):
                exchange.fail(outcome)
                return
            exchange.rows = rows_of(request.inputs)
            exchange.run_rows = outcome.run_rows
            body, json_length = codec.encode(request, outcome)
            if json_length is None:
                exchange.reply(200, JSON, body)
            else:
                length = (_LENGTH_HEADER, b"%d" % json_length)
                exchange.reply(200, ((b"content-type", b"application/octet-stream"), length), body)

        service.submit(request, reply, exchange.client_is_gone)


def _length(sent: bytes) -> int:
    if not sent.isdigit() or len(sent) > 12:
        text = sent.decode("latin-1")[:40]
        raise RequestError(400, f"Inference-Header-Content-Length: expected a count of bytes, got {text}")
    return int(sent)


def _answer(exchange: Exchange, document: dict[str, object], status: int = 200) -> None:
    exchange.reply(status, JSON, orjson.dumps(document))
