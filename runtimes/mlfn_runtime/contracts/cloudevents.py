"""CloudEvents at ``/``: an event whose data is an Open Inference request is answered by an event in the same mode.

A ping of Knative's PingSource is a warm ping: acknowledged at once, counted apart, and the model is not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from mlfn_runtime.contracts.events import STRUCTURED, answer_attributes, binary_headers, read_event, structured_body
from mlfn_runtime.contracts.named_inputs import as_request_document
from mlfn_runtime.errors import RequestError
from mlfn_runtime.open_inference import parse_json

if TYPE_CHECKING:
    from mlfn_runtime.contracts.events import Event
    from mlfn_runtime.requests import InferenceRequest, InferenceResult
    from mlfn_runtime.routes import Exchange, Routes
    from mlfn_runtime.service import ModelService

__all__ = ["CloudEvents"]

_JSON_TYPE = (b"content-type", b"application/json")
_STRUCTURED_TYPE = (b"content-type", STRUCTURED)


class CloudEvents:
    """Answer events for one model."""

    def __init__(self, service: ModelService) -> None:
        self._service = service
        self._source = f"/v2/models/{quote(service.name, safe='')}"

    def add_routes(self, routes: Routes) -> None:
        """Add the one path that events come to."""
        routes.add(b"POST", b"/", self.handle)

    def handle(self, exchange: Exchange) -> None:
        """Answer one event."""
        event = read_event(exchange.headers, exchange.body)
        if event.is_ping:
            exchange.warm_ping = True
            exchange.reply(200, (), b"")  # empty: Knative takes a body for an event
            return
        exchange.model = self._service.name
        request = self._decode(event)
        attributes = answer_attributes(event, self._source)
        codec = self._service.require_codec()

        def reply(outcome: InferenceResult | RequestError) -> None:
            if isinstance(outcome, RequestError):
                exchange.fail(outcome)
                return
            exchange.run_rows = outcome.run_rows
            data, _ = codec.encode(request, outcome)
            if event.structured:
                exchange.reply(200, (_STRUCTURED_TYPE,), structured_body(attributes, data))
            else:
                exchange.reply(200, (_JSON_TYPE, *binary_headers(attributes)), data)

        self._service.submit(request, reply, exchange.client_is_gone)

    def _decode(self, event: Event) -> InferenceRequest:
        codec = self._service.require_codec()
        document = event.document if event.data is None else parse_json(event.data)
        signature = self._service.signature
        if isinstance(document, dict) and signature is not None:
            document = as_request_document(document, signature)
        request = codec.decode_document(document)
        request.binary = frozenset()  # an event's data is JSON: there is no second length to tell tensors apart
        return request
