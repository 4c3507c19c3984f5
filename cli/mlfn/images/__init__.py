"""Images of functions: built without a daemon, named by digest, sent to registries.

Sibling of ``mlfn.models`` and ``mlfn.platforms``: it knows neither. Cheap to import.
"""

from __future__ import annotations

from mlfn.images.build import build
from mlfn.images.findings import FINDINGS
from mlfn.images.request import Builder, BuildRequest, BuiltImage, BuiltLayer, requested

__all__ = ["FINDINGS", "BuildRequest", "Builder", "BuiltImage", "BuiltLayer", "build", "requested"]
