"""The command line. A command parses, calls one function of ``mlfn.delivery``, prints; nothing else happens here.

``mlfn`` is the entry point. Importing this package imports click and nothing heavier: `mlfn --help` and completion
answer in under 0.3 s, and `mlfn serve` loads its model before rich or PyYAML would have been imported.
"""

from __future__ import annotations

from mlfn.command.main import mlfn

__all__ = ["mlfn"]
