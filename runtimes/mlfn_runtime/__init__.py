"""The function server inside every image and behind every platform.

Kept cheap to import: importing this package imports nothing else.
"""

from __future__ import annotations

import os

__all__ = ["__version__"]

__version__ = "0.1.0"

# From 1.32 on, importing onnxruntime starts a thread that reports to events.data.microsoft.com and leaves a file in the
# temporary folder. Nobody asked for that, a thread is wrong in a parent that forks, and it costs 2.5 MB. It looks at
# this variable while it is imported, so it is set here, where everything that imports onnxruntime has to pass.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
