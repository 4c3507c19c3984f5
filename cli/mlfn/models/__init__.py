"""Models as they lie on disk: from a path to a ModelPackage, by whichever format knows it.

Reads files and never changes or unpickles them; a model is run only to find an example that it takes. Knows nothing of
platforms.
"""

from __future__ import annotations

from mlfn.models.findings import FINDINGS
from mlfn.models.formats import ModelFormat
from mlfn.models.inspection import example_body, inspection_json
from mlfn.models.opening import check_loads, open_model

__all__ = ["FINDINGS", "ModelFormat", "check_loads", "example_body", "inspection_json", "open_model"]
