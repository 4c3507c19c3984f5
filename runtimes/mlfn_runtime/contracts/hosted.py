"""The contract of hosted containers: ``GET /ping`` and ``POST /invocations``.

``/invocations`` takes, beside a whole Open Inference document:

- ``{"inputs": {name: nested list}}``, answered with ``{"outputs": {name: nested list}}``;
- ``{"inputs": nested list}`` for a model of one input, answered in the same way;
- ``{"instances": [row…]}``, answered with ``{"predictions": [row…]}``. A row is one element of the first axis, or an
  object of them by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from mlfn_runtime.errors import RequestError
from mlfn_runtime.open_inference import parse_json
from mlfn_runtime.requests import InferenceRequest
from mlfn_runtime.routes import JSON, require_body_type
from mlfn_runtime.tensors import from_nested, to_nested

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlfn_runtime.requests import InferenceResult
    from mlfn_runtime.routes import Exchange, Routes
    from mlfn_runtime.service import ModelService

    Arrays = dict[str, NDArray[Any]]

__all__ = ["Hosted"]


class Hosted:
    """Answer the hosted contract for one model."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def add_routes(self, routes: Routes) -> None:
        """Add both paths."""
        routes.add(b"GET", b"/ping", self.ping)
        routes.add(b"POST", b"/invocations", self.invocations)

    def ping(self, exchange: Exchange) -> None:
        """Answer 200 when inferences are taken."""
        exchange.reply(200 if self._service.ready else 503, JSON, orjson.dumps({"state": self._service.state}))

    def invocations(self, exchange: Exchange) -> None:
        """Run one inference in whichever form it came."""
        exchange.model = self._service.name
        require_body_type(exchange)
        codec = self._service.require_codec()
        document = parse_json(exchange.body)
        if type(document) is not dict:
            raise RequestError(400, 'expected a JSON object with "inputs" or "instances", got another JSON value')
        if "instances" in document:
            inputs, answer = self._instances(document["instances"]), _predictions
        elif _is_open_inference(document.get("inputs")):
            request = codec.decode_document(document)
            request.binary = frozenset()  # this contract's answers are JSON
            self._submit(exchange, request, lambda outcome: codec.encode(request, outcome)[0])
            return
        else:
            inputs, answer = self._named(document.get("inputs")), _outputs
        codec.refuse_missing(inputs)
        self._submit(exchange, InferenceRequest(inputs), lambda outcome: orjson.dumps(answer(outcome.outputs)))

    def _named(self, inputs: Any) -> Arrays:
        specs = self._specs()
        if type(inputs) is list and len(specs) == 1:
            inputs = dict.fromkeys(specs, inputs)
        if type(inputs) is not dict:
            raise RequestError(400, f'"inputs": expected an object of nested lists by name: {", ".join(specs)}')
        for name in inputs:
            if name not in specs:
                raise RequestError(400, f'input "{name[:64]}": expected one of {", ".join(specs)}, got this name')
        return {name: from_nested(specs[name], data) for name, data in inputs.items()}

    def _instances(self, instances: Any) -> Arrays:
        specs = self._specs()
        if type(instances) is not list or not instances:
            raise RequestError(400, '"instances": expected a list of at least one row')
        if len(specs) == 1 and type(instances[0]) is not dict:
            return {name: from_nested(spec, instances) for name, spec in specs.items()}
        for row in instances:
            if type(row) is not dict or row.keys() != specs.keys():
                raise RequestError(400, f'"instances": expected objects with exactly {", ".join(specs)} in each row')
        return {name: from_nested(spec, [row[name] for row in instances]) for name, spec in specs.items()}

    def _specs(self) -> dict[str, Any]:
        signature = self._service.signature
        return {spec.name: spec for spec in signature.inputs} if signature else {}

    def _submit(
        self, exchange: Exchange, request: InferenceRequest, encode: Callable[[InferenceResult], bytes]
    ) -> None:
        def reply(outcome: InferenceResult | RequestError) -> None:
            if isinstance(outcome, RequestError):
                exchange.fail(outcome)
                return
            exchange.run_rows = outcome.run_rows
            exchange.reply(200, JSON, encode(outcome))

        self._service.submit(request, reply, exchange.client_is_gone)


def _is_open_inference(inputs: Any) -> bool:
    return type(inputs) is list and bool(inputs) and type(inputs[0]) is dict and "datatype" in inputs[0]


def _outputs(outputs: Arrays) -> dict[str, object]:
    return {"outputs": {name: to_nested(array) for name, array in outputs.items()}}


def _predictions(outputs: Arrays) -> dict[str, object]:
    if len(outputs) == 1:
        return {"predictions": next(to_nested(array) for array in outputs.values())}
    nested = {name: to_nested(array) for name, array in outputs.items()}
    rows = {array.shape[0] if array.ndim else -1 for array in outputs.values()}
    if len(rows) != 1 or rows == {-1}:
        return {"predictions": [nested]}
    listed = [dict(zip(nested, row, strict=True)) for row in zip(*nested.values(), strict=True)]
    return {"predictions": listed}
