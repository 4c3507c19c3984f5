"""What people and tools read: ``/openapi.json`` and ``/docs``.

Imported and made at the first request, not at the start: a cold start has no time for pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from mlfn_runtime.routes import JSON

if TYPE_CHECKING:
    from mlfn_runtime.routes import Exchange, Routes
    from mlfn_runtime.service import ModelService

__all__ = ["Pages"]


class Pages:
    """Describe one served model; ``openwhisk`` says whether that contract is answered too."""

    def __init__(self, service: ModelService, *, openwhisk: bool) -> None:
        self._service = service
        self._openwhisk = openwhisk
        self._openapi = b""

    def add_routes(self, routes: Routes) -> None:
        """Add both pages."""
        routes.add(b"GET", b"/openapi.json", self.openapi)
        routes.add(b"GET", b"/docs", self.docs)

    def openapi(self, exchange: Exchange) -> None:
        """Answer the OpenAPI document."""
        if not self._openapi:
            self._openapi = orjson.dumps(self._document())
        exchange.reply(200, JSON, self._openapi)

    def docs(self, exchange: Exchange) -> None:
        """Answer the page."""
        from mlfn_runtime.docs_page import page, page_headers

        exchange.reply(200, page_headers(), page())

    def _document(self) -> dict[str, object]:
        from mlfn_runtime.openapi import Description, document
        from mlfn_runtime.synthesis import example_body

        service = self._service
        service.require_codec()
        assert service.signature is not None  # set together with the codec
        example = example_body(service.signature, service.lengths)
        return document(
            Description(service.signature, service.name, service.version, example, openwhisk=self._openwhisk)
        )
