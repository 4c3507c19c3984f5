"""The function server inside every image and behind every platform.

Kept cheap to import: importing this package imports nothing else.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
