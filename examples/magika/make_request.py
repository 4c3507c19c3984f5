"""Turn a file into a request for the magika model: its first and its last 1024 bytes, padded.

    python examples/magika/make_request.py FILE > request.json

The features are those of the package ``magika`` (its model's ``config.min.json``): white space is stripped, and what is
missing is 256, behind the first bytes and before the last.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SIZE = 1024
BLOCK = 4096
PADDING = 256


def features(content: bytes) -> list[int]:
    """Return the 2048 numbers that the model takes."""
    first = list(content[:BLOCK].lstrip()[:SIZE])
    last = list(content[-BLOCK:].rstrip()[-SIZE:])
    return first + [PADDING] * (SIZE - len(first)) + [PADDING] * (SIZE - len(last)) + last


def request(content: bytes) -> dict[str, object]:
    """Return the Open Inference request for one file."""
    tensor = {"name": "bytes", "datatype": "INT32", "shape": [1, 2 * SIZE], "data": features(content)}
    return {"inputs": [tensor], "outputs": [{"name": "target_label"}]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(request(Path(sys.argv[1]).read_bytes())) + "\n")
