"""mlfn: from a serialized model to a warm, monitored serverless function.

Kept cheap to import: ``mlfn --help`` must answer in under 0.3 s.
"""

from __future__ import annotations

from mlfn_runtime import __version__

__all__ = ["__version__"]
