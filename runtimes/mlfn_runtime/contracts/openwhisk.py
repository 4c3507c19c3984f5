"""OpenWhisk's action contract, ``/init`` and ``/run``, as the invoker needs it rather than as HTTP would have it.

- Only 200 keeps the container, so what a caller did wrong is ``200 {"error": …}``: one bad request must not cost a
  reload of the model.
- 503 means "send this to another container" and is understood from a warm ``/run`` only; after ``/init`` or the first
  ``/run`` the invoker has no copy of the job left and the caller waits in vain. So it is said while draining, by warm
  instances, and nowhere else.
- The model is baked in: ``/init`` acknowledges and never replaces it, and code that comes with it is ignored. For the
  same reason a ``/run`` without ``/init`` is answered: there is nothing that it could miss.
- Logs of an activation end with a marker on both streams, before the answer leaves: what is written later belongs to
  nobody, or to the next activation.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

from mlfn_runtime.contracts.given_bytes import as_binary_document, given_urls
from mlfn_runtime.contracts.named_inputs import as_request_document
from mlfn_runtime.errors import RequestError
from mlfn_runtime.log_pipe import write_if_room
from mlfn_runtime.open_inference import parse_json
from mlfn_runtime.routes import JSON

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mlfn_runtime.fetching import Fetcher
    from mlfn_runtime.logs import JsonLog
    from mlfn_runtime.requests import InferenceRequest, InferenceResult
    from mlfn_runtime.routes import Exchange, Routes
    from mlfn_runtime.service import ModelService

__all__ = ["END_OF_ACTIVATION", "OpenWhisk"]

END_OF_ACTIVATION = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
_STREAMS = (1, 2)
_CONTEXT = ("activation_id", "transaction_id", "action_name", "action_version", "namespace")
"""What is logged; the key that may come with an activation (``api_key``) never is."""
_LASTING = ("action_name", "action_version", "namespace")
"""What ``/init`` says of all activations to come."""
_LONGEST_WORD = 256
_LOOK_AGAIN_S = 0.02
_LONGEST_HOLD_MS = 2000
_NOT_STARTED = "the model did not start; the log of this container says why"
_ANSWER_BEFORE_S = 0.1
"""Answer this long before the deadline: at the deadline the invoker stops listening and destroys the container."""


class OpenWhisk:
    """Answer one action container's invoker."""

    def __init__(
        self,
        service: ModelService,
        log: JsonLog,
        *,
        loop: asyncio.AbstractEventLoop,
        fetcher: Fetcher | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._log = log
        self._loop = loop
        self._fetcher = fetcher
        self._now = now
        self._action: dict[str, str] = {}
        self._initialised = False
        self._warm = False

    def add_routes(self, routes: Routes) -> None:
        """Add the contract's two paths."""
        routes.add(b"POST", b"/init", self.init)
        routes.add(b"POST", b"/run", self.run)

    def init(self, exchange: Exchange) -> None:
        """Acknowledge once the model is ready; refuse a second time."""
        try:
            if self._initialised:
                raise RequestError(403, "cannot initialize the action more than once")
            value = _value(parse_json(exchange.body)) if exchange.body else {}
        except RequestError:
            exchange.on_recorded = self._end_activation
            raise
        self._initialised = True
        if value.get("code"):
            self._log.event("warning", "code_ignored", message="/init came with code; the model is baked in and stays")
        environment = value.get("env")
        if isinstance(environment, dict):
            exchange.context = _context({name: environment.get(f"__OW_{name.upper()}") for name in _CONTEXT})
            self._action = {name: word for name, word in exchange.context.items() if name in _LASTING}
        self._watch_budget(exchange, environment)
        self._when_loaded(lambda: self._acknowledge(exchange))

    def _acknowledge(self, exchange: Exchange) -> None:
        """Say how the start went: a process that is about to end must not pass for an initialised one."""
        if self._service.state == "failed":
            exchange.on_recorded = self._end_activation
            exchange.reply(502, JSON, orjson.dumps({"error": _NOT_STARTED}))
        else:
            exchange.reply(200, JSON, b'{"ok":true}')

    def run(self, exchange: Exchange) -> None:
        """Answer one activation."""
        exchange.on_recorded = self._end_activation
        if self._warm and self._service.state == "draining":
            raise RequestError(503, "this container is shutting down", ((b"retry-after", b"1"),))
        try:
            activation = parse_json(exchange.body)
            value = _value(activation)
        except RequestError as error:
            self._refuse(exchange, error)
            return
        exchange.context = {**self._action, **_context(activation)}
        if self._service.state == "failed":
            self._refuse(exchange, RequestError(503, _NOT_STARTED))
            return
        if value.get("mlfn_ping") is True:
            exchange.warm_ping = True
            self._loop.call_later(_held_s(value.get("mlfn_hold_ms")), self._answer, exchange, b'{"mlfn_ping":true}')
            return
        self._watch_deadline(exchange, activation.get("deadline"))
        self._when_loaded(lambda: self._begin(exchange, value, self._left_s(activation.get("deadline"))))

    def _begin(self, exchange: Exchange, value: dict[str, Any], left_s: float | None) -> None:
        """Run the model, once what the activation names by reference is here."""
        if exchange.answered:  # at its deadline, while the model loaded
            return
        signature = self._service.signature
        try:
            document = value if signature is None else as_request_document(value, signature)
            urls = given_urls(document)
            if not urls:
                self._infer(exchange, document, [])
                return
            if self._fetcher is None:
                raise RequestError(403, "url: expected data or base64, got a URL; MLFN_FETCH=1 lets URLs be followed")
        except RequestError as error:
            self._refuse(exchange, error)
            return

        def fetched(contents: list[bytes] | RequestError) -> None:
            if isinstance(contents, RequestError):
                self._refuse(exchange, contents)
            elif not exchange.answered:
                self._infer(exchange, document, contents)

        self._fetcher.fetch(urls, left_s, fetched, lambda: exchange.answered or exchange.client_is_gone())

    def _infer(self, exchange: Exchange, document: dict[str, Any], contents: list[bytes]) -> None:
        service = self._service
        exchange.model = service.name
        try:
            codec = service.require_codec()
            request = self._decode(document, contents)
        except RequestError as error:
            self._refuse(exchange, error)
            return

        def reply(outcome: InferenceResult | RequestError) -> None:
            if isinstance(outcome, RequestError):
                self._refuse(exchange, outcome)
                return
            exchange.run_rows = outcome.run_rows
            self._answer(exchange, codec.encode(request, outcome)[0])

        # What has been answered at its deadline is not run any more, if it has not begun.
        service.submit(request, reply, lambda: exchange.answered or exchange.client_is_gone())

    def _decode(self, document: dict[str, Any], contents: list[bytes]) -> InferenceRequest:
        binary = None
        if self._service.signature is not None:
            document, binary = as_binary_document(document, self._service.signature, contents)
        request = self._service.require_codec().decode_document(document, binary)
        request.binary = frozenset()  # an activation's result is JSON
        return request

    def _answer(self, exchange: Exchange, body: bytes) -> None:
        self._warm = True
        exchange.reply(200, JSON, body)

    def _refuse(self, exchange: Exchange, error: RequestError) -> None:
        exchange.context = {**(exchange.context or {}), "error": error.message[:_LONGEST_WORD]}
        self._answer(exchange, orjson.dumps({"error": error.message}))

    def _watch_budget(self, exchange: Exchange, environment: object) -> None:
        """Say before the invoker gives up on ``/init`` that loading takes longer than the action's time-out."""
        if not isinstance(environment, dict) or self._service.state not in ("loading", "warming"):
            return
        left_s = self._left_s(environment.get("__OW_DEADLINE"))
        if left_s is None:
            return
        message = (
            f"the model was still {self._service.state} when the {left_s:.1f} s for its start were over: "
            "give the action a longer timeout, or more memory and with it more CPU"
        )
        body = orjson.dumps({"error": message})

        def give_up() -> None:
            if not exchange.answered:
                exchange.on_recorded = self._end_activation
                exchange.reply(504, JSON, body)

        self._loop.call_later(max(0.0, left_s - _ANSWER_BEFORE_S), give_up)

    def _left_s(self, deadline: object) -> float | None:
        """Return the seconds until a deadline.

        One that has passed already is a matter of two clocks, not of a late request, and is None.
        """
        try:
            left_s = float(str(deadline)) / 1000 - self._now()
        except ValueError:
            return None
        return left_s if 0 < left_s < 86_400 else None

    def _watch_deadline(self, exchange: Exchange, deadline: object) -> None:
        """Answer with an error shortly before the deadline."""
        left_s = self._left_s(deadline)
        if left_s is None:
            return
        message = "the deadline of the activation came before the model had answered"
        timer = self._loop.call_later(
            max(0.0, left_s - _ANSWER_BEFORE_S), lambda: self._refuse(exchange, RequestError(504, message))
        )
        end = exchange.on_recorded

        def ended() -> None:
            timer.cancel()
            if end is not None:
                end()

        exchange.on_recorded = ended

    def _when_loaded(self, then: Callable[[], None]) -> None:
        """Go on when the model has loaded: the invoker waits, and knows no "not ready yet"."""
        if self._service.state in ("loading", "warming"):
            self._loop.call_later(_LOOK_AGAIN_S, self._when_loaded, then)
        else:
            then()

    def _end_activation(self) -> None:
        """Write the log of this activation and its end marker to both streams."""
        self._log.flush()
        for stream in _STREAMS:
            if not write_if_room(stream, END_OF_ACTIVATION):
                self._service.counters.log_dropped += 1


def _held_s(asked_ms: object) -> float:
    """Return how long a warm ping is held, so that pings sent at once come to different containers."""
    if isinstance(asked_ms, bool) or not isinstance(asked_ms, int | float) or not 0 < asked_ms <= _LONGEST_HOLD_MS:
        return 0.0
    return asked_ms / 1000


def _context(activation: dict[str, Any]) -> dict[str, str]:
    """Return what is logged of an activation."""
    words = {name: activation.get(name) for name in _CONTEXT}
    return {name: word[:_LONGEST_WORD] for name, word in words.items() if isinstance(word, str)}


def _value(document: Any) -> dict[str, Any]:
    """Return the parameters of ``/init`` or ``/run``."""
    value = document.get("value", {}) if isinstance(document, dict) else None
    if not isinstance(value, dict):
        raise RequestError(400, 'expected a JSON object with an object "value", got another JSON value')
    return value
