"""What the commands do, one function each: values in, values out, no printing.

A command loads the platform that the settings name and hands it to the function that does the work.
"""

from __future__ import annotations

__all__: list[str] = []
